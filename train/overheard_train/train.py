"""The training loop: batches from worker processes, NT-Xent, AdamW with a cosine, checkpoints that resume."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np

from overheard.frontend import FloatArray
from overheard.spec import SPEC
from overheard_train.augment import PairMaker, microphone_responses, room_variations
from overheard_train.dataset import load_clips, load_responses
from overheard_train.recipes import Recipe

log = logging.getLogger(__name__)

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


def _make_batch(seed: int, step: int, n_pairs: int) -> FloatArray:
    if _maker is None:
        raise RuntimeError("the worker was started without a PairMaker")
    return _maker.batch(np.random.default_rng([seed, step]), n_pairs)


def batches(maker: PairMaker, seed: int, first_step: int, n_pairs: int, n_workers: int) -> Iterator[FloatArray]:
    """Yield batches in order, made ahead by processes; the same seed and step give the same batch."""
    global _maker
    _maker = maker  # workers are forked and share it without a copy
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(n_workers, mp_context=context) as pool:
        pending: list[Future[FloatArray]] = []
        step = first_step
        try:
            while True:
                while len(pending) < 2 * n_workers:
                    pending.append(pool.submit(_make_batch, seed, step, n_pairs))
                    step += 1
                yield pending.pop(0).result()
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
    """Write weights as float16 (half the size; training goes on from them without loss that shows) and progress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial.npz")
    half = [w.astype(np.float16) if np.abs(w).max(initial=0) < 6e4 else w for w in weights]
    with open(temporary, "wb") as file:
        np.savez(file, *half, progress=np.array(json.dumps(dataclasses.asdict(progress))))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path) -> tuple[list[np.ndarray], Progress]:
    """Read what :func:`save_checkpoint` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        progress = Progress(**json.loads(str(stored["progress"])))
        weights = [stored[f"arr_{i}"].astype(np.float32) for i in range(len(stored.files) - 1)]
    return weights, progress


def learning_rate_at(step: int, first: int, last: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to 1% at the last step of this session."""
    done = (step - first) / max(1, last - first)
    warm = min(1.0, (step - first + 1) / recipe.warmup_steps)
    return recipe.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


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
    save_every_s: float = 240.0,
) -> Progress:
    """Train a recipe and leave a checkpoint.

    Parameters
    ----------
    steps : of this session; the recipe's own where None
    minutes : end after so long all the same; the learning rate follows whichever comes first
    resume : continue from ``checkpoint`` with a fresh cosine
    """
    weights, progress = load_checkpoint(checkpoint) if resume else (None, Progress(recipe.name, sessions=0))
    progress.sessions += 1
    first, n_steps = progress.step, steps or recipe.steps
    maker = make_pair_maker(recipe, data_dir, seed=seed)
    source = batches(maker, seed, first, recipe.n_pairs, n_workers)
    batch = next(source)  # forks the workers before TensorFlow starts threads

    import keras
    import tensorflow as tf

    from overheard_train.losses import nt_xent
    from overheard_train.models import build_encoder

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    encoder = build_encoder(recipe.widths, recipe.blocks)
    optimizer = keras.optimizers.AdamW(
        recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm
    )
    if weights is not None:
        encoder.set_weights(weights)
    log.info("%s: %d parameters", recipe.name, encoder.count_params())

    @tf.function
    def train_step(segments: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            embeddings = encoder(segments[..., None], training=True)
            loss, accuracy = nt_xent(embeddings, recipe.temperature)
        gradients = tape.gradient(loss, encoder.trainable_variables)
        optimizer.apply_gradients(zip(gradients, encoder.trainable_variables, strict=True))
        return loss, accuracy

    shape = (2 * recipe.n_pairs, SPEC.n_frames, SPEC.frontend.n_mels)
    began = saved = time.monotonic()
    seconds_before = progress.seconds
    losses: list[float] = []
    hits: list[float] = []
    waited = 0.0
    for step in range(first, first + n_steps):
        elapsed = time.monotonic() - began
        done = (step - first) / n_steps
        if minutes is not None:
            done = max(done, elapsed / 60 / minutes)
            if done >= 1:
                break
        rate = learning_rate_at(first + int(done * n_steps), first, first + n_steps, recipe)
        warm = min(1.0, (step - first + 1) / recipe.warmup_steps)
        optimizer.learning_rate = min(rate, recipe.learning_rate * warm) * learning_rate_scale
        loss, accuracy = train_step(tf.ensure_shape(tf.constant(batch), shape))
        before = time.monotonic()
        batch = next(source)
        waited += time.monotonic() - before
        losses.append(float(loss))
        hits.append(float(accuracy))
        now = time.monotonic()
        if (step + 1) % 50 == 0:
            progress.loss, progress.accuracy = float(np.mean(losses[-50:])), float(np.mean(hits[-50:]))
            log.info(
                "step %d  loss %.3f  top-1 %.3f  %.0f segments/s  waited for data %.0f%%",
                step + 1, progress.loss, progress.accuracy,
                len(losses) * shape[0] / (now - began), 100 * waited / (now - began),
            )  # fmt: skip
        progress.step, progress.seconds = step + 1, seconds_before + now - began
        if now - saved > save_every_s:
            save_checkpoint(encoder.get_weights(), progress, checkpoint)
            saved = now
    source.close()  # type: ignore[attr-defined]
    save_checkpoint(encoder.get_weights(), progress, checkpoint)
    return progress
