"""Read and write what a training leaves: weights small enough to commit, and a state that resumes exactly."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from overheard.errors import ModelError
from overheard.files import atomic_write
from overheard.fingerprint.tables import TablesError, read_tables
from overheard_train.output_files import write_text

if TYPE_CHECKING:
    import keras

Arrays = list[npt.NDArray[Any]]

MAX_BYTES = 1 << 31  # the largest encoder's weights and optimizer state are far smaller
MAX_FLOAT16 = 6e4  # larger weights stay float32; float16 ends at 65,504


@dataclasses.dataclass
class Progress:
    """The record of a training that a checkpoint holds beside the weights.

    Attributes
    ----------
    recipe : the recipe's name
    step : number of batches so far
    sessions : number of starts, resumed ones included
    seconds, cpu_s : wall clock time, and processor time of all processes
    loss, accuracy : within the batch, averaged over the last round
    settings : one entry per session: schedule, seed, data, commit, environment
    """

    recipe: str
    step: int = 0
    sessions: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    accuracy: float = math.nan
    cpu_s: float = 0.0
    settings: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def save_checkpoint(weights: Arrays, progress: Progress, path: Path) -> None:
    """Write the encoder's weights as float16: half the size, and training continues from them as well."""
    half = [w.astype(np.float16) if np.abs(w).max(initial=0) < MAX_FLOAT16 else w for w in weights]
    _write(path, half, progress)


def load_checkpoint(path: Path) -> tuple[Arrays, Progress]:
    """Read what :func:`save_checkpoint` wrote.

    Returns
    -------
    The weights as float32, and the progress.

    Raises
    ------
    ModelError
        The file is missing, damaged, or not a checkpoint.
    """
    try:
        arrays, progress = _read(path)
    except FileNotFoundError as error:
        raise ModelError(f"there is no checkpoint {path}", "train one with overheard-train fit") from error
    except (TablesError, OSError) as error:
        raise ModelError(
            f"{path} is damaged or not a checkpoint", "give a .npz that overheard-train fit wrote"
        ) from error
    weights: Arrays = [array.astype(np.float32) for array in arrays]
    if not all(np.isfinite(weight).all() for weight in weights):
        raise ModelError(f"{path} holds weights that are not finite", "use an earlier checkpoint")
    return weights, progress


def average(paths: Sequence[Path]) -> tuple[Arrays, Progress]:
    """Return the mean of the weights of checkpoints, and the progress of the last one.

    Source: Wortsman et al., Model Soups (2203.05482).

    Raises
    ------
    ModelError
        A checkpoint is missing or damaged, or they are of different recipes.
    """
    loaded = [load_checkpoint(path) for path in paths]
    weights, progress = loaded[-1]
    shapes = [weight.shape for weight in weights]
    for path, (others, other_progress) in zip(paths, loaded, strict=True):
        if other_progress.recipe != progress.recipe or [other.shape for other in others] != shapes:
            raise ModelError(
                f"{path} and {paths[-1]} are of different networks", "give checkpoints of one recipe"
            )
    means = [np.mean(same, axis=0) for same in zip(*(others for others, _ in loaded), strict=True)]
    steps = [other_progress.step for _, other_progress in loaded]
    if progress.settings:
        *earlier, last = progress.settings
        # In the last session's settings, which a resumed training continues.
        progress = dataclasses.replace(progress, settings=[*earlier, {**last, "mean_of_steps": steps}])
    return means, progress


def settings_path(checkpoint: Path) -> Path:
    """Return the path of the JSON with recipe, progress and sessions, beside the checkpoint."""
    return checkpoint.with_suffix(".json")


def state_path(checkpoint: Path) -> Path:
    """Return the path of the exact state, beside the checkpoint; git ignores it."""
    return checkpoint.with_suffix(".state.npz")


def files_of(checkpoint: Path) -> tuple[Path, ...]:
    """Return the paths of all files that a training writes."""
    return checkpoint, state_path(checkpoint), settings_path(checkpoint)


def save_state(variables: list[keras.Variable], progress: Progress, checkpoint: Path) -> None:
    """Write every variable in its own type: weights, and those of the optimizer and of the loss."""
    _write(state_path(checkpoint), [np.asarray(variable) for variable in variables], progress)


def load_state(variables: list[keras.Variable], progress: Progress, checkpoint: Path) -> bool:
    """Restore the exact state of a checkpoint.

    Returns
    -------
    False if the state is missing, damaged, or of another step or network. The checkpoint itself is good:
    only the optimizer's state is lost.
    """
    try:
        arrays, stored = _read(state_path(checkpoint))
    except (TablesError, OSError):
        return False
    same = [tuple(variable.shape) for variable in variables] == [array.shape for array in arrays]
    if not same or (stored.recipe, stored.step) != (progress.recipe, progress.step):
        return False
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return True


def write_settings(checkpoint: Path, recipe: dict[str, Any], progress: Progress) -> None:
    """Write recipe, progress and sessions as JSON beside the checkpoint."""
    facts = {"recipe": recipe, "progress": dataclasses.asdict(progress)}
    write_text(settings_path(checkpoint), json.dumps(facts, indent=1, default=str) + "\n")


def restore(encoder: keras.Model, weights: Arrays, source: str) -> None:
    """Set an encoder's weights to those of a checkpoint.

    Parameters
    ----------
    source : the checkpoint, for the error message

    Raises
    ------
    ModelError
        The weights have other shapes than the encoder's.
    """
    shapes = [tuple(weight.shape) for weight in encoder.weights]
    if shapes != [weight.shape for weight in weights]:
        raise ModelError(f"the weights of {source} do not fit the network of its recipe", "train it again")
    encoder.set_weights(weights)


def _write(path: Path, arrays: Arrays, progress: Progress) -> None:
    with atomic_write(path) as file:
        np.savez(file, *arrays, progress=np.array(json.dumps(dataclasses.asdict(progress))))


def _read(path: Path) -> tuple[Arrays, Progress]:
    """Read arrays and progress; raise TablesError if the file holds something else."""
    tables = read_tables(path.read_bytes(), MAX_BYTES)
    if "progress" not in tables:
        raise TablesError("it does not describe a training")
    progress = _parse_progress(str(tables.pop("progress")))
    names = [f"arr_{i}" for i in range(len(tables))]
    if set(names) != tables.keys():
        raise TablesError("its arrays are not numbered")
    if not all(array.dtype.kind in "iuf" for array in tables.values()):
        raise TablesError("its arrays are not numeric")
    return [tables[name] for name in names], progress


def _parse_progress(text: str) -> Progress:
    try:
        stored = json.loads(text)
    except ValueError as error:
        raise TablesError("its progress is not JSON") from error
    fields = {field.name for field in dataclasses.fields(Progress)}
    if not isinstance(stored, dict) or not {"recipe"} <= stored.keys() <= fields:
        raise TablesError("it does not describe a training")
    progress = Progress(**stored)
    numbers: list[object] = [progress.step, progress.sessions, progress.seconds, progress.cpu_s]
    numbers += [progress.loss, progress.accuracy]
    sessions: Any = progress.settings
    described = isinstance(progress.recipe, str) and isinstance(progress.step, int)
    described &= all(isinstance(number, int | float) for number in numbers)
    if not described or not isinstance(sessions, list) or not all(isinstance(s, dict) for s in sessions):
        raise TablesError("it does not describe a training")
    return progress
