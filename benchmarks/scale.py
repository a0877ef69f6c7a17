"""Measure how size, cost and accuracy depend on the number of tracks in the catalogue.

    python benchmarks/scale.py --make 10000   writes a pack of that many drawn tracks and prints its path

See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from overheard.catalogue.pack import open_pack
from overheard.errors import OverheardError
from overheard.fingerprint.model import load_model
from overheard_bench import catalogue, scale_packs
from overheard_bench.corpus import DEFAULT_CORPUS, Corpus
from overheard_bench.protocol import CACHE


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--pack", type=Path, help="the benchmark's catalogue, instead of indexing")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--make", type=int, metavar="N", help="only write a pack with N drawn tracks")
    args = parser.parse_args(argv)
    try:
        corpus, model = Corpus(args.corpus), load_model()
        paths = catalogue.catalogue_paths(corpus)
        base = (
            open_pack(args.pack, model.digest)
            if args.pack
            else catalogue.build_pack(corpus, model, paths, CACHE, None)
        )
        catalogue.check_holds(base, corpus, paths)
        print(scale_packs.scale_pack(base, corpus, model, args.make, args.seed, CACHE))
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"scale.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
