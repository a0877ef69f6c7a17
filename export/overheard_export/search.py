"""Identify recordings in many packs, on this machine or with the packs spread over a Dask cluster."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from overheard.catalogue.selection import open_for_model
from overheard.commands.identify import FAILED, NOT_RECOGNIZED, RECOGNIZED, opened, to_json
from overheard.errors import AudioError
from overheard.events import Play
from overheard.fingerprint.model import load_model
from overheard.hear.decode import decode
from overheard.index.scan import absolute
from overheard.recognize.recognizer import Identification, Recognizer
from overheard.text import clock, one_line, one_of, short_clock
from overheard_export.cluster import add_executor_option, connect
from overheard_export.shards import sharded

PACK_SUFFIX = ".pack"
HEADER = ("START", "END", "AT", "CONFIDENCE", "TRACK")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``overheard-export search``; the exit code is that of ``overheard identify``."""
    built = parser()
    args = built.parse_args(argv)
    packs = [name for name in args.packs if name.endswith(PACK_SUFFIX)]
    files = [name for name in args.packs if not name.endswith(PACK_SUFFIX)] + args.files
    if not packs or not files:
        built.error("give at least one .pack file after --packs, and one recording")
    width = max(len("FILE"), *(len(one_line(file)) for file in files))
    worst = RECOGNIZED
    with _recognizer(args, list(dict.fromkeys(map(absolute, packs)))) as recognizer:
        if not args.json:
            print(_row("FILE", HEADER, width))
        for file in files:
            code, lines = _search(recognizer, file, args.json, width)
            for line in lines:
                print(line, flush=True)
            worst = max(worst, code)
    return worst


@contextlib.contextmanager
def _recognizer(args: argparse.Namespace, packs: Sequence[Path]) -> Iterator[Recognizer]:
    model_path = args.model and absolute(args.model)
    model = load_model(model_path)
    if args.executor is None:
        yield Recognizer(model, [open_for_model(path, model) for path in packs])
        return
    with connect(args.executor) as cluster, sharded(cluster, packs, model, model_path) as (index, kinds):
        recognizer = Recognizer(model, (), index=index)
        recognizer.matcher.scoring = kinds.scoring(model)  # as with packs on this machine
        yield recognizer


def _search(recognizer: Recognizer, file: str, as_json: bool, width: int) -> tuple[int, list[str]]:
    """Identify one file; return its exit code and its lines of output."""
    try:
        with opened(file) as audio:
            found = recognizer.identify_blocks(decode(audio))
    except (AudioError, OSError) as error:
        if as_json:
            return FAILED, [json.dumps({"file": file, "error": str(error)})]
        print(f"overheard-export: {one_line(str(error))}", file=sys.stderr)
        return FAILED, [_row(file, ("", "", "", "", "cannot be read"), width)]
    code = RECOGNIZED if found.verdict == "recognized" else NOT_RECOGNIZED
    if as_json:
        return code, [json.dumps(to_json(file, found))]
    return code, [_row(file, cells, width) for cells in _cells(found)]


def _cells(found: Identification) -> list[tuple[str, ...]]:
    """Return the columns of each play, or of the one line of a recording without plays."""
    nothing = "silence" if found.verdict == "silence" else "not recognized"
    return [_play_cells(play) for play in found.plays] or [("", "", "", "", nothing)]


def _play_cells(play: Play) -> tuple[str, ...]:
    first, *others = (
        f"{track.name} ({track.pack})"
        for track in (play.track, *(other.track for other in play.alternatives))
    )
    name = one_of(first, others)
    at = short_clock(play.offset_s)
    return clock(play.start_s), clock(play.end_s), at, f"{play.confidence:.0%}", name


def _row(file: str, cells: Sequence[str], width: int) -> str:
    start, end, at, confidence, name = cells
    return f"{one_line(file):<{width}}  {start:>7}  {end:>7}  {at:>7}  {confidence:>10}  {one_line(name)}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``overheard-export search``."""
    built = argparse.ArgumentParser(
        prog="overheard-export search",
        description="Identify the music in recordings, in packs that are together too large for one machine. "
        "Each worker of a cluster searches some of the packs; the result is that of one machine with all of "
        "them. Exit code: 0 music recognized in every file, 1 no music recognized in at least one file, "
        "2 error.",
        epilog="example: overheard-export search --executor dask://10.0.0.1:8786 --packs a.pack b.pack x.ogg",
    )
    built.add_argument("files", nargs="*", metavar="FILE", help="recordings")
    built.add_argument(
        "--packs",
        nargs="+",
        action="extend",
        required=True,
        metavar="FILE.pack",
        help="the packs to search; what does not end in .pack is a recording",
    )
    built.add_argument("--json", action="store_true", help="print JSON lines, one object per file")
    built.add_argument(
        "--model", type=Path, metavar="FILE.json", help="manifest of a model (default: the shipped one)"
    )
    add_executor_option(built, "search", "the packs under the same paths")
    return built
