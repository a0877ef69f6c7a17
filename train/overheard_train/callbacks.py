"""What happens around a training's steps: the learning rate, a line of progress, checkpoints, curves."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from overheard.errors import OverheardError
from overheard_train.batches import Batches
from overheard_train.checkpoints import Progress, save_checkpoint, save_state, write_settings
from overheard_train.recipes import Recipe
from overheard_train.schedule import Schedule, learning_rate_at

log = logging.getLogger(__name__)

SAVE_EVERY_S = 240.0
LINE_EVERY_ROUNDS = 2


class Interrupts(Protocol):
    """Tells whether the training was asked to end."""

    wanted: bool


def callbacks(
    recipe: Recipe,
    schedule: Schedule,
    progress: Progress,
    checkpoint: Path,
    batches: Batches,
    interrupts: Interrupts,
    tensorboard: Path | None,
) -> list[keras.callbacks.Callback]:
    """Return a training's callbacks, in the order in which they are called."""
    made: list[keras.callbacks.Callback] = [
        Steering(recipe, schedule, progress, batches, interrupts),
        Line(recipe, schedule, progress, batches),
        Keeper(recipe, progress, checkpoint),
    ]
    return made if tensorboard is None else [*made, Curves(tensorboard, progress)]


class Steering(keras.callbacks.Callback):
    """Counts steps and time, sets the learning rate, ends the training at its budget."""

    def __init__(
        self,
        recipe: Recipe,
        schedule: Schedule,
        progress: Progress,
        batches: Batches,
        interrupts: Interrupts,
    ) -> None:
        super().__init__()
        self._recipe, self._schedule, self._progress = recipe, schedule, progress
        self._batches, self._interrupts = batches, interrupts

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Start the clocks."""
        self._wall, self._cpu, self._made = time.monotonic(), time.process_time(), 0.0
        self._optimizer_began = self._progress.step - int(self.model.optimizer.iterations)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Set the step's learning rate: of a round it would depend on where the training was resumed."""
        progress = self._progress
        step = progress.step - self._optimizer_began
        rate = learning_rate_at(self._schedule.done(progress), step, self._recipe)
        self.model.optimizer.learning_rate = rate * self._schedule.learning_rate_scale

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count a step."""
        progress = self._progress
        progress.step += 1
        wall, cpu, made = time.monotonic(), time.process_time(), self._batches.cpu_s
        progress.seconds += wall - self._wall
        progress.cpu_s += cpu - self._cpu + made - self._made
        self._wall, self._cpu, self._made = wall, cpu, made
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise _diverged(progress)
        if self._schedule.done(progress) >= 1 or self._interrupts.wanted:
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the round's loss and accuracy."""
        self._progress.loss = float((logs or {}).get("loss", math.nan))
        self._progress.accuracy = float((logs or {}).get("top1", math.nan))


def _diverged(progress: Progress) -> OverheardError:
    return OverheardError(
        f"training diverged in step {progress.step}: lower --learning-rate-scale; "
        "what was saved before goes on with --resume"
    )


class Line(keras.callbacks.Callback):
    """Says how far the training is."""

    def __init__(self, recipe: Recipe, schedule: Schedule, progress: Progress, batches: Batches) -> None:
        super().__init__()
        self._rows = recipe.views * recipe.n_pairs
        self._schedule, self._progress, self._batches = schedule, progress, batches

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Remember where this session began."""
        self._began, self._first = time.monotonic(), self._progress.step
        self._done = self._schedule.done(self._progress)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Log a line every few rounds."""
        if epoch % LINE_EVERY_ROUNDS:
            return
        progress, seconds = self._progress, time.monotonic() - self._began
        done = self._schedule.done(progress)
        left_s = seconds * (1 - done) / max(done - self._done, 1e-9)
        log.info(
            "step %d  loss %.3f  top-1 %.3f  %.0f examples/s  waited for data %.0f%%  %.0f min left",
            progress.step,
            progress.loss,
            progress.accuracy,
            (progress.step - self._first) * self._rows / seconds,
            100 * self._batches.waited_s / seconds,
            max(left_s, 0) / 60,
        )


class Keeper(keras.callbacks.Callback):
    """Writes checkpoints: every few minutes, and at the end."""

    def __init__(self, recipe: Recipe, progress: Progress, checkpoint: Path) -> None:
        super().__init__()
        self._recipe, self._progress, self._checkpoint = recipe, progress, checkpoint
        self._saved = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write where the last time is long enough ago."""
        if time.monotonic() - self._saved > SAVE_EVERY_S:
            self._save()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Write the last."""
        self._save()

    def _save(self) -> None:
        weights = [np.asarray(weight) for weight in self.model.encoder.weights]
        if not all(np.isfinite(weight).all() for weight in weights):  # the loss tells a step later
            raise _diverged(self._progress)
        # The state first: without a checkpoint of the same step it is not taken for one.
        save_state([*self.model.weights, *self.model.optimizer.variables], self._progress, self._checkpoint)
        save_checkpoint(weights, self._progress, self._checkpoint)
        write_settings(self._checkpoint, self._recipe.to_dict(), self._progress)
        self._saved = time.monotonic()


class Curves(keras.callbacks.Callback):
    """Writes curves for TensorBoard, on any backend."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        super().__init__()
        if folder.exists() and not folder.is_dir():
            raise OverheardError(f"{folder} is no folder: name another with --tensorboard")
        try:
            from tensorboard.summary import Writer
        except ImportError as error:
            raise OverheardError("--tensorboard needs: pip install tensorboard") from error
        self._writer, self._progress = Writer(str(folder)), progress

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a round's values."""
        values = {**(logs or {}), "learning_rate": float(self.model.optimizer.learning_rate)}
        for name, value in values.items():
            self._writer.add_scalar(name, float(value), self._progress.step)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Bring them to disk."""
        self._writer.close()
