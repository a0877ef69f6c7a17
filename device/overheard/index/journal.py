"""Save each fingerprinted track in a SQLite file beside the pack until the pack is written.

Each row has a SHA-256 of its contents and of the model. A row that was altered is never used. A file that is
damaged or of another version is renamed, its intact rows are copied to a new file, and a note says so.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from overheard.catalogue.track_list import TrackEntry
from overheard.errors import PackError
from overheard.index.aside import move_aside
from overheard.index.journal_row import Row, SavedTrack, from_row, keys_of, to_row
from overheard.text import plural

_TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE tracks (path BLOB PRIMARY KEY, metadata BLOB NOT NULL, cells BLOB NOT NULL, "
    "codes BLOB NOT NULL, audio_hash BLOB NOT NULL, digest BLOB NOT NULL)",
)
_ALL_ROWS = "SELECT path, metadata, cells, codes, audio_hash, digest FROM tracks"
_HEX16 = re.compile("[0-9a-f]{16}")
_NETWORKS = "networks"  # in the table of facts
_FORMAT = 2  # 1 had no digests of the rows
# The text of an error can quote a damaged file, and need not be valid UTF-8.
_SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
_LOCK_TIMEOUT_S = 0.5  # another process keeps its lock until its run ends, so waiting longer does not help


class _Unusable(Exception):
    """The file exists, and is not an intact journal of this version."""


class Journal:
    """Tracks that are fingerprinted but not yet in the pack.

    An open journal is locked, so that two processes cannot write the same pack.

    Parameters
    ----------
    path : Path
        The SQLite file; created if it does not exist.
    key : str
        Digest of the model's space, and code length. Tracks that were saved under another key are discarded.

    Attributes
    ----------
    notes : list of str
        What the user should know about a file that could not be used.
    networks : frozenset of str
        Digests of the networks that made the saved fingerprints.

    Raises
    ------
    PackError
        If another process has locked the journal, or it cannot be written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.notes: list[str] = []
        self._key = key
        with self._user_errors():
            try:
                self._db = _connect(path, key)
            except (_Unusable, *_SQLITE_ERRORS) as error:
                if _is_locked(error):
                    raise
                self._db = self._replace(_reason(error))
            self.networks = _networks(self._db)

    def add(self, entries: Sequence[TrackEntry], audio_hash: str = "", network: str = "") -> None:
        """Save the tracks of one file, and forget earlier ones. They survive a power cut after that.

        Parameters
        ----------
        entries : sequence of TrackEntry
            Several if the file has a cue sheet.
        audio_hash : str
            See :func:`overheard.hear.packets.audio_hash`.
        network : str
            Digest of the network that made the fingerprints; empty if it is not the one of this run.

        Raises
        ------
        PackError
            If the disk is full.
        """
        rows = [to_row(entry, audio_hash, self._key, number) for number, entry in enumerate(entries)]
        with self._user_errors(), self._db:
            self._db.execute(
                "DELETE FROM tracks WHERE path = ? OR path BETWEEN ? AND ?", keys_of(entries[0].path)
            )
            self._insert(self._db, rows)
            if network and network not in self.networks:
                self.networks |= {network}
                value = " ".join(sorted(self.networks))
                self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_NETWORKS, value))

    def tracks(self) -> Iterator[SavedTrack]:
        """Yield the saved tracks, those of one file one after the other."""
        with self._user_errors():
            for row in self._db.execute(f"{_ALL_ROWS} ORDER BY path"):
                track = from_row(row, self._key)
                if track is not None:
                    yield track

    def tracks_of(self, path: str) -> list[SavedTrack]:
        """Return the saved tracks of one file."""
        with self._user_errors():
            query = f"{_ALL_ROWS} WHERE path = ? OR path BETWEEN ? AND ? ORDER BY path"
            saved = [from_row(row, self._key) for row in self._db.execute(query, keys_of(path))]
        return [track for track in saved if track is not None]

    def clear(self) -> None:
        """Delete the saved tracks, after they were written to the pack."""
        with self._user_errors(), self._db:
            self._db.execute("DELETE FROM tracks")
            self._db.execute("DELETE FROM facts WHERE name = ?", (_NETWORKS,))
        self.networks = frozenset()

    def close(self) -> None:
        """Release the lock; the saved tracks stay for the next run."""
        self._db.close()

    def remove(self) -> None:
        """Delete the journal, after its tracks were written to the pack."""
        # SQLite's rollback file first: alone, it would be applied to the next journal of this name.
        with self._user_errors():
            for path in (self.path.with_name(self.path.name + "-journal"), self.path):
                path.unlink(
                    missing_ok=True
                )  # before the lock is released: no other process opens the old file
        self._db.close()

    def _replace(self, problem: str) -> sqlite3.Connection:
        """Rename the file, and create a new one with the intact rows of the old one."""
        rows = [row for row in _readable_rows(self.path) if from_row(row, self._key) is not None]
        target = move_aside(self.path)
        db = _connect(self.path, self._key)
        with db:
            self._insert(db, rows)
        recovered = f"{plural(len(rows), 'track')} recovered from it; " if rows else ""
        self.notes.append(
            f"the tracks that an interrupted run saved could not all be read ({problem}): {recovered}"
            f"the rest is fingerprinted again; the file was renamed to {target.name}"
        )
        return db

    @staticmethod
    def _insert(db: sqlite3.Connection, rows: Iterable[Row]) -> None:
        db.executemany("INSERT OR REPLACE INTO tracks VALUES (?, ?, ?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _user_errors(self) -> Iterator[None]:
        """Raise PackError for errors that the user can fix."""
        try:
            yield
        except (*_SQLITE_ERRORS, OSError, _Unusable) as error:
            if _is_locked(error):
                raise PackError(
                    f"{self.path}: another overheard process is indexing into this pack",
                    "wait for it, or choose another pack with --pack",
                ) from error
            raise PackError(
                f"{self.path}: cannot be written ({_reason(error)})", "check free disk space and permissions"
            ) from error


def journal_path(pack_path: Path) -> Path:
    """Return where the tracks for a pack are saved."""
    return pack_path.with_name(f"{pack_path.stem}.indexing.sqlite")


def progress_of(pack_path: Path) -> str:
    """Return how far a run of `overheard index` has come that is in progress or was interrupted."""
    path = journal_path(pack_path)
    if not path.is_file():
        return "not begun"
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=0)
        ) as db:
            ((n,),) = db.execute("SELECT COUNT(*) FROM tracks")
    except _SQLITE_ERRORS as error:
        return "in progress" if _is_locked(error) else "interrupted"
    return f"interrupted, {plural(n, 'track')} done"


def _is_locked(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _reason(error: Exception) -> str:
    return (
        "it is damaged"
        if isinstance(error, UnicodeDecodeError)
        else str(getattr(error, "strerror", None) or error)
    )


def _connect(path: Path, key: str) -> sqlite3.Connection:
    """Open and lock a journal, and verify all of it. Raises _Unusable or sqlite3.Error."""
    _create_private(path)
    db = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN EXCLUSIVE")
        facts = {"format": str(_FORMAT), "digest": key}
        saved_facts = _verified_facts(db)
        saved_facts.pop(_NETWORKS, None)  # another network of the space makes the same fingerprints
        if saved_facts != facts:
            db.execute("DELETE FROM tracks")  # saved for another model
            db.execute("DELETE FROM facts")
            db.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        elif any(from_row(row, key) is None for row in db.execute(_ALL_ROWS)):
            raise _Unusable("damaged rows")
        db.commit()
    except (*_SQLITE_ERRORS, _Unusable):
        db.close()
        raise
    return db


def _create_private(path: Path) -> None:
    """Create the file, readable by its owner only, unless it exists. Raises _Unusable for a FIFO."""
    try:
        # SQLite would create it with the default permissions. An existing file is not opened: closing it
        # would release the locks that this process holds on it.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would block
            raise _Unusable("it is not a regular file") from None


def _verified_facts(db: sqlite3.Connection) -> dict[str, str]:
    """Return the facts of a journal whose structure is intact; create the tables of an empty one."""
    tables = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if not tables:
        for statement in _TABLES:
            db.execute(statement)
        return {}
    if tables != set(_TABLES):
        raise _Unusable("it has another format")
    ((mode,),) = db.execute("PRAGMA journal_mode")
    ((state,),) = db.execute("PRAGMA integrity_check(1)")
    if state != "ok" or mode != "delete":
        raise _Unusable("it is damaged")
    facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
    if facts.get("format") != str(_FORMAT):
        raise _Unusable("it has another format")
    return facts


def _networks(db: sqlite3.Connection) -> frozenset[str]:
    """Return the networks that a journal records; what is not 16 hex digits is damaged, and ignored."""
    rows = db.execute("SELECT value FROM facts WHERE name = ?", (_NETWORKS,)).fetchall()
    words = [word for (value,) in rows if isinstance(value, str) for word in value.split()]
    return frozenset(word for word in words if _HEX16.fullmatch(word))


def _readable_rows(path: Path) -> list[Row]:
    """Return the rows of a damaged file up to the first that SQLite cannot read."""
    rows: list[Row] = []
    if not path.is_file():
        return rows
    with contextlib.suppress(*_SQLITE_ERRORS), contextlib.closing(sqlite3.connect(path)) as db:
        rows.extend(db.execute(_ALL_ROWS))
    return rows
