"""What a training leaves behind: weights small enough to commit, and a state that resumes exactly."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from overheard.errors import ModelError
from overheard.files import atomic_write
from overheard.fingerprint.tables import TablesError, read_tables
from overheard_train.text import write_text

if TYPE_CHECKING:
    import keras

MAX_BYTES = 1 << 31  # weights and the optimizer's moments of the largest encoder are far below


@dataclasses.dataclass
class Progress:
    """What a checkpoint says of its training beside the weights.

    Attributes
    ----------
    step : batches seen
    sessions : starts, resumed ones included
    seconds, cpu_s : of wall clock and of all processors
    loss, accuracy : within the batch, means over the last round
    settings : of each session: seed, commit, environment
    """

    recipe: str
    step: int = 0
    sessions: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    accuracy: float = math.nan
    cpu_s: float = 0.0
    settings: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def save_checkpoint(weights: list[np.ndarray], progress: Progress, path: Path) -> None:
    """Write the encoder's weights as float16 (half the size; training goes on from them as well)."""
    half = [w.astype(np.float16) if np.abs(w).max(initial=0) < 6e4 else w for w in weights]
    _write(path, half, progress)


def load_checkpoint(path: Path) -> tuple[list[np.ndarray], Progress]:
    """Read what :func:`save_checkpoint` wrote; raise ModelError where it is something else."""
    try:
        arrays, progress = _read(path)
        weights = [array.astype(np.float32) for array in arrays]
    except FileNotFoundError as error:
        raise ModelError(f"there is no checkpoint {path}: make one with overheard-train fit") from error
    except (TablesError, OSError) as error:
        raise ModelError(
            f"{path} is no checkpoint, or damaged: name the .npz that overheard-train fit wrote"
        ) from error
    if not all(np.isfinite(weight).all() for weight in weights):
        raise ModelError(f"{path} holds weights that are no numbers: take an earlier checkpoint")
    return weights, progress


def average(paths: Sequence[Path]) -> tuple[list[np.ndarray], Progress]:
    """Return the mean of checkpoints' weights, and the progress of the last.

    Source: Wortsman et al., Model Soups (2203.05482).

    Raises
    ------
    ModelError
        One is missing or damaged, or they are not of one recipe.
    """
    loaded = [load_checkpoint(path) for path in paths]
    weights, progress = loaded[-1]
    shapes = [weight.shape for weight in weights]
    for path, (others, their) in zip(paths, loaded, strict=True):
        if their.recipe != progress.recipe or [other.shape for other in others] != shapes:
            raise ModelError(f"{path} is not of the network of {paths[-1]}: name checkpoints of one recipe")
    means = [np.mean(same, axis=0) for same in zip(*(others for others, _ in loaded), strict=True)]
    steps = [their.step for _, their in loaded]
    if progress.settings:
        *before, last = progress.settings
        # Within the last session's, which a resumed training goes on from.
        progress = dataclasses.replace(progress, settings=[*before, {**last, "mean_of_steps": steps}])
    return means, progress


def settings_path(checkpoint: Path) -> Path:
    """Return where recipe, progress and sessions lie: beside the checkpoint, to be read."""
    return checkpoint.with_suffix(".json")


def state_path(checkpoint: Path) -> Path:
    """Return where the exact state lies: beside the checkpoint, and outside git."""
    return checkpoint.with_suffix(".state.npz")


def save_state(variables: list[keras.Variable], progress: Progress, checkpoint: Path) -> None:
    """Write every variable as it is: weights, optimizer, the loss's own."""
    _write(state_path(checkpoint), [np.asarray(variable) for variable in variables], progress)


def load_state(variables: list[keras.Variable], progress: Progress, checkpoint: Path) -> bool:
    """Restore the exact state of a checkpoint; False where there is none of the same step."""
    try:
        arrays, stored = _read(state_path(checkpoint))
    except (TablesError, OSError):  # the checkpoint itself is good: what is lost is the optimizer's memory
        return False
    same = [tuple(variable.shape) for variable in variables] == [array.shape for array in arrays]
    if not same or (stored.recipe, stored.step) != (progress.recipe, progress.step):
        return False
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return True


def files_of(checkpoint: Path) -> tuple[Path, ...]:
    """Return all that a training writes."""
    return checkpoint, state_path(checkpoint), settings_path(checkpoint)


def write_settings(checkpoint: Path, recipe: dict[str, Any], progress: Progress) -> None:
    """Write what a run was: recipe, progress and sessions, as JSON beside its checkpoint."""
    facts = {"recipe": recipe, "progress": dataclasses.asdict(progress)}
    write_text(settings_path(checkpoint), json.dumps(facts, indent=1, default=str) + "\n")


def restore(encoder: keras.Model, weights: list[np.ndarray], source: str) -> None:
    """Give a checkpoint's weights to an encoder; raise ModelError where they are another network's."""
    shapes = [tuple(weight.shape) for weight in encoder.weights]
    if shapes != [weight.shape for weight in weights]:
        raise ModelError(f"the weights of {source} are another network's than its recipe's: train anew")
    encoder.set_weights(weights)


def _write(path: Path, arrays: list[np.ndarray], progress: Progress) -> None:
    with atomic_write(path) as file:
        np.savez(file, *arrays, progress=np.array(json.dumps(dataclasses.asdict(progress))))


def _read(path: Path) -> tuple[list[np.ndarray], Progress]:
    """Read the arrays and the progress. Raises TablesError where the file holds something else."""
    tables = read_tables(path.read_bytes(), MAX_BYTES)
    try:
        stored = json.loads(str(tables.pop("progress")))
        progress = Progress(**stored)
    except (KeyError, TypeError, ValueError) as error:
        raise TablesError("it does not describe a training") from error
    described = isinstance(progress.recipe, str) and isinstance(progress.step, int)
    sessions = progress.settings
    if not described or not isinstance(sessions, list) or not all(isinstance(s, dict) for s in sessions):
        raise TablesError("it does not describe a training")
    names = [f"arr_{i}" for i in range(len(tables))]
    if set(names) != tables.keys():
        raise TablesError("its arrays are not numbered")
    if not all(array.dtype.kind in "iuf" for array in tables.values()):
        raise TablesError("its arrays are no numbers")
    return [tables[name] for name in names], progress
