"""The training loop: batches from worker processes, NT-Xent, AdamW with a cosine, checkpoints that resume."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from overheard.errors import ModelError, OverheardError
from overheard.frontend import FloatArray
from overheard.spec import SPEC
from overheard_train.augment import PairMaker
from overheard_train.dataset import load_clips, load_responses
from overheard_train.recipes import Recipe
from overheard_train.responses import microphone_responses, room_variations

if TYPE_CHECKING:
    import keras

log = logging.getLogger(__name__)

SAVE_EVERY_S = 240.0
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile)
TrainStep = Callable[..., tuple[float, float]]

_maker: PairMaker | None = None  # of this worker process


def make_pair_maker(recipe: Recipe, data_dir: Path, split: str = "train", seed: int = 0) -> PairMaker:
    """Load one split of the corpus and make its room variations."""
    rng = np.random.default_rng([seed, 77])
    rooms = load_responses(data_dir, ["ir_room", "ir_room_synth"], split)
    return PairMaker(
        load_clips(data_dir, ["music"], split),
        load_clips(data_dir, ["noise"], split),
        load_clips(data_dir, ["speech"], split),
        room_variations(rooms, rng, *recipe.n_rooms),
        microphone_responses(load_responses(data_dir, ["ir_mic"], split)),
        recipe.degradation,
        recipe.variation,
    )


def _start_worker() -> None:
    """Leave an interrupt to the parent, and end with it even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)  # the pool's pipes stay open between the workers: they would wait for ever

    threading.Thread(target=watch, daemon=True).start()


def _make_batch(seed: int, step: int, n_pairs: int) -> FloatArray:
    if _maker is None:
        raise RuntimeError("the worker was started without a PairMaker")
    return _maker.batch(np.random.default_rng([seed, step]), n_pairs)


def batches(
    maker: PairMaker, seed: int, first_step: int, n_pairs: int, n_workers: int
) -> Generator[FloatArray, None, None]:
    """Yield batches in order, made ahead by processes; the same seed and step give the same batch."""
    global _maker
    _maker = maker  # workers are forked and share it without a copy
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(n_workers, mp_context=context, initializer=_start_worker) as pool:
        pending: list[Future[FloatArray]] = []
        step = first_step
        try:
            while True:
                while len(pending) < 2 * n_workers:
                    pending.append(pool.submit(_make_batch, seed, step, n_pairs))
                    step += 1
                yield pending.pop(0).result()
        except BrokenProcessPool as error:
            raise OverheardError(
                "a process that makes batches died (out of memory?): take fewer --workers, and --resume"
            ) from error
        finally:
            for future in pending:
                future.cancel()


@dataclasses.dataclass
class Progress:
    """What a checkpoint says of its training beside the weights."""

    recipe: str
    step: int = 0
    sessions: int = 1
    seconds: float = 0.0
    loss: float = math.nan
    accuracy: float = math.nan


def save_checkpoint(weights: list[np.ndarray], progress: Progress, path: Path) -> None:
    """Write weights as float16 (half the size; training goes on from them as well) and progress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial.npz")
    half = [w.astype(np.float16) if np.abs(w).max(initial=0) < 6e4 else w for w in weights]
    with open(temporary, "wb") as file:
        np.savez(file, *half, progress=np.array(json.dumps(dataclasses.asdict(progress))))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> tuple[list[np.ndarray], Progress]:
    """Read what :func:`save_checkpoint` wrote; raise ModelError where it is something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            progress = Progress(**json.loads(str(stored["progress"])))
            weights = [stored[f"arr_{i}"].astype(np.float32) for i in range(len(stored.files) - 1)]
    except FileNotFoundError as error:
        raise ModelError(f"there is no checkpoint {path}: make one with overheard-train fit") from error
    except UNREADABLE as error:
        raise ModelError(f"{path} is no checkpoint, or damaged ({error}): train anew") from error
    return weights, progress


def restore(encoder: keras.Model, weights: list[np.ndarray], source: str) -> None:
    """Give a checkpoint's weights to an encoder; raise ModelError where they are another network's."""
    shapes = [tuple(weight.shape) for weight in encoder.weights]
    if shapes != [weight.shape for weight in weights]:
        raise ModelError(f"the weights of {source} are another network's than its recipe's: train anew")
    encoder.set_weights(weights)


def learning_rate_at(done: float, number: int, recipe: Recipe) -> float:
    """Linear warm-up over the session's first steps, and a cosine to 1% as ``done`` goes from 0 to 1."""
    warm = min(1.0, (number + 1) / recipe.warmup_steps)
    return recipe.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def make_network(
    recipe: Recipe, weights: list[np.ndarray] | None = None, seed: int = 0
) -> tuple[keras.Model, TrainStep]:
    """Build the encoder in mixed bfloat16 and its training step.

    Returns
    -------
    encoder : keras.Model
    step : from (2 * n_pairs, n_frames, n_mels) float32 and a learning rate to (loss, accuracy)
    """
    import keras
    import tensorflow as tf

    from overheard_train.losses import nt_xent
    from overheard_train.models import build_encoder

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    encoder = build_encoder(recipe.widths, recipe.blocks)
    if weights is not None:
        restore(encoder, weights, "the checkpoint")
    optimizer = keras.optimizers.AdamW(
        recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm
    )
    shape = (2 * recipe.n_pairs, SPEC.n_frames, SPEC.frontend.n_mels)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])
    def train_step(segments: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            loss, accuracy = nt_xent(encoder(segments[..., None], training=True), recipe.temperature)
        gradients = tape.gradient(loss, encoder.trainable_variables)
        optimizer.apply_gradients(zip(gradients, encoder.trainable_variables, strict=True))
        return loss, accuracy

    def step(batch: FloatArray, learning_rate: float = recipe.learning_rate) -> tuple[float, float]:
        optimizer.learning_rate = learning_rate
        loss, accuracy = train_step(tf.constant(batch))
        return float(loss), float(accuracy)

    return encoder, step


def fit(
    recipe: Recipe,
    data_dir: Path,
    checkpoint: Path,
    steps: int | None = None,
    minutes: float | None = None,
    resume: bool = False,
    seed: int = 0,
    n_workers: int = 2,
    learning_rate_scale: float = 1.0,
) -> Progress:
    """Train a recipe and leave a checkpoint, written every few minutes too.

    Parameters
    ----------
    steps : of this session; the recipe's own where None
    minutes : end after so long all the same; the learning rate follows whichever comes first
    resume : continue from ``checkpoint`` with a fresh cosine
    learning_rate_scale : of the recipe's peak

    Raises
    ------
    OverheardError
        The corpus or the checkpoint is missing or damaged, or the training diverged; the checkpoint stays.
    """
    weights, progress = load_checkpoint(checkpoint) if resume else (None, Progress(recipe.name, sessions=0))
    if progress.recipe != recipe.name:
        raise OverheardError(
            f"{checkpoint} is of the recipe {progress.recipe}: say --recipe {progress.recipe}"
        )
    progress.sessions += 1
    maker = make_pair_maker(recipe, data_dir, seed=seed)
    source = batches(maker, seed, progress.step, recipe.n_pairs, n_workers)
    batch = next(source)  # forks the workers before TensorFlow starts threads
    encoder, train_step = make_network(recipe, weights, seed)
    watch = _Watch(progress, 2 * recipe.n_pairs)
    n_steps = steps or recipe.steps
    try:
        log.info("%s: %d parameters", recipe.name, encoder.count_params())
        for number in range(n_steps):
            done = max(number / n_steps, watch.minutes / minutes if minutes else 0.0)
            if done >= 1:
                break
            watch.add(*train_step(batch, learning_rate_scale * learning_rate_at(done, number, recipe)))
            with watch.waiting():
                batch = next(source)
            if watch.save_is_due():
                save_checkpoint(encoder.get_weights(), progress, checkpoint)
    except KeyboardInterrupt:
        save_checkpoint(encoder.get_weights(), progress, checkpoint)
        raise
    finally:
        source.close()
    save_checkpoint(encoder.get_weights(), progress, checkpoint)
    return progress


class _Watch:
    """Keeps a training's progress, says it every 50 steps, and knows when to save."""

    def __init__(self, progress: Progress, segments_per_step: int) -> None:
        self._progress, self._segments = progress, segments_per_step
        self._began = self._saved = time.monotonic()
        self._seconds_before = progress.seconds
        self._results: list[tuple[float, float]] = []
        self._waited_s = 0.0

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self._began) / 60

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self._waited_s += time.monotonic() - before

    def add(self, loss: float, accuracy: float) -> None:
        progress, seconds = self._progress, time.monotonic() - self._began
        if not math.isfinite(loss):
            raise OverheardError(
                f"training diverged in step {progress.step + 1}: lower --learning-rate-scale, and --resume"
            )
        self._results.append((loss, accuracy))
        progress.step += 1
        progress.seconds = self._seconds_before + seconds
        progress.loss, progress.accuracy = (float(v) for v in np.mean(self._results[-50:], axis=0))
        if progress.step % 50 == 0:
            log.info(
                "step %d  loss %.3f  top-1 %.3f  %.0f segments/s  waited for data %.0f%%",
                progress.step,
                progress.loss,
                progress.accuracy,
                len(self._results) * self._segments / seconds,
                100 * self._waited_s / seconds,
            )

    def save_is_due(self) -> bool:
        due = time.monotonic() - self._saved > SAVE_EVERY_S
        if due:
            self._saved = time.monotonic()
        return due
