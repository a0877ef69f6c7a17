"""Measure retrieval: how often a degraded query finds its track and position by exhaustive search.

It uses neither matcher nor threshold, and guides training. Source: Chang et al. (2010.11910), section 3.4,
which sums the similarities of a sequence of segments along the diagonal.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soxr

from overheard.errors import ModelError, OverheardError
from overheard.fingerprint.embedder import Embedder, segments_of
from overheard.fingerprint.frontend import FloatArray, log_mel, normalize_segments, slice_segments
from overheard.fingerprint.model import load_model
from overheard.fingerprint.spec import FingerprintSpec
from overheard.hear.resampler import to_float
from overheard_train.checkpoints import Progress, load_checkpoint, restore
from overheard_train.recipes import Recipe, find_recipe

if TYPE_CHECKING:
    import keras

    from overheard_train.data import Clips, Data

LENGTHS_S = (1, 2, 3, 5, 6, 10)  # of queries
STEP_S = 0.5  # between the segments of a query and of the catalogue
WINDOW_SAMPLES = 2**17  # 16.4 s: a query of 10 s, and the music before it whose reverberation lasts into it
N_ROOMS = (60, 20)  # variations of measured rooms, synthesized rooms
NEAR_STEPS = 1.5  # a position that is at most so far away is near, one within EXACT_STEPS exact
EXACT_STEPS = 0.5
BATCHED_FROM = 64  # segments; for fewer, calling the model is faster than `predict`

Tracks = npt.NDArray[np.int64]
Embed = Callable[[FloatArray], FloatArray]  # from log-mel segments (n, n_frames, n_mels) in dB to (n, dim)


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """How often the best position for a degraded query is correct, among all clean segments.

    Attributes
    ----------
    variant : ``float`` network, ``int8`` network, or int8 network and ``code``
    n_queries, n_catalogue : number of queries, and of segments in the catalogue
    track : share of queries whose track is correct
    exact, near : share whose position is also correct, within half a step or one and a half steps
    """

    variant: str
    length_s: int
    n_queries: int
    n_catalogue: int
    track: float
    exact: float
    near: float


@dataclasses.dataclass(frozen=True)
class _Query:
    mel: FloatArray  # (t, n_mels)
    track: int
    position_steps: float  # from the track's start, in steps of the catalogue


def load_encoder(checkpoint: Path) -> tuple[keras.Model, Recipe, Progress]:
    """Build the float32 encoder of a checkpoint.

    Raises
    ------
    OverheardError
        The checkpoint is missing, damaged, or of an unknown recipe.
    """
    weights, progress = load_checkpoint(checkpoint)
    recipe = find_recipe(progress.recipe)
    import keras

    from overheard_train.encoders import build_encoder

    keras.mixed_precision.set_global_policy("float32")
    encoder = build_encoder(recipe.encoder, recipe.spec)
    restore(encoder, weights, str(checkpoint))
    return encoder, recipe, progress


def evaluate(
    checkpoint: Path,
    names: Sequence[str],
    model: Path | None = None,
    split: str = "valid",
    n_queries: int = 510,
    lengths_s: Sequence[int] = LENGTHS_S,
    seed: int = 5,
) -> list[Retrieval]:
    """Search degraded queries of a split among all clean segments of that split.

    Parameters
    ----------
    names : of the data
    model : manifest of the checkpoint's exported model, to measure the variants "int8" and "code" too
    n_queries : number of queries per length

    Raises
    ------
    OverheardError
        Checkpoint, model or data are missing or damaged.
    """
    from overheard_train.data import open_data

    encoder, recipe, _ = load_encoder(checkpoint)
    data, spec = open_data(names), recipe.spec
    music = data.clips(["music"], split)
    queries = {length: list(make_queries(spec, data, split, length, n_queries, seed)) for length in lengths_s}
    variants: dict[str, tuple[Embed, Embed]] = {"float": (_float_embed(encoder, spec),) * 2}
    if model is not None:
        variants |= _int8_variants(model, spec)
    return [
        result
        for name, (embed_catalogue, embed_query) in variants.items()
        for result in _measure(name, embed_catalogue, embed_query, spec, music, queries)
    ]


def make_queries(
    spec: FingerprintSpec, data: Data, split: str, length_s: int, n: int, seed: int
) -> list[_Query]:
    """Return degraded moments of a split's tracks, equally many of each track.

    They depend on the recipe only through its spec, so that recipes are comparable.
    """
    from overheard_train.pairs.degradation import NO_VARIATION, Degradation
    from overheard_train.pairs.degraded import make

    maker = make(
        spec,
        data,
        split,
        seed,
        degradation=Degradation(max_shift_s=0),
        variation=NO_VARIATION,
        n_rooms=N_ROOMS,
        window_samples=WINDOW_SAMPLES,
    )
    rng = np.random.default_rng([seed, length_s])
    rate, step_frames = spec.frontend.sample_rate, _step_frames(spec)
    queries = []
    for number in range(n):
        track = number % len(maker.music)
        clip = maker.music.clip(track)
        begin = int(rng.integers(max(1, len(clip) - WINDOW_SAMPLES)))
        window = to_float(np.resize(clip[begin : begin + WINDOW_SAMPLES], WINDOW_SAMPLES))
        (_, degraded), start = maker.views_of(rng, window, max(length_s * rate, spec.segment_samples))
        position_steps = (begin + start) % len(clip) / spec.frontend.hop_length / step_frames
        queries.append(_Query(log_mel(degraded, spec.frontend), track, position_steps))
    return queries


def _step_frames(spec: FingerprintSpec) -> int:
    return round(STEP_S * spec.frontend.frames_per_s)


def _float_embed(encoder: keras.Model, spec: FingerprintSpec) -> Embed:
    def embed(segments: FloatArray) -> FloatArray:
        inputs = normalize_segments(segments, spec)[..., None]
        embeddings: FloatArray
        if len(inputs) > BATCHED_FROM:
            embeddings = encoder.predict(inputs, batch_size=256, verbose=0)
        else:
            embeddings = np.asarray(encoder(inputs))
        return embeddings

    return embed


def _int8_variants(path: Path, spec: FingerprintSpec) -> dict[str, tuple[Embed, Embed]]:
    """Return how the variants "int8" and "code" embed the catalogue, and how they embed a query."""
    exported = load_model(path)
    if exported.spec != spec:
        raise ModelError(
            f"{path} and the checkpoint have different segments", "give the checkpoint's own model"
        )
    embedder = Embedder(exported, n_threads=2)

    interval = max(1, spec.hop_frames // _step_frames(spec))

    def quantized(segments: FloatArray) -> FloatArray:
        embeddings = embedder.embed(segments)
        for first in range(min(interval, len(embeddings))):  # one segment per hop, as in a pack
            codes = exported.quantizer.encode_track(embeddings[first::interval])
            embeddings[first::interval] = exported.quantizer.decode_track(*codes)
        return embeddings

    return {"int8": (embedder.embed, embedder.embed), "code": (quantized, embedder.embed)}


def _measure(
    name: str,
    embed_catalogue: Embed,
    embed_query: Embed,
    spec: FingerprintSpec,
    music: Clips,
    queries: dict[int, list[_Query]],
) -> list[Retrieval]:
    catalogue, tracks = embed_tracks(embed_catalogue, spec, music)
    first = np.searchsorted(tracks, np.arange(len(music)))
    results = []
    for length_s, of_length in queries.items():
        hits, errors = [], []
        for query in of_length:
            embeddings = embed_query(slice_segments(query.mel, _step_frames(spec), spec))
            best = best_position(embeddings, catalogue, tracks)
            hits.append(tracks[best] == query.track)
            errors.append(abs(best - first[query.track] - query.position_steps) if hits[-1] else np.inf)
        shares = [float(np.mean(hits))]
        shares += [float(np.mean(np.array(errors) <= limit)) for limit in (EXACT_STEPS, NEAR_STEPS)]
        results.append(Retrieval(name, length_s, len(of_length), len(catalogue), *shares))
    return results


def embed_tracks(
    embed: Embed,
    spec: FingerprintSpec,
    music: Clips,
    step_frames: int | None = None,
    speed: float = 1.0,
    hours: float = math.inf,
) -> tuple[FloatArray, Tracks]:
    """Embed the segments of tracks.

    Parameters
    ----------
    step_frames : between segments; by default half a second
    speed : at which to play the tracks; 1 is the original
    hours : limit; of more music, tracks are drawn with a fixed seed

    Returns
    -------
    Embeddings ``(n, dim)``, and the track of each, ``(n,)``.

    Raises
    ------
    OverheardError
        No track is as long as a segment.
    """
    embeddings, tracks = [], []
    for number in music.within(hours, seed=5):
        samples = to_float(music.clip(number))
        if speed != 1.0:
            samples = np.asarray(soxr.resample(samples, speed, 1.0, "LQ"), dtype=np.float32)
        if len(samples) < spec.segment_samples:
            continue
        parts = segments_of(samples, step_frames or _step_frames(spec), spec)  # in parts, to bound memory
        embeddings.append(embed(np.concatenate(list(parts))))
        tracks.append(np.full(len(embeddings[-1]), number))
    if not embeddings:
        raise OverheardError("no track is as long as a segment", "add longer music with --data music=FOLDER")
    return np.concatenate(embeddings), np.concatenate(tracks)


def best_position(query: FloatArray, catalogue: FloatArray, tracks: Tracks) -> int:
    """Return the segment of the catalogue at which a query fits best.

    Parameters
    ----------
    query : (m, dim) consecutive segments
    catalogue : (n, dim)
    tracks : (n,) track of each segment; a position does not reach across the end of a track
    """
    similarities = catalogue @ query.T  # (n, m)
    total = np.full(len(catalogue), -np.inf, dtype=np.float32)
    m = len(query)
    if len(catalogue) < m:
        return int(np.argmax(similarities[:, 0]))
    sums = np.sum([similarities[k : len(catalogue) - m + 1 + k, k] for k in range(m)], axis=0)
    in_one_track = tracks[: len(sums)] == tracks[m - 1 :]
    total[: len(sums)] = np.where(in_one_track, sums, -np.inf)
    return int(np.argmax(total))


def table(results: Sequence[Retrieval]) -> str:
    """Return the results as a Markdown table with one row per variant and measure."""
    lengths = sorted({result.length_s for result in results})
    lines = ["| | | " + " | ".join(f"{length} s" for length in lengths) + " |"]
    lines.append("|---|---|" + "---:|" * len(lengths))
    for variant in dict.fromkeys(result.variant for result in results):
        of = {result.length_s: result for result in results if result.variant == variant}
        for measure in ("track", "near", "exact"):
            cells = " | ".join(f"{100 * getattr(of[length], measure):.1f}" for length in lengths)
            lines.append(f"| {variant} | {measure} | {cells} |")
    return "\n".join(lines)
