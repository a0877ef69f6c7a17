"""Retrieval without the matcher, in the form of Chang et al.'s tables: what training is steered by.

Source: Chang et al. (2010.11910), section 3.4: sequences of segments, whose similarities are summed along the
diagonal.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from overheard.errors import ModelError, OverheardError
from overheard.fingerprint.embedder import Embedder, segments_of
from overheard.fingerprint.frontend import FloatArray, log_mel, normalize_segments, slice_segments
from overheard.fingerprint.model import load_model
from overheard.fingerprint.spec import FingerprintSpec
from overheard_train.checkpoints import Progress, load_checkpoint, restore
from overheard_train.recipes import Recipe, find_recipe

if TYPE_CHECKING:
    import keras

    from overheard_train.data import Clips, Data

LENGTHS_S = (1, 2, 3, 5, 6, 10)
STEP_S = 0.5  # between the segments of a query, and of the catalogue
WINDOW_SAMPLES = 2**17  # a query of 10 s, with what rings into it
N_ROOMS = (60, 20)

Embed = Callable[[FloatArray], FloatArray]  # log-mel segments (n, n_frames, n_mels) in dB to (n, dim)


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """How often a degraded query finds its track and place among all clean segments.

    Attributes
    ----------
    track : the best place is on the right track
    exact, near : it is also the right one, to half a step, and to a step more
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
    place: float  # in steps of the catalogue, from the track's start


def load_encoder(checkpoint: Path) -> tuple[keras.Model, Recipe, Progress]:
    """Rebuild the float32 encoder of a checkpoint; raise OverheardError where it is none."""
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
    """Ask degraded queries of a split against every clean segment of that split, by exhaustive search.

    Parameters
    ----------
    model : manifest of the checkpoint's exported model, for the variants "int8" and "code" beside "float"

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
        for name, (store, hear) in variants.items()
        for result in _measure(name, store, hear, spec, music, queries)
    ]


def make_queries(
    spec: FingerprintSpec, data: Data, split: str, length_s: int, n: int, seed: int
) -> list[_Query]:
    """Return degraded moments of a split's tracks, each as often as any other, alike for every recipe."""
    from overheard_train.pairs.degraded import NO_VARIATION, Degradation, make

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
    found = []
    for number in range(n):
        track = number % len(maker.music)
        clip = maker.music.clip(track)
        begin = int(rng.integers(max(1, len(clip) - WINDOW_SAMPLES)))
        window = np.resize(clip[begin : begin + WINDOW_SAMPLES], WINDOW_SAMPLES).astype(np.float32) / 32768
        (_, heard), start = maker.hear(rng, window, max(length_s * rate, spec.segment_samples))
        place = (begin + start) % len(clip) / spec.frontend.hop_length / step_frames
        found.append(_Query(log_mel(heard, spec.frontend), track, place))
    return found


def _step_frames(spec: FingerprintSpec) -> int:
    return round(STEP_S * spec.frontend.frames_per_s)


def _float_embed(encoder: keras.Model, spec: FingerprintSpec) -> Embed:
    def embed(segments: FloatArray) -> FloatArray:
        inputs = normalize_segments(segments, spec)[..., None]
        found: FloatArray = (
            encoder.predict(inputs, batch_size=256, verbose=0)
            if len(inputs) > 64
            else np.asarray(encoder(inputs))
        )
        return found

    return embed


def _int8_variants(path: Path, spec: FingerprintSpec) -> dict[str, tuple[Embed, Embed]]:
    """Return how the int8 network stores and hears, and how it stores through its codes."""
    exported = load_model(path)
    if exported.spec != spec:
        raise ModelError(f"{path} takes other segments than the checkpoint: name its own model")
    embedder = Embedder(exported, n_threads=2)

    every = max(1, spec.hop_frames // _step_frames(spec))

    def coded(segments: FloatArray) -> FloatArray:
        embeddings = embedder.embed(segments)
        for first in range(min(every, len(embeddings))):  # each a track of one segment a hop, as a pack's
            coded_track = exported.quantizer.encode_track(embeddings[first::every])
            embeddings[first::every] = exported.quantizer.decode_track(*coded_track)
        return embeddings

    return {"int8": (embedder.embed, embedder.embed), "code": (coded, embedder.embed)}


def _measure(
    name: str,
    store: Embed,
    hear: Embed,
    spec: FingerprintSpec,
    music: Clips,
    queries: dict[int, list[_Query]],
) -> list[Retrieval]:
    catalogue, tracks = embed_tracks(store, spec, music)
    first = np.searchsorted(tracks, np.arange(len(music)))
    results = []
    for length_s, asked in queries.items():
        hits, away = [], []
        for query in asked:
            best = find(hear(slice_segments(query.mel, _step_frames(spec), spec)), catalogue, tracks)
            hits.append(tracks[best] == query.track)
            away.append(abs(best - first[query.track] - query.place) if hits[-1] else np.inf)
        shares = (
            float(np.mean(hits)),
            float(np.mean(np.array(away) <= 0.5)),
            float(np.mean(np.array(away) <= 1.5)),
        )
        results.append(Retrieval(name, length_s, len(asked), len(catalogue), *shares))
    return results


def embed_tracks(
    embed: Embed,
    spec: FingerprintSpec,
    music: Clips,
    step_frames: int | None = None,
    speed: float = 1.0,
    hours: float = math.inf,
) -> tuple[FloatArray, np.ndarray]:
    """Return the embeddings ``(n, dim)`` of tracks, half a second apart or as told, and each one's track.

    Parameters
    ----------
    speed : play them faster or slower, as other music
    hours : where there is more music, some tracks are drawn, always the same

    Raises
    ------
    OverheardError
        No track is as long as a segment.
    """
    embeddings, tracks = [], []
    for number in music.within(hours, seed=5):
        samples = music.clip(number).astype(np.float32) / np.float32(32768)
        if speed != 1.0:
            samples = soxr.resample(samples, speed, 1.0, "LQ")
        if len(samples) < spec.segment_samples:
            continue
        parts = segments_of(samples, step_frames or _step_frames(spec), spec)  # bounds memory
        embeddings.append(embed(np.concatenate(list(parts))))
        tracks.append(np.full(len(embeddings[-1]), number))
    if not embeddings:
        raise OverheardError("no track is as long as a segment: name more with --data music=FOLDER")
    return np.concatenate(embeddings), np.concatenate(tracks)


def find(query: FloatArray, catalogue: FloatArray, tracks: np.ndarray) -> int:
    """Return where in the catalogue the query's segments ``(m, dim)`` fit best, one after the other."""
    similarities = catalogue @ query.T  # (n, m)
    total = np.full(len(catalogue), -np.inf, dtype=np.float32)
    m = len(query)
    if len(catalogue) < m:
        return int(np.argmax(similarities[:, 0]))
    sums = np.sum([similarities[k : len(catalogue) - m + 1 + k, k] for k in range(m)], axis=0)
    whole = tracks[: len(sums)] == tracks[m - 1 :]  # not across the end of a track
    total[: len(sums)] = np.where(whole, sums, -np.inf)
    return int(np.argmax(total))


def table(results: Sequence[Retrieval]) -> str:
    """Return the results as a Markdown table, one row a variant and measure."""
    lengths = sorted({result.length_s for result in results})
    lines = ["| | | " + " | ".join(f"{length} s" for length in lengths) + " |"]
    lines.append("|---|---|" + "---:|" * len(lengths))
    for variant in dict.fromkeys(result.variant for result in results):
        of = {result.length_s: result for result in results if result.variant == variant}
        for measure in ("track", "near", "exact"):
            cells = " | ".join(f"{100 * getattr(of[length], measure):.1f}" for length in lengths)
            lines.append(f"| {variant} | {measure} | {cells} |")
    return "\n".join(lines)
