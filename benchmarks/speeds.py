"""Measure how many queries that play too fast or too slow overheard identifies correctly.

    python benchmarks/speeds.py [--pack FILE] [--n 30] [--quick]

Each query is asked at 17 speeds and 2 tempos. Writes speeds.json, speeds.png and speeds.md into
benchmarks/results. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from overheard_bench import catalogue, output, plots, report, speeds  # first: BLAS gets one thread

# isort: split
from overheard.catalogue.pack import open_pack
from overheard.errors import OverheardError
from overheard.fingerprint.model import load_model
from overheard_bench import corpus as corpora
from overheard_bench.corpus import PARTS, Corpus
from overheard_bench.environment import environment, model_facts
from overheard_bench.options import catalogue_parser, results_folder
from overheard_bench.protocol import CACHE
from overheard_bench.shares import on_every_core


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    args = parse(argv)
    try:
        corpus, model = Corpus(args.corpus), load_model(args.model)
        only = set(corpora.load_part(args.part).known) if args.quick else None
        paths = catalogue.catalogue_paths(corpus, only)
        if args.pack:
            pack = open_pack(args.pack, model.digest)
            catalogue.check_holds(pack, corpus, paths)
        else:
            pack = catalogue.build_pack(corpus, model, paths, CACHE, args.jobs)
        answers = on_every_core(functools.partial(ask_share, args, model.path, pack.path))
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"speeds.py: {error}", file=sys.stderr)
        return 2
    result = speeds.tables(answers) | {
        "catalogue": catalogue.describe(pack),
        "model": model_facts(model),
        "environment": environment(),
        "protocol": {
            **{"part": args.part, "seed": args.seed, "n": args.n, "n_out": args.n_out},
            **{"condition": speeds.CONDITION, "length_s": speeds.LENGTH_S, "quick": args.quick},
        },
    }
    result["targets"] = speeds.targets(result)
    output.publish(
        args.out, "speeds", result, f"{report.speeds(result)}\n{report.targets(result)}", plots.speeds
    )
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = catalogue_parser(__doc__)
    parser.add_argument(
        "--part", choices=PARTS, default="report", help="use calibration to select thresholds"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (default: 1)")
    parser.add_argument("--n", type=int, default=30, help="positions, each at every speed")
    parser.add_argument("--n-out", type=int, default=10, help="positions outside the catalogue")
    parser.add_argument("--jobs", type=int, help="indexing processes (default: one per core)")
    parser.add_argument(
        "--quick", action="store_true", help="two positions and a small catalogue, to try the script"
    )
    parser.add_argument("--out", type=Path, help="folder for the results")
    args = parser.parse_args(argv)
    if args.quick:
        args.n = args.n_out = 2
    args.out = results_folder(args.out, args.quick)
    return args


def ask_share(
    args: argparse.Namespace, model_path: Path, pack_path: Path, jobs: int, job: int
) -> list[speeds.SpeedAnswer]:
    """Ask every `jobs`-th position at all speeds, beginning with number `job`."""
    corpus = Corpus(args.corpus)
    opened = catalogue.open_catalogue(corpus, model_path, pack_path)
    positions = speeds.draw(corpus, args.part, args.seed, args.n, args.n_out)
    return list(speeds.ask_share(opened, corpus, args.part, args.seed, positions[job::jobs]))


if __name__ == "__main__":
    raise SystemExit(main())
