"""Options that several benchmark scripts have."""

from __future__ import annotations

import argparse
from pathlib import Path

from overheard_bench import RESULTS
from overheard_bench.corpus import DEFAULT_CORPUS
from overheard_bench.protocol import CACHE


def catalogue_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for a script that searches the benchmark's catalogue; `doc` is that of the script."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    parser.add_argument(
        "--corpus",
        type=Path,
        default=DEFAULT_CORPUS,
        help="folder of the corpus (default: $OVERHEARD_CORPUS, or corpus)",
    )
    parser.add_argument("--model", type=Path, help="manifest of a model (default: the shipped model)")
    parser.add_argument("--pack", type=Path, help="an existing pack of the same tracks, instead of indexing")
    return parser


def results_folder(chosen: Path | None, quick: bool) -> Path:
    """Return the folder for the results: the chosen one, or the default; a quick run is only a trial."""
    return chosen or (CACHE / "quick" if quick else RESULTS)
