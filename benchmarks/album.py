"""Measure `overheard index` on a large collection: adding an album, and scanning files that are unchanged.

    python benchmarks/album.py --pack LARGE.pack [--files 10000]

Prints JSON. `scale.py` makes large packs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from overheard.errors import OverheardError
from overheard.fingerprint.model import load_model
from overheard_bench import album


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pack", type=Path, help="pack that the album is added to")
    parser.add_argument(
        "--files", type=int, default=10_000, help="number of unchanged files to scan; 0: none"
    )
    args = parser.parse_args(argv)
    result = {}
    try:
        with tempfile.TemporaryDirectory(prefix="overheard-album-") as folder:
            if args.pack is not None:
                result["album"] = album.add_album(args.pack, Path(folder, "album"))
            if args.files:
                result["scan"] = album.scan_unchanged(Path(folder, "scan"), load_model(), args.files)
    except (OverheardError, RuntimeError, OSError) as error:
        print(f"album.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
