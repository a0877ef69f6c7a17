"""`overheard identify`: names what is in recordings."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overheard.errors import AudioError
from overheard.settings import Settings
from overheard.sinks.jsonl import play_json, track_json
from overheard.text import clock, one_line, short_clock

if TYPE_CHECKING:
    from overheard.events import Match, Play
    from overheard.recognize.pipeline import Identification, Recognizer

FOUND, NOT_FOUND, FAILED = 0, 1, 2


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "identify",
        help="name what is in a recording",
        description="Names what is in recordings: one line for each play, with its start and end, artist and "
        "title, position in the track, and confidence. Exit code: 0 something found in each file, 1 nothing "
        "recognized in one or more, 2 error.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help='an audio file, or "-" for standard input')
    parser.add_argument("--json", action="store_true", help="one JSON object for each file, one to a line")
    parser.add_argument(
        "--pack", nargs="+", action="extend", metavar="NAME", help="search only these packs (default: all)"
    )
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Identify each file in the order given."""
    from overheard.recognize.open import open_recognizer

    files, packs = split_packs(args.files, args.pack or [], settings)
    if not files:
        args.parser.error("the following arguments are required: FILE")
    recognizer = open_recognizer(settings, packs)
    worst = FOUND
    for file in files:
        code, lines = identify_file(recognizer, file, args.json, heading=len(files) > 1)
        for line in lines:
            print(line)
        sys.stdout.flush()  # a file's lines appear as soon as they are known, also in a pipe
        worst = max(worst, code)
    return worst


def split_packs(
    files: Sequence[str], packs: Sequence[str], settings: Settings
) -> tuple[list[str], list[str]]:
    """Tell files from pack names where ``--pack NAME...`` stands before the files and swallowed them."""
    from overheard.catalogue.selection import pack_paths

    known = pack_paths(settings)

    def is_file(name: str) -> bool:
        return name not in known and not name.endswith(".pack") and (name == "-" or Path(name).exists())

    return [*filter(is_file, packs), *files], [name for name in packs if not is_file(name)]


def identify_file(recognizer: Recognizer, file: str, as_json: bool, heading: bool) -> tuple[int, list[str]]:
    """Return one file's exit code and its lines of output."""
    from overheard.hear.decode import load

    try:
        with local_path(file) as path:
            found = recognizer.identify(load(path))
    except (AudioError, OSError) as error:
        if as_json:
            return FAILED, [json.dumps({"file": file, "error": str(error)})]
        print(f"overheard: {one_line(str(error))}", file=sys.stderr)
        return FAILED, [f"{one_line(file)}:", "  not readable"] if heading else []
    code = FOUND if found.verdict == "recognized" else NOT_FOUND
    if as_json:
        return code, [json.dumps(to_json(file, found))]
    lines = to_text(found)
    return code, [f"{one_line(file)}:", *(f"  {line}" for line in lines)] if heading else lines


@contextlib.contextmanager
def local_path(file: str) -> Iterator[Path]:
    """Yield the file's path; standard input is copied first, since some formats need seeking."""
    if file != "-":
        yield Path(file)
        return
    with tempfile.NamedTemporaryFile(prefix="overheard-") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)


def to_json(file: str, found: Identification) -> dict[str, Any]:
    """Return what `--json` prints for one file."""
    return {
        "file": file,
        "duration_s": round(found.duration_s, 3),
        "verdict": found.verdict,
        "plays": [play_json(play) for play in found.plays],
        "best": best_json(found.best) if found.best is not None else None,
    }


def best_json(match: Match) -> dict[str, Any]:
    """Return the best candidate, with the very score that the threshold is applied to."""
    return {
        "score": round(match.score, 6),
        "offset_s": round(match.offset_s, 3),
        "track": track_json(match.track),
    }


def to_text(found: Identification) -> list[str]:
    """Write one line for each play, or one that says that there was none."""
    if found.plays:
        return [play_text(play) for play in found.plays]
    if found.verdict == "silence":
        return ["silence"]
    if found.best is None:
        return ["not recognized"]
    nearest = f"{one_line(found.best.track.name)}, score {found.best.score:.2f}"
    return [f"not recognized  (nearest: {nearest}, too weak to be sure)"]


def play_text(play: Play) -> str:
    """Write ``start-end  Artist - Title  (at m:ss)  confidence``."""
    times = f"{clock(play.start_s)}-{clock(play.end_s)}"
    name = one_line(play.track.name)
    return f"{times}  {name}  (at {short_clock(play.offset_s)})  {play.confidence:.0%}"
