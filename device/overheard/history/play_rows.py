"""Read plays from the history; a damaged page costs the plays on that page."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from overheard.event_json import local_time
from overheard.history.file import HistoryError, columns_of, explained, open_for_reading, version
from overheard.text import plural

log = logging.getLogger(__name__)

_MOST_ROWS_OF_A_PAGE = 64  # a row takes more than 60 bytes of a page of 4096
_RANGE = "NOT INDEXED WHERE id BETWEEN ? AND ? ORDER BY id"
_ALL = "WHERE ended_at >= ? ORDER BY started_at, id"


@dataclasses.dataclass(frozen=True)
class PlayRow:
    """One row of the history; times are ISO 8601 in UTC."""

    id: int
    track_id: str
    title: str
    artist: str
    album: str
    pack: str
    path: str
    started_at: str
    ended_at: str
    offset_s: float
    score: float
    confidence: float
    source: str
    alternatives: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # as in JSON events
    speed: float = 1.0  # as a multiple of the track's own
    favourite: bool = False
    wrong: bool = False  # the user says that this did not play
    unknown_id: int | None = None  # of unknown music, also after the user named it
    label: str | None = None  # the name that the user gave to unknown music

    @property
    def hidden(self) -> bool:
        """Whether lists leave it out: it is wrong, or music that nobody has named."""
        return self.wrong or (self.unknown_id is not None and self.label is None)

    def is_in(self, room: str) -> bool:
        """Return whether it was heard in a room."""
        return is_in_room(self.source, room)


def is_in_room(source: object, room: str) -> bool:
    """Return whether a source belongs to a room; after a change of the source, the room comes first.

    SQLite may call it with a value of another type, which is in no room.
    """
    return isinstance(source, str) and (source == room or source.startswith(f"{room}, "))


_NAMES = tuple(field.name for field in dataclasses.fields(PlayRow))  # of the columns too


def read_plays(
    path: Path, since: str | None = None, limit: int = 0, hidden: bool = False
) -> tuple[list[PlayRow], int]:
    """Read the latest plays. What is damaged is left out, and reported in the log.

    Parameters
    ----------
    path : Path
        The history; if it does not exist, there are no plays.
    since : str, optional
        Only plays that ended after this time, ISO 8601 in UTC.
    limit : int
        Maximum number of plays; 0 for all.
    hidden : bool
        Also plays that are wrong, and unknown music without a name.

    Returns
    -------
    plays : list of PlayRow
        The latest plays, oldest first.
    count : int
        Number of plays without the limit.

    Raises
    ------
    HistoryError
        If nothing of the file can be read, it is not a history, or was written by a newer version.
    """
    with explained(path):
        if not path.exists():
            return [], 0
    with open_for_reading(path) as db:
        if not version(db):
            return [], 0
        raw = _ended_since(db, path, since or "")
    rows = [row for row in map(checked, raw) if row is not None]
    if len(rows) < len(raw):
        log.warning("%s: %s with invalid values left out", path, plural(len(raw) - len(rows), "play"))
    rows = [row for row in rows if hidden or not row.hidden]
    return rows[-limit:] if limit else rows, len(rows)


def _ended_since(db: sqlite3.Connection, path: Path, since: str) -> list[tuple[object, ...]]:
    """Return the rows in the order of their start, without those on damaged pages."""
    try:
        return _select(db, _ALL, since)
    except sqlite3.DatabaseError as error:
        _require_damage(error)
        log.warning("%s: a part is damaged, and the plays in it are left out", path)
    rows = [row for row in _readable(db) if str(row[8]) >= since]
    return sorted(rows, key=lambda row: (str(row[7]), str(row[0])))


def recover(damaged: Path, db: sqlite3.Connection) -> int:
    """Copy the readable plays of a damaged history into a new one; return how many."""
    try:
        with open_for_reading(damaged) as old:
            rows = [row for row in map(checked, _readable(old)) if row is not None] if version(old) else []
            copied = [(*_raw(row), _evidence(old, row.id)) for row in rows]
    except HistoryError:
        return 0  # nothing is readable
    marks = ", ".join("?" * (len(_NAMES) + 1))
    names = ", ".join((*_NAMES, "evidence"))
    with db:
        db.executemany(f"INSERT OR IGNORE INTO plays ({names}) VALUES ({marks})", copied)  # noqa: S608
    return len(rows)


def _evidence(db: sqlite3.Connection, number: int) -> str | None:
    """Return the evidence of a play. It may be on a page of its own, whose damage does not cost the play."""
    try:
        columns = columns_of(db, ("evidence",))
        query = f"SELECT {columns} FROM plays NOT INDEXED WHERE id = ?"  # noqa: S608
        found = db.execute(query, (number,)).fetchone()
    except sqlite3.DatabaseError as error:
        _require_damage(error)
        return None
    return found[0] if found and isinstance(found[0], str) else None


def _select(db: sqlite3.Connection, where: str, *values: str | int) -> list[tuple[object, ...]]:
    return db.execute(f"SELECT {columns_of(db, _NAMES)} FROM plays {where}", values).fetchall()  # noqa: S608


def _require_damage(error: sqlite3.DatabaseError) -> None:
    if "malformed" not in str(error):
        raise error


def _readable(db: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
    """Yield the rows that can be read: halve each range of ids that cannot, down to one."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    highest = pages * _MOST_ROWS_OF_A_PAGE
    for query in ("SELECT max(id) FROM plays NOT INDEXED", "SELECT max(id) FROM plays"):
        try:
            highest = max(highest, db.execute(query).fetchone()[0] or 0)
        except sqlite3.DatabaseError as error:
            _require_damage(error)
    ranges = [(1, highest)]
    while ranges:
        low, high = ranges.pop()
        try:
            rows = _select(db, _RANGE, low, high)
        except sqlite3.DatabaseError as error:
            _require_damage(error)
            middle = (low + high) // 2
            if low < high:
                ranges += [(middle + 1, high), (low, middle)]
            continue
        yield from rows


def checked(raw: tuple[object, ...]) -> PlayRow | None:
    """Return the row if each value has its type, and the times are times."""
    values, (text, speed, favourite, wrong, unknown_id, label) = raw[:13], raw[13:]
    speed = 1.0 if speed is None else speed
    texts = (*raw[1:9], raw[12], label or "")
    numbers = (*raw[9:12], speed, favourite or 0, wrong or 0, unknown_id or 0)
    if not all(isinstance(text, str) for text in texts):
        return None
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        return None
    try:
        for when in raw[7:9]:
            local_time(str(when))
        alternatives = [] if text is None else json.loads(str(text))
        names = [alternative_name(row) for row in alternatives] if isinstance(alternatives, list) else [None]
    except (ValueError, OverflowError, RecursionError):
        return None
    marks = (speed, bool(favourite), bool(wrong), unknown_id, label)
    return None if None in names else PlayRow(*values, alternatives, *marks)  # type: ignore[arg-type, call-arg]


def _raw(row: PlayRow) -> tuple[object, ...]:
    """Return the values of a row in the file; the reverse of `checked`."""
    alternatives = json.dumps(row.alternatives) if row.alternatives else None
    return tuple(alternatives if name == "alternatives" else getattr(row, name) for name in _NAMES)


def alternative_name(row: object) -> str | None:
    """Return the name of an alternative of a play; None if it is not one."""
    track = row.get("track") if isinstance(row, dict) else None
    title, artist = (track.get("title"), track.get("artist")) if isinstance(track, dict) else (None, None)
    if not isinstance(title, str) or not isinstance(artist, str):
        return None
    return f"{artist} - {title}" if artist else title
