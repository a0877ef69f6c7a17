"""The queries that went most wrong, as a page that plays them beside what they are and what was thought.

    python benchmarks/worst.py [--n 40] [--out FOLDER]

Asks the queries of accuracy.py and keeps, of those that were not named rightly or are unknown and were named,
the ones that lie furthest on the wrong side of the threshold. Writes index.html and WAV files; they hold the
corpus's music and are for listening on this machine only.
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

import numpy as np
from scipy.io import wavfile

from overheard_bench import catalogue, output, score
from overheard_bench.corpus import DEFAULT_CORPUS, PARTS, SAMPLE_RATE, Corpus
from overheard_bench.shares import on_every_core
from protocol import CACHE, LENGTHS_S, Query, render_queries

EXTRA_S = 3.0  # of a track that is played before and after the query's place in it


@dataclasses.dataclass(order=True)
class Wrong:
    """One query that went wrong."""

    deficit: float  # how far on the wrong side of the threshold
    number: int
    query: Query = dataclasses.field(compare=False)
    answer: score.Answer = dataclasses.field(compare=False)
    offset_s: float | None = dataclasses.field(compare=False)  # of what was thought


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, sort, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--model", type=Path, help="a model file other than the shipped one")
    parser.add_argument("--compact", action="store_true", help="of a pack of compact codes")
    parser.add_argument("--part", choices=PARTS, default="calibration")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--positions", type=int, default=50, help="per length, each in every condition")
    parser.add_argument("--n", type=int, default=40, help="queries on the page")
    parser.add_argument("--out", type=Path, default=CACHE / "worst", help="folder of the page")
    args = parser.parse_args(argv)
    from overheard.errors import OverheardError

    try:
        worst = find_worst(args)
        page = write_page(args.out, worst, Corpus(args.corpus))
    except (OverheardError, OSError, RuntimeError) as error:
        print(f"worst.py: {error}", file=sys.stderr)
        return 2
    print(page)
    return 0


def find_worst(args: argparse.Namespace) -> list[Wrong]:
    """Ask all queries, on every core; return the worst answers, worst first."""
    from overheard.fingerprint.model import load_model

    corpus, model = Corpus(args.corpus), load_model(args.model)
    paths = catalogue.catalogue_paths(corpus)
    pack = catalogue.build_pack(corpus, model, paths, CACHE, None, args.compact)
    for _ in render(args):
        pass  # once, before several processes read them
    return heapq.nlargest(args.n, on_every_core(functools.partial(ask_share, args, model.path, pack.path)))


def render(args: argparse.Namespace) -> Iterator[Query]:
    """Return the queries."""
    return render_queries(args.part, args.seed, args.positions, None, LENGTHS_S, corpus=args.corpus)


def ask_share(
    args: argparse.Namespace, model_path: Path, pack_path: Path, jobs: int, job: int
) -> list[Wrong]:
    """Ask every `jobs`-th query, the first of them number `job`; return the worst answers."""
    asked = catalogue.open_asked(Corpus(args.corpus), model_path, pack_path)
    worst: list[Wrong] = []
    for number, query in itertools.islice(enumerate(render(args)), job, None, jobs):
        found = asked.recognizer.identify(query.waveform)
        answer = score.judge(query, found, asked.find, asked.twins, asked.aliases)
        deficit = wrongness(answer)
        if deficit is not None:
            offset_s = None if found.best is None else found.best.offset_s
            heapq.heappush(worst, Wrong(deficit, number, query, answer, offset_s))
            if len(worst) > args.n:
                heapq.heappop(worst)
    return worst


def wrongness(answer: score.Answer) -> float | None:
    """Return how far an answer lies on the wrong side of its threshold, None where it is as it should be."""
    if answer.outcome == "right" or (not answer.in_catalogue and answer.outcome == "none"):
        return None
    return abs(score.excess(answer))


def write_page(folder: Path, worst: Sequence[Wrong], corpus: Corpus) -> Path:
    """Write ``index.html`` and its sounds into a folder; return the page."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for rank, wrong in enumerate(worst, 1):
        query, answer = wrong.query, wrong.answer
        cells = [
            _player(folder, f"{rank:03}-query", query.waveform),
            _excerpt(folder, f"{rank:03}-is", corpus, query.source, query.offset_s, query.length_s),
            _excerpt(folder, f"{rank:03}-thought", corpus, answer.best, wrong.offset_s, query.length_s),
        ]
        outcome = answer.outcome if answer.in_catalogue else "unknown, named"
        said = f"{query.condition}, {query.length_s} s: {outcome}, {wrong.deficit:.1f} off"
        rows.append(f"<tr><td>{rank}<td>{html.escape(said)}<td>" + "<td>".join(cells))
    text = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Worst queries</title>"
        "<style>body{font:15px sans-serif;margin:2em}td,th{padding:.4em .8em;text-align:left;"
        "vertical-align:top;border-bottom:1px solid #ccc}audio{width:16em;display:block}</style>"
        "<h1>Worst queries</h1><table><tr><th>#<th>condition<th>heard<th>is<th>thought\n"
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
        return "nothing"
    begin = max(0, int((offset_s - EXTRA_S) * SAMPLE_RATE))
    end = int((offset_s + length_s + EXTRA_S) * SAMPLE_RATE)
    place = f"{html.escape(track)} at {offset_s:.1f} s"
    return place + _player(folder, name, np.asarray(corpus.load(track)[begin:end]))


def _player(folder: Path, name: str, waveform: np.ndarray) -> str:
    if waveform.dtype != np.int16:
        waveform = np.rint(np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    wavfile.write(folder / f"{name}.wav", SAMPLE_RATE, waveform)
    return f'<audio controls preload=none src="{name}.wav"></audio>'


if __name__ == "__main__":
    raise SystemExit(main())
