"""Formats of other programs for what was recognized: cue sheets, playlists (M3U8), track lists and CSV."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from overheard.text import clock, one_line, speed_change, spreadsheet_cell

if TYPE_CHECKING:
    from overheard.events import Play

UNKNOWN_S = 15.0  # a stretch of this length without a play becomes an entry of its own
_CUE_FRAMES = 75  # a second
_CUE_TYPES = {
    "mp3": "MP3",
    "aif": "AIFF",
    "aiff": "AIFF",
}  # programs call all others WAVE


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of a list: where it starts, and what it is."""

    start_s: float
    title: str
    artist: str = ""
    path: str = ""
    duration_s: float = 0.0  # of the play
    speed: float = 1.0

    @property
    def name(self) -> str:
        """``Artist - Title``, on one line."""
        return one_line(f"{self.artist} - {self.title}" if self.artist else self.title)


def entries(plays: Sequence[Play], duration_s: float) -> list[Entry]:
    """Return the plays of a recording in order, and "Unknown" for long stretches between them."""
    found: list[Entry] = []
    end_s = 0.0
    for play in sorted(plays, key=lambda play: play.start_s):
        if play.start_s - end_s >= UNKNOWN_S:
            found.append(Entry(end_s, "Unknown"))
        track, length_s = play.track, play.end_s - play.start_s
        found.append(Entry(play.start_s, track.title, track.artist, track.path, length_s, play.speed))
        end_s = max(end_s, play.end_s)
    if duration_s - end_s >= UNKNOWN_S:
        found.append(Entry(end_s, "Unknown"))
    return found


def cue(file: str, plays: Sequence[Play], duration_s: float) -> Iterator[str]:
    """Yield the lines of a cue sheet, which divides the recording into its tracks.

    The first track starts at 0, as the format demands. Source: the manual of CDRWIN, chapter "Cue Sheet
    Commands"; minutes and track numbers above 99 are read by all programs of today.
    """
    suffix = file.rpartition(".")[2].lower()
    yield 'REM GENERATOR "overheard"'
    yield f"FILE {_cue_text(file)} {_CUE_TYPES.get(suffix, 'WAVE')}"
    for number, entry in enumerate(entries(plays, duration_s), start=1):
        frames = 0 if number == 1 else round(entry.start_s * _CUE_FRAMES)
        minutes, rest = divmod(frames, 60 * _CUE_FRAMES)
        yield f"  TRACK {number:02d} AUDIO"
        yield f"    TITLE {_cue_text(entry.title)}"
        if entry.artist:
            yield f"    PERFORMER {_cue_text(entry.artist)}"
        if change := speed_change(entry.speed):
            yield f"    REM SPEED {change}"
        yield f"    INDEX 01 {minutes:02d}:{rest // _CUE_FRAMES:02d}:{rest % _CUE_FRAMES:02d}"


def m3u8(tracks: Iterable[Entry]) -> Iterator[str]:
    """Yield the lines of a playlist of the users' files, in the order of the plays.

    A track without a file, as of a pack by others, is a comment.
    """
    yield "#EXTM3U"
    for entry in tracks:
        if not entry.path or one_line(entry.path) != entry.path:  # a line break would be another entry
            yield f"# no file: {entry.name}"
            continue
        yield f"#EXTINF:{round(entry.duration_s) or -1},{entry.name}"
        yield f"./{entry.path}" if entry.path.startswith("#") else entry.path


def tracklist(plays: Sequence[Play], duration_s: float) -> Iterator[str]:
    """Yield ``h:mm:ss Artist - Title``, as descriptions of mixes and videos show it."""
    for entry in entries(plays, duration_s):
        yield f"{clock(entry.start_s)} {entry.name}"


def _cue_text(text: str) -> str:
    """Quote a text; the format has no way to write a quotation mark."""
    return '"' + one_line(text).replace('"', "'") + '"'


def print_csv(kind: type[Any], rows: Iterable[Iterable[object]]) -> None:
    """Print a table with a header, for spreadsheets; the columns are the fields of a dataclass."""
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(field.name for field in dataclasses.fields(kind))
    table.writerows([_cell(value) for value in row] for row in rows)


def _cell(value: object) -> object:
    """Return what a spreadsheet shows but does not evaluate: text on one line, a number, or nothing."""
    if isinstance(value, bool):
        return int(value)
    return spreadsheet_cell(value) if isinstance(value, str) else value
