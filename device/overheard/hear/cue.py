"""Parse cue sheets, which divide one audio file into the tracks of an album.

Format: CDRWIN User's Guide, "Cue Sheet Commands". Times are minutes:seconds:frames of 1/75 s. Programs write
cue sheets in any encoding, so it is found as for tags.
"""

from __future__ import annotations

import codecs
import dataclasses
import re
from collections.abc import Iterator

from overheard.hear.tag_text import decode_text, encoding_of
from overheard.text import clean

MAX_CUE_BYTES = 1 << 18  # that of an album has 1 to 10 kB
MAX_TRACKS = 999  # a CD has at most 99
_FRAMES_PER_S = 75
_TIME = re.compile(rb"(\d{1,5}):(\d{1,2}):(\d{1,2})")


class CueError(ValueError):
    """Why a cue sheet cannot be used."""


@dataclasses.dataclass(frozen=True)
class CueTrack:
    """One track: its number, tags, and start in the audio file in seconds."""

    number: int
    title: str
    artist: str
    start_s: float


@dataclasses.dataclass(frozen=True)
class CueSheet:
    """The tracks of one audio file. `file` is the name that the sheet gives to the file."""

    file: str
    album: str
    artist: str
    tracks: tuple[CueTrack, ...]

    @property
    def boundaries(self) -> str:
        """Number and start of each track; sheets with the same ones divide a file in the same way."""
        return " ".join(f"{track.number}@{track.start_s:.3f}" for track in self.tracks)


@dataclasses.dataclass
class _Raw:
    """A track, file or sheet while it is parsed; texts are bytes of an unknown encoding."""

    name: bytes = b""
    title: bytes = b""
    performer: bytes = b""
    number: int = 0
    starts: dict[int, float] = dataclasses.field(default_factory=dict)  # seconds, by number of the index
    tracks: list[_Raw] = dataclasses.field(default_factory=list)


def parse_cue(content: bytes) -> list[CueSheet]:
    """Return one sheet for each audio file that a cue sheet mentions.

    Raises
    ------
    CueError
        If it is too large, is not a cue sheet, or its times are invalid or not in order.
    """
    if len(content) > MAX_CUE_BYTES:
        raise CueError(f"larger than {MAX_CUE_BYTES} bytes")
    album, files = _parse(_as_utf8(content))
    if not any(file.tracks for file in files):
        raise CueError("it contains no tracks")
    raw = [album, *files, *(track for file in files for track in file.tracks)]
    encoding = encoding_of(text for item in raw for text in (item.title, item.performer, item.name) if text)

    def text(value: bytes) -> str:
        return clean(decode_text(value, encoding))

    return [
        CueSheet(
            text(file.name),
            text(album.title),
            text(album.performer),
            tuple(
                CueTrack(track.number, text(track.title), text(track.performer), start)
                for track, start in zip(file.tracks, _starts(file.tracks), strict=True)
            ),
        )
        for file in files
    ]


def _as_utf8(content: bytes) -> bytes:
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            try:
                return content.decode(encoding).encode("utf-8", "surrogatepass")
            except UnicodeDecodeError as error:
                raise CueError("it is not valid UTF-16") from error
    return content.removeprefix(codecs.BOM_UTF8)


def _commands(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the command of each line and its arguments; comments and lines of one word are skipped."""
    for line in content.splitlines():
        words = line.split(None, 1)
        if len(words) == 2 and words[0].upper() != b"REM":
            yield words[0].upper(), words[1].rstrip()


def _parse(content: bytes) -> tuple[_Raw, list[_Raw]]:
    album = current = _Raw()
    files: list[_Raw] = []
    for command, value in _commands(content):
        if command == b"FILE":
            current = _Raw(name=_text(value, has_type=True))
            files.append(current)
        elif command == b"TRACK":
            if not files:
                raise CueError("a track before the first FILE")
            current = _Raw(number=_track_number(value))
            if value.upper().endswith(b"AUDIO"):  # others are data
                files[-1].tracks.append(current)
            if len(files[-1].tracks) > MAX_TRACKS:
                raise CueError(f"more than {MAX_TRACKS} tracks")
        elif command == b"INDEX":
            number, _, time = value.partition(b" ")
            current.starts[_integer(number)] = _seconds(time.strip())
        elif command in (b"TITLE", b"PERFORMER") and (current.number or not files):
            setattr(current, command.decode().lower(), _text(value))
    return album, files


def _starts(tracks: list[_Raw]) -> list[float]:
    """Return where each track starts: at index 1; the gap before it, index 0, belongs to the track before."""
    starts: list[float] = []
    for track in tracks:
        start = track.starts.get(1, track.starts.get(0))
        if start is None:
            raise CueError(f"track {track.number} has no INDEX")
        if starts and start <= starts[-1]:
            raise CueError(f"track {track.number} does not start after the one before it")
        starts.append(start)
    return starts


def _text(value: bytes, has_type: bool = False) -> bytes:
    """Return the text of a command, without its quotation marks and, of FILE, without the type after it."""
    if value.startswith(b'"'):
        text, mark, _ = value[1:].rpartition(b'"')
        return text if mark else value[1:]
    return value.rpartition(b" ")[0] or value if has_type else value


def _track_number(value: bytes) -> int:
    return _integer(value.partition(b" ")[0])


def _integer(text: bytes) -> int:
    if not text.isdigit() or len(text) > 3:
        raise CueError("a number is invalid")
    return int(text)


def _seconds(text: bytes) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise CueError("a time is not minutes:seconds:frames")
    minutes, seconds, frames = map(int, match.groups())
    return minutes * 60 + seconds + frames / _FRAMES_PER_S
