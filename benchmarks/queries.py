"""Render the benchmark queries into the cache, or write the split of the `valid` lists.

python benchmarks/queries.py [--part report] [--seed 1] [--n 50]
python benchmarks/queries.py --write-split
"""

from __future__ import annotations

import argparse
import collections
import time
from collections.abc import Sequence
from pathlib import Path

from overheard_bench import corpus as corpora
from overheard_bench import output
from overheard_bench.corpus import DEFAULT_CORPUS, PARTS, SPLIT_FILE, SPLIT_SEED, Corpus
from overheard_bench.protocol import render_queries


def main(argv: Sequence[str] | None = None) -> int:
    """Render and count the queries, or write the split."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--corpus",
        type=Path,
        default=DEFAULT_CORPUS,
        help="folder of the corpus (default: $OVERHEARD_CORPUS, or corpus)",
    )
    parser.add_argument("--part", choices=PARTS, default="report")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices (default: 1)")
    parser.add_argument("--n", type=int, default=50, help="positions per length")
    parser.add_argument(
        "--write-split",
        action="store_true",
        help=f"write {SPLIT_FILE.name} again and stop; this invalidates all thresholds",
    )
    args = parser.parse_args(argv)
    if args.write_split:
        output.write_json(SPLIT_FILE, corpora.make_split(Corpus(args.corpus), SPLIT_SEED))
        return 0
    began = time.perf_counter()
    count: collections.Counter[str] = collections.Counter()
    for query in render_queries(args.part, args.seed, args.n, corpus=args.corpus):
        count[f"{query.condition:10} {'in the catalogue' if query.track else 'not in the catalogue'}"] += 1
    for name, n in sorted(count.items()):
        print(f"{n:6} {name}")
    print(f"{time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
