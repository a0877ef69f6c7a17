"""Training configurations by name: each combines an encoder, a loss and a pair maker."""

from __future__ import annotations

import dataclasses
from typing import Any

from overheard.errors import OverheardError
from overheard.fingerprint.spec import SPEC, FingerprintSpec, FrontendSpec
from overheard_train.pairs.degradation import NO_VARIATION, Degradation
from overheard_train.registry import Part
from overheard_train.reuse import Reuse

DEGRADED = Part("degraded")
ONCE = Reuse()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One training configuration.

    Attributes
    ----------
    source : the publication, and what differs from it
    spec : front-end and segment; the exported model carries it, so that recipes can differ
    encoder, loss, pairs : components by name, see :mod:`overheard_train.encoders`,
        :mod:`overheard_train.losses` and :mod:`overheard_train.pairs`
    n_pairs : pairs per step
    views : rows per pair: one clean, the others degraded
    reuse : how often each pair is used, each time among others
    learning_rate : the peak
    weight_decay, clip_norm : of AdamW; the norm is of all gradients together
    steps : default length of the training; the learning rate's cosine ends there
    code_bytes, n_cells : of the exported model's quantizer; the first stage alone is the compact code
    whitening : power of the embeddings' covariance that the export removes; see docs/experiments.md
    space : name of the shipped model whose space the network joins; empty if the export makes a new space
    """

    name: str
    source: str
    encoder: Part
    loss: Part
    pairs: Part = DEGRADED
    spec: FingerprintSpec = SPEC
    n_pairs: int = 256
    views: int = 2
    reuse: Reuse = ONCE
    learning_rate: float = 2.5e-3
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    clip_norm: float = 5.0
    steps: int = 6000
    code_bytes: tuple[int, ...] = (10, 12)
    n_cells: int = 1024
    whitening: float = 0.0
    space: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON types."""
        return dataclasses.asdict(self)


NAFP_SPEC = FingerprintSpec(
    FrontendSpec(hop_length=250, n_mels=256, f_min=300.0, f_max=4000.0), n_frames=29, dim=128, hop_frames=16
)
NOW_PLAYING_SPEC = FingerprintSpec(n_frames=60, dim=96)
WOO_SPEC = FingerprintSpec(FrontendSpec(n_mels=128, f_min=50.0, f_max=4000.0), n_frames=60, dim=10)
NAFP_PAIRS = Part(
    "degraded",
    {
        "variation": NO_VARIATION,
        "degradation": Degradation(
            max_shift_s=0.2,
            room=1.0,
            noise=1.0,
            snr_db=(0.0, 10.0),
            noise_resample=0,
            noise_room=0,
            microphone=0.5,
            band_limit=0,
            overdrive=0,
            hiss=0,
            speed=0,
        ),
    },
)

WOO = Recipe(
    "woo",
    "J. Woo, Neural Fingerprinter (2020): samples rows and columns of 1.9 s rather than of 30 s, "
    "which is longer than a query",
    Part("woo", {"size": 50}),
    Part("triplet", {"margin": 0.2, "negatives": "random"}),
    Part("white_noise"),
    WOO_SPEC,
    n_pairs=50,
    learning_rate=1e-3,
    weight_decay=0,
    code_bytes=(10,),
)
NAFP = Recipe(
    "nafp",
    "Chang et al. (2010.11910) at full width; needs a GPU",
    Part("nafp"),
    Part("nt_xent", {"temperature": 0.05}),
    NAFP_PAIRS,
    NAFP_SPEC,
    learning_rate=1e-3,
)
DISTIL = Part("distil", {"temperature": 0.06, "pull": 4.0, "shared": 0.3})
TAUGHT = Part("taught", {"n_others": 16})
REUSE = Reuse(2)  # degrading a pair takes longer than training on it; with 4, a student memorizes the pairs
WHITENING = 0.6  # measured in docs/experiments.md

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "overheard",
            "ours: residual stages, NT-Xent within the batch, half of which are similar moments",
            Part("residual", {"widths": (64, 128, 256), "blocks": (1, 2, 2)}),
            Part("nt_xent", {"temperature": 0.06, "shared": 0.5}),
            Part("rivals"),
            whitening=WHITENING,
        ),
        Recipe(
            "overheard-tiny",
            "ours for a Pi Zero: less than 10 million multiply-adds per segment",
            Part("residual", {"widths": (24, 48, 64), "blocks": (1, 1, 1)}),
            Part("nt_xent", {"temperature": 0.06}),
            weight_decay=1e-5,
            whitening=WHITENING,
        ),
        Recipe(
            "tiny",
            "student of overheard in its space, for a Pi Zero: at most 10 million multiply-adds per segment",
            Part("residual", {"widths": (24, 48, 60), "blocks": (1, 1, 2)}),
            DISTIL,
            TAUGHT,
            reuse=REUSE,
            weight_decay=1e-5,
            space="overheard",
        ),
        Recipe(
            "small",
            "student of overheard in its space: at most 40 million multiply-adds per segment",
            Part("residual", {"widths": (48, 96, 160), "blocks": (1, 1, 1)}),
            DISTIL,
            TAUGHT,
            reuse=REUSE,
            weight_decay=1e-5,
            space="overheard",
        ),
        WOO,
        dataclasses.replace(
            WOO,
            name="woo-64",
            source="as woo, with 64 dimensions rather than 10",
            spec=dataclasses.replace(WOO_SPEC, dim=64),
            code_bytes=Recipe.code_bytes,
        ),
        Recipe(
            "now_playing",
            "Gfeller et al., Now Playing (1711.10958): ReLU instead of ELU, our choice of sizes",
            Part("now_playing"),
            Part("triplet", {"margin": 0.4, "negatives": "semi_hard"}),
            Part(
                "degraded", {"variation": NO_VARIATION, "degradation": Degradation(max_shift_s=0.3, mask=0)}
            ),
            NOW_PLAYING_SPEC,
            learning_rate=1e-3,
        ),
        dataclasses.replace(
            NAFP,
            name="nafp-small",
            source="Chang et al. (2010.11910) at a quarter of its width; ReLU and batch norm instead of ELU "
            "and layer norm",
            encoder=Part("nafp", {"widths": (32, 32, 64, 64, 128, 128, 256, 256), "hidden": 32}),
        ),
        NAFP,
        Recipe(
            "nmfp",
            "Araz et al. (2025): the hardest of two positives, semi-hard negatives, squared, margin 0.5, "
            "with our encoder and degradation",
            Part("residual", {"widths": (64, 128, 256), "blocks": (1, 1, 1)}),
            Part("triplet", {"margin": 0.5, "positives": "hard", "negatives": "semi_hard", "views": 3}),
            n_pairs=170,
            views=3,
        ),
        Recipe(
            "trial",
            "for tests: trains in seconds",
            Part("residual", {"widths": (8, 16, 32), "blocks": (0, 0, 0)}),
            Part("nt_xent", {"temperature": 0.06, "queue": 64, "code_bytes": 12}),
            Part("degraded", {"n_rooms": (10, 10)}),
            n_pairs=32,
            steps=50,
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises
    ------
    OverheardError
        There is none; the message lists all names.
    """
    if name not in RECIPES:
        raise OverheardError(f"unknown recipe {name}", f"choose one of {', '.join(sorted(RECIPES))}")
    return RECIPES[name]
