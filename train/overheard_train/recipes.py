"""Training configurations by name: model, loss, augmentation."""

from __future__ import annotations

import dataclasses

from overheard.errors import OverheardError
from overheard_train.augment import Degradation, Variation


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One training configuration."""

    name: str
    widths: tuple[int, ...] = (64, 128, 256)
    blocks: tuple[int, ...] = (1, 1, 1)
    n_pairs: int = 256
    temperature: float = 0.06
    learning_rate: float = 2.5e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    clip_norm: float = 5.0
    steps: int = 6000
    n_rooms: tuple[int, int] = (700, 500)  # variations of measured and simulated responses, synthesized ones
    degradation: Degradation = Degradation()
    variation: Variation = Variation()


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("resnet"),
        Recipe("plain", blocks=(0, 0, 0)),
        Recipe("tiny", widths=(8, 16, 32), blocks=(0, 0, 0), n_pairs=32, steps=50, n_rooms=(10, 10)),
    )
}


def find_recipe(name: str) -> Recipe:
    """Return a recipe by name; raise OverheardError that lists them where there is none."""
    if name not in RECIPES:
        raise OverheardError(f"no recipe {name}: there are {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
