"""Options that several benchmark scripts have."""

from __future__ import annotations

import argparse
from pathlib import Path

from overheard_bench import RESULTS
from overheard_bench.corpus import DEFAULT_CORPUS
from overheard_bench.protocol import CACHE


def corpus_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for a script that reads the corpus and a model; `doc` is that of the script."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", 1)[0])
    parser.add_argument(
        "--corpus",
        type=Path,
        default=DEFAULT_CORPUS,
        help="folder of the corpus (default: $OVERHEARD_CORPUS, or corpus)",
    )
    parser.add_argument("--model", type=Path, help="manifest of a model (default: the shipped model)")
    return parser


def catalogue_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for a script that searches the benchmark's catalogue."""
    parser = corpus_parser(doc)
    parser.add_argument("--pack", type=Path, help="an existing pack of the same tracks, instead of indexing")
    return parser


def scenes_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser for a script that plays scenes of known and of unknown music."""
    parser = corpus_parser(doc)
    parser.add_argument("--pack", type=Path, help="pack to search (default: the starter pack)")
    return parser


def results_folder(chosen: Path | None, quick: bool) -> Path:
    """Return the folder for the results: the chosen one, or the default; a quick run is only a trial."""
    return chosen or (CACHE / "quick" if quick else RESULTS)
