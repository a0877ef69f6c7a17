"""`overheard identify`: identify the music in recordings."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from overheard.commands.arguments import add_pack_option
from overheard.errors import AudioError
from overheard.event_json import alternatives_json, play_json, track_json
from overheard.settings import Settings
from overheard.text import clock, one_line, one_of, short_clock, size, speed_change

if TYPE_CHECKING:
    from overheard.events import Match, Play
    from overheard.recognize.recognizer import Identification, Recognizer

MAX_STDIN_BYTES = 1_000_000_000  # the copy takes disk space, and memory where /tmp is in memory
COPY_BYTES = 1 << 18
FORMATS = ("cue", "m3u8", "tracklist")
RECOGNIZED, NOT_RECOGNIZED, FAILED = 0, 1, 2  # exit codes, from best to worst


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "identify",
        help="identify the music in recordings",
        description="Identify the music in recordings. Each line shows one play: start and end in the "
        "recording, artist and title, position in the track, and confidence. Exit code: 0 music recognized "
        "in every file, 1 no music recognized in at least one file, 2 error.",
        epilog="example: overheard identify recording.wav",
    )
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help='an audio file, or "-" for standard input, up to 1 GB'
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON lines, one object per file")
    form.add_argument(
        "--format",
        choices=FORMATS,
        help="for one long recording: a cue sheet, a playlist of your files, or a list of times and titles",
    )
    add_pack_option(parser)
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Identify each file, in the order of the arguments."""
    from overheard.recognize.open import open_recognizer

    files, packs = split_packs(args.files, args.pack or [], settings)
    if not files:
        args.parser.error("the following arguments are required: FILE")
    if args.format and len(files) > 1:
        args.parser.error("--format is for one FILE")
    recognizer = open_recognizer(settings, packs)
    worst = RECOGNIZED
    for file in files:
        form = "json" if args.json else args.format or ""
        code, lines = identify_file(recognizer, file, form, heading=len(files) > 1)
        for line in lines:
            print(line)
        sys.stdout.flush()  # print each file's result at once, even into a pipe
        worst = max(worst, code)
    return worst


def split_packs(
    files: Sequence[str], packs: Sequence[str], settings: Settings
) -> tuple[list[str], list[str]]:
    """Separate the files from the pack names after ``--pack``.

    With ``--pack NAME... FILE``, argparse takes the files for names of packs. A name is a file if no pack
    has that name, it does not end in ``.pack``, and the file exists.

    Returns
    -------
    The files, and the names of the packs.
    """
    from overheard.catalogue.selection import pack_paths

    known = pack_paths(settings)

    def is_file(name: str) -> bool:
        return name not in known and not name.endswith(".pack") and (name == "-" or Path(name).exists())

    return [*filter(is_file, packs), *files], [name for name in packs if not is_file(name)]


def identify_file(
    recognizer: Recognizer, file: str, form: str = "", heading: bool = False
) -> tuple[int, list[str]]:
    """Identify one file; return its exit code and its lines of output, in one of the formats or as text."""
    from overheard.hear.decode import decode

    try:
        with opened(file) as audio:
            identification = recognizer.identify_blocks(decode(audio))
    except (AudioError, OSError) as error:
        if form == "json":
            return FAILED, [json.dumps({"file": file, "error": str(error)})]
        print(f"overheard: {one_line(str(error))}", file=sys.stderr)
        return FAILED, [f"{one_line(file)}:", "  cannot be read"] if heading else []
    code = RECOGNIZED if identification.verdict == "recognized" else NOT_RECOGNIZED
    if form:
        return code, formatted(form, file, identification)
    lines = to_text(identification, recognizer.gate_settings.open_db)
    return code, [f"{one_line(file)}:", *(f"  {line}" for line in lines)] if heading else lines


@contextlib.contextmanager
def opened(file: str) -> Iterator[Path | BinaryIO]:
    """Yield what to decode: the path of a file, or a copy of standard input, as some formats need seeking.

    The copy has no name, so it disappears with this process, however that ends.

    Raises
    ------
    AudioError
        If standard input is closed, too long, or cannot be copied.
    """
    if file != "-":
        yield Path(file)
        return
    with tempfile.TemporaryFile(prefix="overheard-") as copy:
        try:
            _copy_standard_input(copy)
        except OSError as error:
            reason = f"standard input cannot be copied to {tempfile.gettempdir()}: {error.strerror or error}"
            raise AudioError(reason, "save it to a file, and identify the file") from error
        copy.seek(0)
        yield cast(BinaryIO, copy)


def _copy_standard_input(copy: IO[bytes]) -> None:
    if sys.stdin is None:
        raise AudioError("standard input is closed")
    n_bytes = 0
    while data := sys.stdin.buffer.read(COPY_BYTES):
        n_bytes += len(data)
        if n_bytes > MAX_STDIN_BYTES:
            raise AudioError(
                f"standard input is longer than {size(MAX_STDIN_BYTES)}",
                "save it to a file, and identify the file",
            )
        copy.write(data)
    copy.flush()


def formatted(form: str, file: str, identification: Identification) -> list[str]:
    """Return the lines of a format."""
    from overheard.commands import formats

    plays, duration_s = identification.plays, identification.duration_s
    if form == "cue":
        return list(formats.cue(Path(file).name, plays, duration_s))
    if form == "m3u8":
        known = [entry for entry in formats.entries(plays, 0.0) if entry.path]
        return list(formats.m3u8(known))
    if form == "tracklist":
        return list(formats.tracklist(plays, duration_s))
    return [json.dumps(to_json(file, identification))]


def to_json(file: str, identification: Identification) -> dict[str, Any]:
    """Return the JSON object of one file."""
    best = identification.best
    loudest_db = identification.loudest_db
    return {
        "file": file,
        "duration_s": round(identification.duration_s, 3),
        "verdict": identification.verdict,
        "plays": [play_json(play) for play in identification.plays],
        "best": best_json(best) if best is not None else None,
        "loudest_db": round(loudest_db, 1) if math.isfinite(loudest_db) else None,
    }


def best_json(match: Match) -> dict[str, Any]:
    """Return the JSON object of the best match, accepted or not; the threshold applies to its score."""
    return {
        "score": round(match.score, 6),
        "offset_s": round(match.offset_s, 3),
        "track": track_json(match.track),
        "alternatives": alternatives_json(match),
    }


def to_text(identification: Identification, open_db: float) -> list[str]:
    """Format one line per play, or one line if nothing was recognized; sound counts from `open_db` on."""
    from overheard.hear.gate import quiet_text

    if identification.plays:
        return [play_text(play) for play in identification.plays]
    best = identification.best
    if identification.verdict == "silence":
        return [f"silence  ({quiet_text(identification.loudest_db, open_db)})"]
    if best is None:
        return ["not recognized"]
    closest = f"{one_line(best.track.name)}, score {best.score:.2f}"
    return [f"not recognized  (closest: {closest}, too low to be certain)"]


def play_text(play: Play) -> str:
    """Format a play as ``start-end  Artist - Title  (at m:ss)  confidence``, and its speed."""
    times = f"{clock(play.start_s)}-{clock(play.end_s)}"
    name = one_line(one_of(play.track.name, [other.track.name for other in play.alternatives]))
    change = speed_change(play.speed)
    speed = f"  speed {change}" if change else ""
    return f"{times}  {name}  (at {short_clock(play.offset_s)})  {play.confidence:.0%}{speed}"
