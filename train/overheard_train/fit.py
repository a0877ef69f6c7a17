"""Train a recipe: steps, a learning rate that follows a schedule, checkpoints that resume exactly."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard.errors import ModelError, OverheardError
from overheard.process import stop_on_signals
from overheard_train.batches import Batches
from overheard_train.checkout import commit
from overheard_train.checkpoints import Arrays, Progress, load_checkpoint, load_state, restore
from overheard_train.data import open_data
from overheard_train.pairs import PairMaker, make_pairs
from overheard_train.recipes import TAUGHT, Recipe, find_recipe
from overheard_train.schedule import ROUND_STEPS, Budget, Schedule, session_schedule

if TYPE_CHECKING:
    from overheard_train.pair_model import PairModel

log = logging.getLogger(__name__)

PACKAGES = ("keras", "tensorflow", "numpy")
ENDLESS = 10**9  # rounds: the schedule ends a training, not their number


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run one session of a training.

    None takes the recipe's value or, if a training continues its schedule, the last session's.

    Attributes
    ----------
    budget : length of the training; the recipe's steps by default
    resume : continue the checkpoint: exactly if its state is beside it, or else with a new optimizer
    restart : with `resume`, begin a new schedule from the checkpoint's weights
    seed : determines weights and batches, 0 by default; a training that continues keeps the one it has
    n_workers : processes that make batches
    learning_rate_scale : multiplies the recipe's peak; 1 by default
    tensorboard : folder for TensorBoard curves; None writes none
    n_pairs : pairs per step
    initial : checkpoint of another network, to begin a student from; see :mod:`overheard_train.initial`
    """

    budget: Budget | None = None
    resume: bool = False
    restart: bool = False
    seed: int | None = None
    n_workers: int = 2
    learning_rate_scale: float | None = None
    tensorboard: Path | None = None
    n_pairs: int | None = None
    initial: Path | None = None


@dataclasses.dataclass(frozen=True)
class _Session:
    """One session: the recipe with the session's number of pairs, its schedule, seed and starting point."""

    recipe: Recipe
    schedule: Schedule
    seed: int
    weights: Arrays | None
    progress: Progress
    checkpoint: Path
    options: Options


def fit(recipe: Recipe, data: Sequence[str], checkpoint: Path, options: Options | None = None) -> Progress:
    """Train a recipe, and write a checkpoint every few minutes and at the end.

    Parameters
    ----------
    data : names of the training data, see :mod:`overheard_train.data`
    checkpoint : path of the .npz; its state and settings are beside it

    Returns
    -------
    The progress, also in the checkpoint.

    Raises
    ------
    OverheardError
        Data or checkpoint are missing or damaged, or the training diverged. The checkpoint stays as it was.
    KeyboardInterrupt
        A signal stopped the training. The checkpoint is of the last step.
    """
    session = _plan(recipe, checkpoint, options or Options())
    progress = session.progress
    if session.schedule.done(progress) >= 1:
        log.info("the schedule of %s is complete: extend it, or begin a new one with --restart", checkpoint)
        return progress
    maker = make_pairs(session.recipe, open_data(data), seed=session.seed)
    n_workers = session.options.n_workers
    stop = threading.Event()
    n_pairs, reuse = session.recipe.n_pairs, session.recipe.reuse
    batches = Batches(maker, session.seed, progress.step, n_pairs, n_workers, reuse)
    with _closing(batches):
        model = _build_model(session, maker)
        progress.sessions += 1
        progress.settings.append(_settings(session, data))
        _train(model, session, batches, stop)
    if stop.is_set():
        raise KeyboardInterrupt
    return progress


def _plan(recipe: Recipe, checkpoint: Path, options: Options) -> _Session:
    """Read the checkpoint to resume, and combine its settings with the user's."""
    weights, progress = load_checkpoint(checkpoint) if options.resume else (None, Progress(recipe.name))
    if progress.recipe != recipe.name:
        find_recipe(progress.recipe)
        raise OverheardError(
            f"{checkpoint} is of the recipe {progress.recipe}", f"add --recipe {progress.recipe}"
        )
    if options.initial is not None:
        _check_initial(recipe, options.initial)
    schedule = session_schedule(
        progress, recipe, options.budget, options.restart, options.learning_rate_scale
    )
    last = progress.settings[-1] if progress.settings and not options.restart else {}
    seed = last.get("seed", options.seed)
    recipe = dataclasses.replace(recipe, n_pairs=options.n_pairs or last.get("n_pairs") or recipe.n_pairs)
    return _Session(recipe, schedule, seed or 0, weights, progress, checkpoint, options)


def _check_initial(recipe: Recipe, source: Path) -> None:
    """Raise ModelError if a training cannot begin from a checkpoint; to be called before the long work."""
    if recipe.pairs.name != TAUGHT.name:
        raise ModelError(f"the pairs of {recipe.name} have no teacher", "omit --initial")
    found = find_recipe(load_checkpoint(source)[1].recipe)
    if {recipe.encoder.name, found.encoder.name} != {"residual"} or recipe.spec != found.spec:
        raise ModelError(f"{source} is of another kind of network", "give a checkpoint of a residual network")


@contextlib.contextmanager
def _closing(batches: Batches) -> Iterator[None]:
    """Close the batches in the end, and raise their error rather than TensorFlow's wrapper of it."""
    try:
        yield
    except Exception:
        batches.check()
        raise
    finally:
        batches.close()
        gc.collect()  # frees TensorFlow's iterator, which would block the interpreter's exit


def _build_model(session: _Session, maker: PairMaker) -> PairModel:
    """Build the model, and restore weights and state if a training is resumed."""
    from overheard_train.pair_model import make_model

    model = make_model(session.recipe, session.seed)
    if session.weights is None and session.options.initial is not None:
        from overheard_train.initial import begin_from

        begin_from(model.encoder, session.recipe, session.options.initial, maker, session.seed)
    if session.weights is not None:
        restore(model.encoder, session.weights, str(session.checkpoint))
        variables = [*model.weights, *model.optimizer.variables]
        restart = session.options.restart
        if restart or not load_state(variables, session.progress, session.checkpoint):
            log.info("the optimizer starts without its earlier state")
    return model


def _train(model: PairModel, session: _Session, batches: Batches, stop: threading.Event) -> None:
    from overheard_train.callbacks import Training, make_callbacks

    training = Training(session.recipe, session.schedule, session.progress, batches, stop)
    with stop_on_signals(stop):
        n_parameters = model.encoder.count_params()
        log.info("%s: %d parameters; writing to %s", session.recipe.name, n_parameters, session.checkpoint)
        model.fit(
            (batch for batch in batches),  # Keras accepts generators, but no other iterators
            steps_per_epoch=ROUND_STEPS,
            epochs=ENDLESS,
            verbose=0,
            shuffle=False,
            callbacks=make_callbacks(training, session.checkpoint, session.options.tensorboard),
        )


def _settings(session: _Session, data: Sequence[str]) -> dict[str, Any]:
    """Return what is needed to repeat the session, as JSON types; call after the model is built."""
    import keras

    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):  # such as tensorflow-cpu
            versions[package] = metadata.version(package)
    return {
        "schedule": dataclasses.asdict(session.schedule),
        "seed": session.seed,
        "data": [str(name) for name in data],
        "workers": session.options.n_workers,
        "n_pairs": session.recipe.n_pairs,
        **({"initial": session.options.initial.name} if session.options.initial else {}),
        "commit": commit(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "precision": keras.config.dtype_policy().name,
            **versions,
        },
    }
