"""Measure how many of the benchmark's queries overheard identifies correctly.

    python benchmarks/accuracy.py [--exhaustive] [--quick]

Writes accuracy.json, accuracy.md, accuracy.png and reliability.png into benchmarks/results. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from overheard.catalogue.pack import Pack, open_pack
from overheard.errors import OverheardError
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import Model, load_model
from overheard.hear.resampler import to_float
from overheard_bench import catalogue, output, plots, reliability, report, score
from overheard_bench import corpus as corpora
from overheard_bench.corpus import PARTS, Corpus
from overheard_bench.environment import environment, model_facts
from overheard_bench.exhaustive import ExhaustiveCatalogue
from overheard_bench.options import catalogue_parser, results_folder
from overheard_bench.protocol import CACHE, LENGTHS_S, Query, render_queries
from overheard_bench.render import CONDITIONS
from overheard_bench.shares import on_every_core_in_order


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        corpus, model = Corpus(args.corpus), load_model(args.model)
        paths = catalogue.catalogue_paths(corpus, quick_tracks(args))
        if args.pack:
            pack = open_pack(args.pack, model.digest)
            catalogue.check_holds(pack, corpus, paths)
        else:
            pack = catalogue.build_pack(corpus, model, paths, CACHE, args.jobs, args.compact)
        answers = run(args, model, pack)
        result = score.tables(answers)
        result["reliability"] = reliability.reliability(answers)
        if args.dump:
            lines = (json.dumps(dataclasses.asdict(answer)) + "\n" for answer in answers)
            output.write_text(args.dump, "".join(lines))
        if args.exhaustive:
            paths = [*map(catalogue.corpus_path_finder(corpus), pack.tracks)]
            floats = on_every_core_in_order(functools.partial(embed_share, args.corpus, model.path, paths))
            result["exhaustive"] = score.exhaustive_tables(run(args, model, pack, floats))
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"accuracy.py: {error}", file=sys.stderr)
        return 2
    result["catalogue"] = catalogue.describe(pack)
    result["model"] = model_facts(model)
    result["environment"] = environment()
    result["protocol"] = {"part": args.part, "seed": args.seed, "n_per_length": args.n, "quick": args.quick}
    result["targets"] = [
        *score.targets(result, args.compact),
        *reliability.targets(result["reliability"]),
    ]
    name = "accuracy-compact" if args.compact else "accuracy"
    table = f"{report.accuracy(result)}\n{report.targets(result)}"
    output.publish(args.out, name, result, f"{table}\n{reliability.table(result)}", plots.accuracy)
    reliability.plot(args.out / f"{name.replace('accuracy', 'reliability')}.png", result)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = catalogue_parser(__doc__)
    parser.add_argument("--compact", action="store_true", help="use compact codes")
    parser.add_argument(
        "--part", choices=PARTS, default="report", help="use calibration to select thresholds"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (default: 1)")
    parser.add_argument("--n", type=int, default=50, help="positions per length, each in every condition")
    parser.add_argument(
        "--n-out", type=int, help="positions per length outside the catalogue (default: as --n)"
    )
    parser.add_argument("--jobs", type=int, help="indexing processes (default: one per core)")
    parser.add_argument(
        "--exhaustive", action="store_true", help="also search all float embeddings exhaustively"
    )
    parser.add_argument(
        "--quick", action="store_true", help="two positions and a small catalogue, to try the script"
    )
    parser.add_argument("--dump", type=Path, metavar="FILE", help="write each answer as a line of JSON")
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.n = 2
    args.out = results_folder(args.out, args.quick)
    return args


def quick_tracks(args: argparse.Namespace) -> set[str] | None:
    """Return the tracks that a quick run indexes; None means all."""
    return set(corpora.load_part(args.part).known) if args.quick else None


def run(
    args: argparse.Namespace, model: Model, pack: Pack, floats: Sequence[FloatArray] | None = None
) -> list[score.Answer]:
    """Ask every query and judge the answers, on every core.

    Parameters
    ----------
    floats : float embeddings of each of the pack's tracks, to search instead of its codes
    """
    for _ in render(args):
        pass  # renders into the cache before several processes read it
    return on_every_core_in_order(functools.partial(ask_share, args, model.path, pack.path, floats))


def render(args: argparse.Namespace) -> Iterator[Query]:
    """Return the queries."""
    return render_queries(args.part, args.seed, args.n, args.n_out, LENGTHS_S, corpus=args.corpus)


def ask_share(
    args: argparse.Namespace,
    model_path: Path,
    pack_path: Path,
    floats: Sequence[FloatArray] | None,
    jobs: int,
    job: int,
) -> list[score.Answer]:
    """Ask every `jobs`-th query, beginning with number `job`."""
    index_of = None if floats is None else functools.partial(exhaustive_catalogue, floats)
    opened = catalogue.open_catalogue(Corpus(args.corpus), model_path, pack_path, index_of)
    n_out = args.n if args.n_out is None else args.n_out
    total = len(range(job, len(CONDITIONS) * len(LENGTHS_S) * (args.n + n_out), jobs))
    share = itertools.islice(render(args), job, None, jobs)
    return [
        opened.judge(query, opened.recognizer.identify(query.waveform))
        for query in (progress(share, total) if job == 0 else share)  # all shares take about as long
    ]


def exhaustive_catalogue(floats: Sequence[FloatArray], model: Model, pack: Pack) -> ExhaustiveCatalogue:
    """Return the index that compares a query with each float embedding of a pack's tracks."""
    tracks = [track.to_track(pack.name) for track in pack.tracks]
    return ExhaustiveCatalogue(tracks, floats, model.references)


def embed_share(root: Path, model_path: Path, paths: Sequence[str], jobs: int, job: int) -> list[FloatArray]:
    """Embed every `jobs`-th track, beginning with number `job`, to (n, dim) float32 at the packs' hop."""
    corpus, embedder = Corpus(root), Embedder(load_model(model_path))
    return [fingerprint(embedder, to_float(corpus.load(path))) for path in paths[job::jobs]]


def progress(queries: Iterable[Query], total: int) -> Iterator[Query]:
    """Yield the queries and show the progress on a terminal."""
    began = time.perf_counter()
    for i, query in enumerate(queries, 1):
        yield query
        if sys.stderr.isatty() and (i % 50 == 0 or i == total):
            left = (time.perf_counter() - began) / i * (total - i)
            print(f"\r{i} of {total} queries, {left:.0f} s left ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
