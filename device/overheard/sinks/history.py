"""The history of plays: one SQLite file, written by `listen`, read by `history` and by anyone."""

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
_UPDATE_S = 20.0  # an open play's end is written so often: more would wear out an SD card
_BUSY_S = 5.0
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
    ended_at TEXT NOT NULL,    -- of an open play the last update
    offset_s REAL NOT NULL,    -- position in the track at started_at
    score REAL NOT NULL,
    confidence REAL NOT NULL,
    source TEXT NOT NULL
);
CREATE INDEX plays_started_at ON plays (started_at);
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
    """Write each play when it starts, its end now and then while it goes on, and at last its true end.

    A crash or a power cut thus leaves a row whose end is its last update.

    Raises
    ------
    OverheardError
        If the file cannot be written, or is no history that this version knows.
    """

    name = "history"

    def __init__(self, path: Path, source: str) -> None:
        self._source = source
        self._row: int | None = None
        self._open_key: tuple[str, float] | None = None
        self._written_s = 0.0
        with _one_line(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made here, so that errors come before listening; used by the sink's thread alone afterwards.
            self._db = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
            _check_version(self._db, path)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            _create(self._db)

    def handle(self, event: Event, started: float) -> None:
        """Write what the event changes."""
        if not isinstance(event, PlayStarted | PlayUpdated | PlayEnded):
            return
        play = event.play
        key = (play.track.id, play.start_s)
        if self._row is None or key != self._open_key:
            with self._db:
                self._row = self._insert(play, started)
            self._open_key = key
        elif isinstance(event, PlayEnded) or time.monotonic() - self._written_s >= _UPDATE_S:
            with self._db:
                self._update(play, started)
        else:
            return
        self._written_s = time.monotonic()
        if isinstance(event, PlayEnded):
            self._row = self._open_key = None

    def close(self) -> None:
        """Close the file; the last row is whole already."""
        self._db.close()

    def _insert(self, play: Play, started: float) -> int | None:
        track = play.track
        what = (track.id, track.title, track.artist, track.album, track.pack, track.path)
        when = (iso_utc(started + play.start_s), iso_utc(started + play.end_s))
        values = (*what, *when, play.offset_s, play.score, play.confidence, self._source)
        return self._db.execute(
            "INSERT INTO plays (track_id, title, artist, album, pack, path, started_at, ended_at, offset_s, "
            f"score, confidence, source) VALUES ({', '.join('?' * len(values))})",
            tuple(_plain(value) for value in values),
        ).lastrowid

    def _update(self, play: Play, started: float) -> None:
        self._db.execute(
            # The wall clock may have been set back meanwhile; no play ends before it started.
            "UPDATE plays SET ended_at = max(started_at, ?), score = ?, confidence = ? WHERE id = ?",
            (iso_utc(started + play.end_s), float(play.score), float(play.confidence), self._row),
        )


def read_plays(path: Path, since: str | None = None, limit: int = 0) -> tuple[list[PlayRow], int]:
    """Read the latest plays.

    Parameters
    ----------
    path
        The history; where there is none, nothing was played.
    since
        Only plays that ended after this time, ISO 8601 in UTC.
    limit
        At most so many, the latest; 0 is all.

    Returns
    -------
    The plays, oldest first, and how many there were without the limit.

    Raises
    ------
    OverheardError
        If the file is no history that this version knows.
    """
    if not path.exists():
        return [], 0
    names = ", ".join(field.name for field in dataclasses.fields(PlayRow))
    with _one_line(path), contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S)) as db:
        _check_version(db, path)
        if not _version(db):
            return [], 0
        (count,) = db.execute("SELECT count(*) FROM plays WHERE ended_at >= ?", (since or "",)).fetchone()
        rows = db.execute(
            f"SELECT {names} FROM plays WHERE ended_at >= ? ORDER BY started_at DESC, id DESC LIMIT ?",
            (since or "", limit or -1),
        ).fetchall()
    return [PlayRow(*row) for row in reversed(rows)], count


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    version = _version(db)
    if version > SCHEMA_VERSION:
        raise OverheardError(f"{path} was written by a newer overheard (schema {version}); update this one")
    if version == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise OverheardError(f"{path} is a database, but no history of overheard; move it away")


def _create(db: sqlite3.Connection) -> None:
    """Create the tables, once, even when two processes start together."""
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


def _plain(value: object) -> str | float:
    """Return what SQLite stores: NumPy's numbers made plain, and odd names escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return float(value)  # type: ignore[arg-type]


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the file into one line."""
    try:
        yield
    except OSError as error:
        raise OverheardError(f"{path}: cannot be written: {error.strerror}") from error
    except sqlite3.DatabaseError as error:
        raise OverheardError(f"{path}: unusable: {error}; move it away if damaged") from error
