"""Retrieval of degraded segments among clean ones, without the matcher: what training is steered by."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from overheard.frontend import FloatArray, log_mel, normalize_segments, slice_segments
from overheard.runtime import Network
from overheard.spec import SPEC
from overheard_train.augment import Variation
from overheard_train.dataset import load_clips
from overheard_train.recipes import Recipe, find_recipe
from overheard_train.train import Progress, load_checkpoint, make_pair_maker, restore

if TYPE_CHECKING:
    import keras

NO_VARIATION = Variation(resample=0, reverse=0, equalize=0, overlay=0)


def load_encoder(checkpoint: Path) -> tuple[keras.Model, Recipe, Progress]:
    """Rebuild the float32 encoder of a checkpoint; raise OverheardError where it is none."""
    weights, progress = load_checkpoint(checkpoint)
    recipe = find_recipe(progress.recipe)
    import keras

    from overheard_train.models import build_encoder

    keras.mixed_precision.set_global_policy("float32")
    encoder = build_encoder(recipe.widths, recipe.blocks)
    restore(encoder, weights, str(checkpoint))
    return encoder, recipe, progress


def track_segments(data_dir: Path, split: str, step_frames: int) -> tuple[FloatArray, np.ndarray]:
    """Return normalized segments ``(n, n_frames, n_mels)`` of all tracks of a split and each one's track."""
    music = load_clips(data_dir, ["music"], split)
    segments, tracks = [], []
    for index in range(len(music)):
        mel = log_mel(music.clip(index).astype(np.float32) / np.float32(32768))
        sliced = normalize_segments(slice_segments(mel, step_frames, SPEC), SPEC)
        segments.append(sliced)
        tracks.append(np.full(len(sliced), index))
    return np.concatenate(segments), np.concatenate(tracks)


def track_embeddings(tflite: bytes, data_dir: Path, split: str) -> FloatArray:
    """Embed every track of a split at the catalogue's hop with the int8 network; ``(n, dim)``."""
    network = Network(tflite, n_threads=2)
    music = load_clips(data_dir, ["music"], split)
    outputs = []
    for index in range(len(music)):
        mel = log_mel(music.clip(index).astype(np.float32) / np.float32(32768))
        segments = normalize_segments(slice_segments(mel, SPEC.hop_frames, SPEC), SPEC)
        values = np.clip(np.rint(segments / network.input_scale) + network.input_zero_point, -128, 127)
        outputs.extend(network.invoke(value[None, ..., None])[0] for value in values.astype(np.int8))
    embeddings = np.stack(outputs).astype(np.float32) - network.output_zero_point
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """How often a degraded segment finds its track and place among all clean segments."""

    n_queries: int
    n_catalogue: int
    top1: float
    top10: float
    mean_similarity: float


def evaluate(
    checkpoint: Path, data_dir: Path, split: str = "valid", n_queries: int = 1020, seed: int = 5
) -> Retrieval:
    """Query degraded segments of a split against every clean segment of that split, half a second apart.

    A hit is a nearest neighbour of the right track. Float network, exhaustive search, one segment a query.
    """
    encoder, recipe, _ = load_encoder(checkpoint)
    segments, tracks = track_segments(data_dir, split, 16)
    catalogue = encoder.predict(segments[..., None], batch_size=512, verbose=0)
    recipe = dataclasses.replace(recipe, variation=NO_VARIATION)  # the catalogue holds the tracks as they are
    maker = make_pair_maker(recipe, data_dir, split, seed)
    rng = np.random.default_rng(seed)
    queries, truths, similarity = [], [], []
    for index in range(n_queries):
        track = index % len(maker.music)
        pair = normalize_segments(log_mel(np.stack(maker.waveforms(rng, track))), SPEC)
        clean, degraded = encoder.predict_on_batch(pair[..., None])
        queries.append(degraded)
        truths.append(track)
        similarity.append(float(clean @ degraded))
    scores = np.stack(queries) @ catalogue.T
    nearest = tracks[np.argsort(-scores, axis=1)[:, :10]]
    hits = nearest == np.array(truths)[:, None]
    return Retrieval(
        n_queries,
        len(catalogue),
        float(hits[:, 0].mean()),
        float(hits.any(axis=1).mean()),
        float(np.mean(similarity)),
    )
