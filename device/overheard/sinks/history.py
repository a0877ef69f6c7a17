"""Store plays in a SQLite file, which `overheard history` and other programs read."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from overheard.errors import OverheardError
from overheard.events import Event, Play, PlayEnded, PlayStarted, PlayUpdated
from overheard.sinks.jsonl import iso_utc

SCHEMA_VERSION = 1
_UPDATE_INTERVAL_S = 20.0  # how often the end of an open play is written; SD cards wear out
_BUSY_TIMEOUT_S = 5.0  # for the lock of another process; a write takes milliseconds
_SCHEMA = """
CREATE TABLE plays (
    id INTEGER PRIMARY KEY,
    track_id TEXT NOT NULL,
    title TEXT NOT NULL,
    artist TEXT NOT NULL,
    album TEXT NOT NULL,
    pack TEXT NOT NULL,
    path TEXT NOT NULL,
    started_at TEXT NOT NULL,  -- ISO 8601, UTC
    ended_at TEXT NOT NULL,    -- of an open play: time of the last update
    offset_s REAL NOT NULL,    -- position in the track at started_at
    score REAL NOT NULL,
    confidence REAL NOT NULL,
    source TEXT NOT NULL
);
CREATE INDEX plays_started_at ON plays (started_at);
"""
_INSERT = """
INSERT INTO plays (
    track_id, title, artist, album, pack, path, started_at, ended_at, offset_s, score, confidence, source
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# If the wall clock was set back, a play must still not end before it started.
_UPDATE = "UPDATE plays SET ended_at = max(started_at, ?), score = ?, confidence = ? WHERE id = ?"
_COUNT = "SELECT count(*) FROM plays WHERE ended_at >= ?"
_LATEST = """
SELECT
    id, track_id, title, artist, album, pack, path, started_at, ended_at, offset_s, score, confidence, source
FROM plays WHERE ended_at >= ? ORDER BY started_at DESC, id DESC LIMIT ?
"""


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


class HistorySink:
    """Write a row when a play starts, and update its end while the play continues and when it ends.

    After a crash or a power cut, the end of an open play is its last update, at most 20 s old.

    Parameters
    ----------
    path : Path
        The SQLite file; created if it does not exist.
    source : str
        Name of the audio source, stored with each play.

    Raises
    ------
    OverheardError
        If the file cannot be written, is not a history, or was written by a newer version.
    """

    name = "history"

    def __init__(self, path: Path, source: str) -> None:
        self._source = source
        self._row: int | None = None
        self._open_key: tuple[str, float] | None = None
        self._written_s = 0.0
        with _user_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Opened here, so that errors appear before listening starts. Later, only the sink's thread
            # uses it.
            self._db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False)
            _check_version(self._db, path)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            _create(self._db)

    def handle(self, event: Event, started: float) -> None:
        """Insert or update the row of a play; ignore other events."""
        if not isinstance(event, PlayStarted | PlayUpdated | PlayEnded):
            return
        play = event.play
        key = (play.track.id, play.start_s)
        if self._row is None or key != self._open_key:
            with self._db:
                self._row = self._insert(play, started)
            self._open_key = key
        elif isinstance(event, PlayEnded) or time.monotonic() - self._written_s >= _UPDATE_INTERVAL_S:
            with self._db:
                self._update(play, started)
        else:
            return
        self._written_s = time.monotonic()
        if isinstance(event, PlayEnded):
            self._row = self._open_key = None

    def close(self) -> None:
        """Close the file. Every row is already written."""
        self._db.close()

    def _insert(self, play: Play, started: float) -> int | None:
        track = play.track
        values: tuple[str | float, ...] = (
            *(track.id, track.title, track.artist, track.album, track.pack, track.path),
            *(iso_utc(started + play.start_s), iso_utc(started + play.end_s)),
            *(play.offset_s, play.score, play.confidence, self._source),
        )
        return self._db.execute(_INSERT, tuple(map(_sqlite_value, values))).lastrowid

    def _update(self, play: Play, started: float) -> None:
        end = iso_utc(started + play.end_s)
        self._db.execute(_UPDATE, (end, float(play.score), float(play.confidence), self._row))


def read_plays(path: Path, since: str | None = None, limit: int = 0) -> tuple[list[PlayRow], int]:
    """Read the latest plays.

    Parameters
    ----------
    path : Path
        The history; if it does not exist, there are no plays.
    since : str, optional
        Only plays that ended after this time, ISO 8601 in UTC.
    limit : int
        Maximum number of plays; 0 for all.

    Returns
    -------
    plays : list of PlayRow
        The latest plays, oldest first.
    count : int
        Number of plays without the limit.

    Raises
    ------
    OverheardError
        If the file cannot be read, is not a history, or was written by a newer version.
    """
    if not path.exists():
        return [], 0
    with _user_errors(path), contextlib.closing(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S)) as db:
        _check_version(db, path)
        if not _version(db):
            return [], 0
        (count,) = db.execute(_COUNT, (since or "",)).fetchone()
        rows = db.execute(_LATEST, (since or "", limit or -1)).fetchall()
    return [PlayRow(*row) for row in reversed(rows)], count


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version = _version(db)
    if version > SCHEMA_VERSION:
        raise OverheardError(
            f"{path}: written by a newer version of overheard (schema {version})", "update overheard"
        )
    if version == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise OverheardError(f"{path}: a database, but not a history of overheard", "move it away")


def _create(db: sqlite3.Connection) -> None:
    """Create the tables; two processes that start at the same time create them once."""
    db.execute("BEGIN IMMEDIATE")
    try:
        if not _version(db):
            for statement in _SCHEMA.strip().split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        db.rollback()
        raise
    db.commit()


def _sqlite_value(value: str | float) -> str | float:
    """Convert NumPy numbers to float, and escape text that is not valid UTF-8: SQLite stores neither."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return float(value)


@contextlib.contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """Raise OverheardError for errors of the file, which the user can fix."""
    try:
        yield
    except OSError as error:
        remedy = "check free disk space and permissions"
        raise OverheardError(f"{path}: cannot be written: {error.strerror}", remedy) from error
    except sqlite3.DatabaseError as error:
        raise OverheardError(f"{path}: cannot be used: {error}", "if it is damaged, move it away") from error
