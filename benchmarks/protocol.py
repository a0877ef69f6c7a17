"""The queries by which accuracy is measured: seeded, of `valid`, every position in every condition.

`protocol.py [--part report] [--seed 1] [--n 50]` renders into the cache and counts;
`protocol.py --write-split` renews calibration_split.json.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from overheard_bench import corpus as corpora
from overheard_bench.corpus import DEFAULT_CORPUS, PARTS, SAMPLE_RATE, SPLIT_FILE, Corpus, Part
from overheard_bench.render import CONDITIONS, MARGIN, MAX_SPEED, PREROLL_S, Renderer, near_silence, to_float

VERSION = 1  # raise when the same seed would render otherwise: the cache's key holds it
LENGTHS_S = (2, 3, 5, 10)
SPLIT_SEED = 20261123
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "overheard-bench"
GRID = 250  # samples: positions on any index's grid of frames are avoided


@dataclasses.dataclass(frozen=True)
class Position:
    """Where a query is cut from."""

    id: str
    source: str  # path in the corpus
    in_catalogue: bool
    start: int  # sample
    length_s: int


Job = tuple[Position, str]  # and the condition


@dataclasses.dataclass(frozen=True)
class Query:
    """One query. `waveform` is (n,) float32 mono 8 kHz in [-1, 1], rounded to 16 bits."""

    id: str
    condition: str
    length_s: int
    track: str | None  # path in the corpus, or None: not in the catalogue
    offset_s: float  # of the query's first sample in its source
    source: str  # path in the corpus, also when it is not in the catalogue
    waveform: np.ndarray = dataclasses.field(repr=False, compare=False)


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

    For each length `n_per_length` positions of tracks in the catalogue, then `n_out_per_length` (as many,
    if None) of tracks that are left out of it; `music` gives other tracks of the catalogue than the part's.
    Rendered once, they lie as one int16 file in
    ~/.cache/overheard-bench; with `cache=False` nothing is written.
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
    """Draw positions: each track comes up as often as any other; more positions begin with the same ones.

    Near-silent places are drawn again, and a track without any other is passed over.
    """
    positions: list[Position] = []
    for length_s in lengths_s:
        name = f"{part}/{'known' if in_catalogue else 'out'}/{length_s}s"
        order = _endless(tracks, seed, name) if n_per_length else iter(())
        found = 0
        while found < n_per_length:
            track = next(order)
            query_id = f"{name}/{found:04d}"
            start = _draw_start(sources.load(track), length_s, corpora.seeded(seed, query_id, track))
            if start is not None:
                positions.append(Position(query_id, track, in_catalogue, start, length_s))
                found += 1
    return positions


def _endless(tracks: Sequence[str], seed: int, name: str) -> Iterator[str]:
    if not tracks:
        raise ValueError(f"no tracks to draw {name} from")
    for turn in range(1000):
        yield from (tracks[i] for i in corpora.seeded(seed, name, "turn", turn).permutation(len(tracks)))
    raise ValueError(f"nothing but silence to draw {name} from")


def _draw_start(samples: np.ndarray, length_s: int, rng: np.random.Generator) -> int | None:
    """Draw a start with space for pre-roll and a faster speed; None if only silence came up."""
    n = length_s * SAMPLE_RATE
    first = math.ceil((PREROLL_S * SAMPLE_RATE + MARGIN) * (1 + MAX_SPEED))
    last = len(samples) - math.ceil((n + MARGIN) * (1 + MAX_SPEED))
    for _ in range(30):
        if last <= first:
            return None
        start = int(rng.integers(first, last))
        if start % GRID and not near_silence(to_float(samples[start : start + n])):
            return start
    return None


def _render(renderer: Renderer, seed: int, position: Position, condition: str) -> np.ndarray:
    """Render one query to int16; what is drawn for it depends on the seed and its name alone."""
    rng = corpora.seeded(seed, position.id, condition)
    n = position.length_s * SAMPLE_RATE
    return renderer.render(position.source, position.start, n, CONDITIONS[condition], rng)


def _query(job: Job, samples: np.ndarray) -> Query:
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
    """Name what the rendered samples depend on."""
    positions = [[dataclasses.astuple(position), condition] for position, condition in jobs]
    text = json.dumps([VERSION, sources.digest, dataclasses.astuple(lists), seed, positions])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _cached(jobs: Sequence[Job], render: Callable[[Position, str], np.ndarray], key: str) -> Iterator[Query]:
    """Yield queries from the cache's file, which is written first where it is missing."""
    path = CACHE / f"queries-{key}.i16"
    ends = np.cumsum([position.length_s * SAMPLE_RATE for position, _ in jobs], dtype=np.int64)
    total = int(ends[-1]) if jobs else 0
    if total and not path.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        with open(partial, "wb") as file:
            for job in jobs:
                file.write(render(*job).tobytes())
        partial.replace(path)
    samples = np.memmap(path, np.int16, "r", shape=(total,)) if total else np.zeros(0, np.int16)
    for job, end in zip(jobs, ends, strict=True):
        yield _query(job, samples[end - job[0].length_s * SAMPLE_RATE : end])


def write_split(sources: Corpus, path: Path = SPLIT_FILE) -> None:
    """Renew the committed split. Thresholds that were chosen on the old one are then void."""
    path.write_text(json.dumps(corpora.make_split(sources, SPLIT_SEED), indent=1) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Render into the cache and print what it holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--part", choices=PARTS, default="report")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, default=50, help="positions per length")
    parser.add_argument("--write-split", action="store_true", help="renew calibration_split.json and stop")
    args = parser.parse_args(argv)
    if args.write_split:
        write_split(Corpus(args.corpus))
        return 0
    began = time.perf_counter()
    count: collections.Counter[str] = collections.Counter()
    for query in render_queries(args.part, args.seed, args.n, corpus=args.corpus):
        count[f"{query.condition:10} {'in the catalogue' if query.track else 'out of it'}"] += 1
    for name, n in sorted(count.items()):
        print(f"{n:6} {name}")
    print(f"{time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
