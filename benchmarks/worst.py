"""Make a page that plays the queries with the worst answers, their true tracks and the best candidates.

    python benchmarks/worst.py [--n 40] [--out FOLDER]

The worst answers are the misses, errors and false positives whose scores are furthest on the wrong side of
the threshold, among the queries of accuracy.py. Writes index.html and WAV files. These contain music of the
corpus: do not publish them.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import heapq
import html
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scipy.io import wavfile

from overheard.errors import OverheardError
from overheard.fingerprint.model import load_model
from overheard.hear.resampler import to_int16
from overheard.hear.source import Block
from overheard_bench import catalogue, output, score
from overheard_bench.corpus import DEFAULT_CORPUS, PARTS, SAMPLE_RATE, Corpus
from overheard_bench.protocol import CACHE, LENGTHS_S, Query, render_queries
from overheard_bench.shares import on_every_core

OUTCOMES = {"none": "not identified", "wrong": "incorrectly identified", "false positive": "false positive"}
EXTRA_S = 3.0  # of the track before and after the query


@dataclasses.dataclass(order=True)
class Wrong:
    """A query with an incorrect answer."""

    deficit: float  # distance of the score from the threshold
    number: int
    query: Query = dataclasses.field(compare=False)
    answer: score.Answer = dataclasses.field(compare=False)
    offset_s: float | None = dataclasses.field(compare=False)  # of the best candidate


def main(argv: Sequence[str] | None = None) -> int:
    """Ask the queries and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--corpus",
        type=Path,
        default=DEFAULT_CORPUS,
        help="folder of the corpus (default: $OVERHEARD_CORPUS, or corpus)",
    )
    parser.add_argument("--model", type=Path, help="manifest of a model (default: the shipped model)")
    parser.add_argument("--compact", action="store_true", help="use compact codes")
    parser.add_argument("--part", choices=PARTS, default="calibration")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (default: 1)")
    parser.add_argument(
        "--positions", type=int, default=50, help="positions per length, each in every condition"
    )
    parser.add_argument("--n", type=int, default=40, help="queries on the page")
    parser.add_argument("--out", type=Path, default=CACHE / "worst", help="folder for the page")
    args = parser.parse_args(argv)
    try:
        worst = find_worst(args)
        page = write_page(args.out, worst, Corpus(args.corpus))
    except (OverheardError, OSError, RuntimeError) as error:
        print(f"worst.py: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0


def find_worst(args: argparse.Namespace) -> list[Wrong]:
    """Ask all queries, on every core. Return the worst answers, beginning with the worst."""
    corpus, model = Corpus(args.corpus), load_model(args.model)
    paths = catalogue.catalogue_paths(corpus)
    pack = catalogue.build_pack(corpus, model, paths, CACHE, None, args.compact)
    for _ in render(args):
        pass  # renders into the cache before several processes read it
    return heapq.nlargest(args.n, on_every_core(functools.partial(ask_share, args, model.path, pack.path)))


def render(args: argparse.Namespace) -> Iterator[Query]:
    """Return the queries."""
    return render_queries(args.part, args.seed, args.positions, None, LENGTHS_S, corpus=args.corpus)


def ask_share(
    args: argparse.Namespace, model_path: Path, pack_path: Path, jobs: int, job: int
) -> list[Wrong]:
    """Ask every `jobs`-th query, beginning with number `job`. Return the worst answers."""
    opened = catalogue.open_catalogue(Corpus(args.corpus), model_path, pack_path)
    worst: list[Wrong] = []
    for number, query in itertools.islice(enumerate(render(args)), job, None, jobs):
        identification = opened.recognizer.identify(query.waveform)
        answer = opened.judge(query, identification)
        deficit = wrongness(answer)
        if deficit is not None:
            offset_s = None if identification.best is None else identification.best.offset_s
            heapq.heappush(worst, Wrong(deficit, number, query, answer, offset_s))
            if len(worst) > args.n:
                heapq.heappop(worst)
    return worst


def wrongness(answer: score.Answer) -> float | None:
    """Return how far a score is on the wrong side of its threshold, or None for a correct answer."""
    if answer.outcome == "right" or (not answer.in_catalogue and answer.outcome == "none"):
        return None
    return abs(score.excess(answer))


def write_page(folder: Path, worst: Sequence[Wrong], corpus: Corpus) -> Path:
    """Write ``index.html`` and its WAV files into a folder. Return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for rank, wrong in enumerate(worst, 1):
        query, answer = wrong.query, wrong.answer
        cells = [
            _player(folder, f"{rank:03}-query", to_int16(query.waveform)),
            _excerpt(folder, f"{rank:03}-true", corpus, query.source, query.offset_s, query.length_s),
            _excerpt(folder, f"{rank:03}-candidate", corpus, answer.best, wrong.offset_s, query.length_s),
        ]
        outcome = OUTCOMES[answer.outcome]
        description = (
            f"{query.condition}, {query.length_s} s: {outcome}, {wrong.deficit:.1f} from the threshold"
        )
        rows.append(f"<tr><td>{rank}<td>{html.escape(description)}<td>" + "<td>".join(cells))
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Worst queries</title>"
        "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.4em .8em;text-align:left;"
        "vertical-align:top;border-bottom:1px solid #ccc}audio{width:16em;display:block}</style>"
        "<h1>Worst queries</h1><table><tr><th>#<th>condition<th>query<th>true track<th>best candidate\n"
        + "\n".join(rows)
        + "\n</table></html>\n"
    )
    page = folder / "index.html"
    output.write_text(page, text)
    return page


def _excerpt(
    folder: Path, name: str, corpus: Corpus, track: str | None, offset_s: float | None, length_s: int
) -> str:
    if track is None or offset_s is None:
        return "none"
    begin = max(0, int((offset_s - EXTRA_S) * SAMPLE_RATE))
    end = int((offset_s + length_s + EXTRA_S) * SAMPLE_RATE)
    position = f"{html.escape(track)} at {offset_s:.1f} s"
    return position + _player(folder, name, corpus.load(track)[begin:end])


def _player(folder: Path, name: str, waveform: Block) -> str:
    wavfile.write(folder / f"{name}.wav", SAMPLE_RATE, waveform)
    return f'<audio controls preload=none src="{name}.wav"></audio>'


if __name__ == "__main__":
    raise SystemExit(main())
