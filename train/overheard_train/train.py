"""The training of a recipe: steps, a learning rate that follows a budget, checkpoints that resume."""

from __future__ import annotations

import dataclasses
import gc
import logging
import os
import platform
import signal
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

from overheard.errors import OverheardError
from overheard_train.batches import Batches
from overheard_train.checkpoints import Progress, load_checkpoint, load_state, restore
from overheard_train.data import open_data
from overheard_train.pairs import make_pairs
from overheard_train.recipes import Recipe, find_recipe
from overheard_train.schedule import ROUND_STEPS, Budget, Schedule
from overheard_train.text import commit

log = logging.getLogger(__name__)

PACKAGES = ("keras", "tensorflow", "jax", "numpy")


def fit(
    recipe: Recipe,
    data: Sequence[str],
    checkpoint: Path,
    budget: Budget | None = None,
    resume: bool = False,
    restart: bool = False,
    seed: int = 0,
    n_workers: int = 2,
    learning_rate_scale: float | None = None,
    tensorboard: Path | None = None,
    n_pairs: int | None = None,
) -> Progress:
    """Train a recipe and leave a checkpoint, written every few minutes too.

    Parameters
    ----------
    data : names of the data, see :mod:`overheard_train.data`
    budget : the recipe's steps where None, or what it was
    resume : continue ``checkpoint``: exactly where its state lies beside it, else with a new optimizer
    restart : with `resume`, begin a new schedule from the checkpoint's weights
    learning_rate_scale : of the recipe's peak; 1 where None, or what it was
    tensorboard : folder for curves
    n_pairs : of a step; the recipe's where None, or what it was

    Raises
    ------
    OverheardError
        Data or checkpoint are missing or damaged, or the training diverged; the checkpoint stays.
    KeyboardInterrupt
        It was interrupted; the checkpoint is of the last step.
    """
    weights, progress = load_checkpoint(checkpoint) if resume else (None, Progress(recipe.name))
    if progress.recipe != recipe.name:
        find_recipe(progress.recipe)
        raise OverheardError(
            f"{checkpoint} is of the recipe {progress.recipe}: say --recipe {progress.recipe}"
        )
    schedule = _schedule(progress, recipe, budget, restart, learning_rate_scale)
    if schedule.done(progress) >= 1:
        log.info("%s is at its schedule's end: lengthen it, or begin a new one with --restart", checkpoint)
        return progress
    if progress.settings and not restart:
        seed = progress.settings[-1]["seed"]
        n_pairs = n_pairs or progress.settings[-1].get("n_pairs")
    recipe = dataclasses.replace(recipe, n_pairs=n_pairs or recipe.n_pairs)
    maker = make_pairs(recipe, open_data(data), seed=seed)
    batches = Batches(maker, seed, progress.step, recipe.n_pairs, n_workers)
    try:
        from overheard_train.callbacks import callbacks
        from overheard_train.trainer import make_model

        model = make_model(recipe, seed)
        if weights is not None:
            restore(model.encoder, weights, str(checkpoint))
            variables = [*model.weights, *model.optimizer.variables]
            if restart or not load_state(variables, progress, checkpoint):
                log.info("the optimizer starts anew")
        progress.sessions += 1
        progress.settings.append(_settings(schedule, seed, data, n_workers, recipe.n_pairs))
        with _Interrupts() as interrupts:
            log.info("%s: %d parameters", recipe.name, model.encoder.count_params())
            model.fit(
                (batch for batch in batches),  # Keras takes generators, no other iterators
                steps_per_epoch=ROUND_STEPS,
                epochs=10**9,
                verbose=0,
                shuffle=False,
                callbacks=callbacks(recipe, schedule, progress, checkpoint, batches, interrupts, tensorboard),
            )
    except Exception:
        batches.check()
        raise
    finally:
        batches.close()
        gc.collect()  # TensorFlow's iterator: left to the interpreter's end, it waits there for ever
    if interrupts.wanted:
        raise KeyboardInterrupt
    return progress


def _schedule(
    progress: Progress, recipe: Recipe, budget: Budget | None, restart: bool, scale: float | None
) -> Schedule:
    """Return the schedule that a session follows: a training's own goes on unless it is told otherwise."""
    if progress.settings and not restart:
        known = Schedule.of(progress)
        return dataclasses.replace(
            known,
            budget=budget or known.budget,
            learning_rate_scale=scale or known.learning_rate_scale,
        )
    return Schedule(
        budget or Budget(steps=recipe.steps), scale or 1.0, progress.step, progress.cpu_s, progress.seconds
    )


def _settings(
    schedule: Schedule, seed: int, data: Sequence[str], n_workers: int, n_pairs: int
) -> dict[str, Any]:
    """Return what a session can be done again with; the model is made already."""
    import keras

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "schedule": dataclasses.asdict(schedule),
        "seed": seed,
        "data": [str(name) for name in data],
        "workers": n_workers,
        "n_pairs": n_pairs,
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


class _Interrupts:
    """Turns the first Ctrl-C, or being told to end, into a wish that the training sees after its step."""

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Interrupts:
        try:
            self._before = {
                number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)
            }
        except ValueError:  # not in the main thread: whoever runs it there handles signals
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
