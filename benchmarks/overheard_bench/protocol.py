"""Draw and render the benchmark queries: random positions in `valid` tracks, each in every condition."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from overheard.catalogue.derived import replace
from overheard.hear.resampler import to_float
from overheard.hear.source import Block
from overheard_bench import corpus as corpora
from overheard_bench.corpus import DEFAULT_CORPUS, SAMPLE_RATE, Corpus, Part
from overheard_bench.render import (
    CONDITIONS,
    MARGIN_SAMPLES,
    MAX_SPEED,
    PREROLL_S,
    FloatArray,
    Renderer,
    near_silence,
)

VERSION = 2  # part of the cache key: raise it when the same seed renders different samples
LENGTHS_S = (2, 3, 5, 10)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "overheard-bench"
GRID_SAMPLES = 250  # starts on this grid are avoided: they could coincide with indexed segments


@dataclasses.dataclass(frozen=True)
class Position:
    """A stretch of a track from which a query is cut."""

    id: str
    source: str  # path in the corpus
    in_catalogue: bool
    start: int  # sample number in the source
    length_s: int


Job = tuple[Position, str]  # a position and a condition


@dataclasses.dataclass(frozen=True)
class Query:
    """One query. `waveform` is (n,) float32 mono 8 kHz in [-1, 1), quantized to 16 bits."""

    id: str
    condition: str
    length_s: int
    track: str | None  # path in the corpus; None if the track is not in the catalogue
    offset_s: float  # position of the query's first sample in its source
    source: str  # path in the corpus, whether or not the catalogue contains it
    waveform: FloatArray = dataclasses.field(repr=False, compare=False)


def render_queries(
    part: str = "report",
    seed: int = 1,
    n_per_length: int = 50,
    n_out_per_length: int | None = None,
    lengths_s: Sequence[int] = LENGTHS_S,
    conditions: Sequence[str] = tuple(CONDITIONS),
    corpus: Path | str = DEFAULT_CORPUS,
    cache: bool = True,
    music: Sequence[str] | None = None,
) -> Iterator[Query]:
    """Yield every position in every condition.

    Parameters
    ----------
    part : "calibration" or "report"
    seed : of positions and conditions
    n_per_length : positions in tracks of the catalogue, for each length
    n_out_per_length : positions in left-out tracks, for each length; None means `n_per_length`
    music : tracks to use instead of the part's known tracks
    cache : whether to store the rendered samples as one int16 file in :data:`CACHE` and to reuse it
    """
    sources = Corpus(corpus)
    lists = corpora.load_part(part)
    if music is not None:
        lists = dataclasses.replace(lists, known=tuple(music))
    n_out = n_per_length if n_out_per_length is None else n_out_per_length
    known = draw_positions(sources, lists.known, part, True, seed, n_per_length, lengths_s)
    out = draw_positions(sources, lists.left_out, part, False, seed, n_out, lengths_s)
    jobs = [(position, condition) for position in (*known, *out) for condition in conditions]
    render = functools.partial(_render, Renderer(sources, lists), seed)
    if not cache:
        return (_query(job, render(*job)) for job in jobs)
    return _cached(jobs, render, _key(sources, lists, seed, jobs))


def draw_positions(
    sources: Corpus,
    tracks: Sequence[str],
    part: str,
    in_catalogue: bool,
    seed: int,
    n_per_length: int,
    lengths_s: Sequence[int] = LENGTHS_S,
) -> list[Position]:
    """Draw positions from all tracks equally often.

    A larger `n_per_length` extends the list and keeps its beginning. Near-silent positions are drawn again;
    tracks with nothing but near-silence are skipped.
    """
    positions: list[Position] = []
    for length_s in lengths_s:
        name = f"{part}/{'known' if in_catalogue else 'out'}/{length_s}s"
        order = _endless(tracks, seed, name) if n_per_length else iter(())
        drawn = 0
        while drawn < n_per_length:
            track = next(order)
            query_id = f"{name}/{drawn:04d}"
            start = _draw_start(sources.load(track), length_s, corpora.seeded(seed, query_id, track))
            if start is not None:
                positions.append(Position(query_id, track, in_catalogue, start, length_s))
                drawn += 1
    return positions


def _endless(tracks: Sequence[str], seed: int, name: str) -> Iterator[str]:
    if not tracks:
        raise ValueError(f"{name}: no tracks to draw positions from")
    for turn in range(1000):
        yield from (tracks[i] for i in corpora.seeded(seed, name, "turn", turn).permutation(len(tracks)))
    raise ValueError(f"{name}: all tracks are near silence")


def _draw_start(samples: Block, length_s: int, rng: np.random.Generator) -> int | None:
    """Draw a start with room for the pre-roll and a faster speed; None if all tries are near silence."""
    n = length_s * SAMPLE_RATE
    first = math.ceil((PREROLL_S * SAMPLE_RATE + MARGIN_SAMPLES) * (1 + MAX_SPEED))
    last = len(samples) - math.ceil((n + MARGIN_SAMPLES) * (1 + MAX_SPEED))
    for _ in range(30):
        if last <= first:
            return None
        start = int(rng.integers(first, last))
        if start % GRID_SAMPLES and not near_silence(to_float(samples[start : start + n])):
            return start
    return None


def _render(renderer: Renderer, seed: int, position: Position, condition: str) -> Block:
    """Render one query to int16. Its random choices depend only on the seed, its id and the condition."""
    rng = corpora.seeded(seed, position.id, condition)
    n = position.length_s * SAMPLE_RATE
    return renderer.render(position.source, position.start, n, CONDITIONS[condition], rng)


def _query(job: Job, samples: Block) -> Query:
    position, condition = job
    return Query(
        id=f"{position.id}/{condition}",
        condition=condition,
        length_s=position.length_s,
        track=position.source if position.in_catalogue else None,
        offset_s=position.start / SAMPLE_RATE,
        source=position.source,
        waveform=to_float(samples),
    )


def _key(sources: Corpus, lists: Part, seed: int, jobs: Sequence[Job]) -> str:
    """Return a digest of everything that the rendered samples depend on."""
    positions = [[dataclasses.astuple(position), condition] for position, condition in jobs]
    text = json.dumps([VERSION, sources.digest, dataclasses.astuple(lists), seed, positions])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cached(jobs: Sequence[Job], render: Callable[[Position, str], Block], key: str) -> Iterator[Query]:
    """Yield queries from the cache file; write it first if it does not exist."""
    path = CACHE / f"queries-{key}.i16"
    ends = np.cumsum([position.length_s * SAMPLE_RATE for position, _ in jobs], dtype=np.int64)
    total = int(ends[-1]) if jobs else 0
    if total and not path.is_file():
        replace(path, lambda file: file.writelines(render(*job).tobytes() for job in jobs))
    samples = np.memmap(path, np.int16, "r", shape=(total,)) if total else np.zeros(0, np.int16)
    for job, end in zip(jobs, ends, strict=True):
        yield _query(job, samples[end - job[0].length_s * SAMPLE_RATE : end])
