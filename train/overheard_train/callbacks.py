# mypy: allow-subclassing-any
# Keras has no type information: its callbacks are of type Any, which strict mypy does not let us subclass.
"""Keras callbacks of a training: learning rate, progress lines, checkpoints, TensorBoard curves."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from overheard.errors import OverheardError
from overheard_train.checkpoints import Progress, save_checkpoint, save_state, write_settings
from overheard_train.recipes import Recipe
from overheard_train.schedule import Schedule, learning_rate_at

log = logging.getLogger(__name__)

SAVE_INTERVAL_S = 240.0
LINE_INTERVAL_ROUNDS = 2


class Costs(Protocol):
    """What the batches have cost so far; see :class:`~overheard_train.batches.Batches`."""

    cpu_s: float
    waited_s: float


@dataclasses.dataclass(frozen=True)
class Training:
    """The state that the callbacks share.

    Attributes
    ----------
    progress : updated by :class:`Steering` after each step
    stop : set to end the training after the current step
    """

    recipe: Recipe
    schedule: Schedule
    progress: Progress
    batches: Costs
    stop: threading.Event


def make_callbacks(
    training: Training, checkpoint: Path, tensorboard: Path | None = None
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a training, in the order in which Keras calls them."""
    made = [Steering(training), ProgressLine(training), Checkpoints(training, checkpoint)]
    return made if tensorboard is None else [*made, Curves(tensorboard, training.progress)]


class Steering(keras.callbacks.Callback):
    """Count steps and time, set the learning rate, and end the training when its budget is used up."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._training, self._progress = training, training.progress

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clocks."""
        self._wall_s, self._cpu_s, self._batches_s = time.monotonic(), time.process_time(), 0.0
        self._optimizer_from_step = self._progress.step - int(self.model.optimizer.iterations)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the learning rate of the step; if set per round, it would depend on where a session began."""
        schedule = self._training.schedule
        step = self._progress.step - self._optimizer_from_step
        rate = learning_rate_at(schedule.done(self._progress), step, self._training.recipe)
        self.model.optimizer.learning_rate = rate * schedule.learning_rate_scale

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count a step, and end the training at the end of the schedule or after a signal."""
        progress = self._progress
        progress.step += 1
        wall_s, cpu_s, batches_s = time.monotonic(), time.process_time(), self._training.batches.cpu_s
        progress.seconds += wall_s - self._wall_s
        progress.cpu_s += cpu_s - self._cpu_s + batches_s - self._batches_s
        self._wall_s, self._cpu_s, self._batches_s = wall_s, cpu_s, batches_s
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise _diverged(progress)
        if self._training.schedule.done(progress) >= 1 or self._training.stop.is_set():
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Record the loss and accuracy of the round."""
        self._progress.loss = float((logs or {}).get("loss", math.nan))
        self._progress.accuracy = float((logs or {}).get("top1", math.nan))


def _diverged(progress: Progress) -> OverheardError:
    return OverheardError(
        f"training diverged in step {progress.step}",
        "continue the last checkpoint with --resume and a lower --learning-rate-scale",
    )


class ProgressLine(keras.callbacks.Callback):
    """Log a line about the training's progress every few rounds."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._training, self._progress = training, training.progress
        self._rows = training.recipe.views * training.recipe.n_pairs

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Remember the progress at the start of the session."""
        self._began_s, self._first_step = time.monotonic(), self._progress.step
        self._done = self._training.schedule.done(self._progress)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log the line."""
        if epoch % LINE_INTERVAL_ROUNDS:
            return
        progress, elapsed_s = self._progress, time.monotonic() - self._began_s
        done = self._training.schedule.done(progress)
        left_s = elapsed_s * (1 - done) / max(done - self._done, 1e-9)
        log.info(
            "step %d  loss %.3f  top-1 %.3f  %.0f segments/s  %.0f%% of the time waiting for data  "
            "%.0f min left",
            progress.step,
            progress.loss,
            progress.accuracy,
            (progress.step - self._first_step) * self._rows / elapsed_s,
            100 * self._training.batches.waited_s / elapsed_s,
            max(left_s, 0) / 60,
        )


class Checkpoints(keras.callbacks.Callback):
    """Write checkpoints every few minutes and at the end."""

    def __init__(self, training: Training, path: Path) -> None:
        super().__init__()
        self._training, self._path = training, path
        self._saved_s = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a checkpoint if the last one is old enough."""
        if time.monotonic() - self._saved_s > SAVE_INTERVAL_S:
            self._save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the last checkpoint."""
        self._save()

    def _save(self) -> None:
        progress = self._training.progress
        weights = [np.asarray(weight) for weight in self.model.encoder.weights]
        if not all(np.isfinite(weight).all() for weight in weights):  # the loss shows it one step later
            raise _diverged(progress)
        # The state first: it is only used with a checkpoint of the same step.
        save_state([*self.model.weights, *self.model.optimizer.variables], progress, self._path)
        save_checkpoint(weights, progress, self._path)
        write_settings(self._path, self._training.recipe.to_dict(), progress)
        self._saved_s = time.monotonic()


class Curves(keras.callbacks.Callback):
    """Write curves for TensorBoard.

    Raises
    ------
    OverheardError
        TensorBoard is not installed, or `folder` is a file.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        super().__init__()
        if folder.exists() and not folder.is_dir():
            raise OverheardError(f"{folder} is not a folder", "give another with --tensorboard")
        try:
            from tensorboard.summary import Writer  # type: ignore[import-untyped]  # ships no types
        except ImportError as error:
            raise OverheardError(
                "--tensorboard needs TensorBoard", "install it: pip install tensorboard"
            ) from error
        self._writer, self._progress = Writer(str(folder)), progress

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the values of a round."""
        values = {**(logs or {}), "learning_rate": float(self.model.optimizer.learning_rate)}
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), self._progress.step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Flush the file."""
        self._writer.close()
