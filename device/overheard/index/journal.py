"""Save each fingerprinted track in a SQLite file beside the pack until the pack is written."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from overheard.catalogue.track_list import TrackEntry, metadata_of
from overheard.errors import PackError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tracks (
    path BLOB PRIMARY KEY, metadata TEXT NOT NULL, cells BLOB NOT NULL, codes BLOB NOT NULL
);
"""
_FORMAT = 1
_LOCK_TIMEOUT_S = 0.5  # another process keeps its lock for a whole run, so waiting longer does not help


class Journal:
    """Tracks that are fingerprinted but not yet in the pack.

    An open journal is locked, so that two processes cannot write the same pack.

    Parameters
    ----------
    path : Path
        The SQLite file; created if it does not exist.
    key : str
        Model digest and code length. Tracks that were saved under another key are discarded.

    Raises
    ------
    PackError
        If another process has locked the journal, or it cannot be written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        with self._user_errors():
            try:
                self._db = _connect(path, key)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                path.unlink()  # not a database, or a damaged one: its tracks are fingerprinted again
                self._db = _connect(path, key)

    def add(self, entry: TrackEntry) -> None:
        """Save one track. It survives a power cut once this method returns.

        Raises
        ------
        PackError
            If the disk is full.
        """
        row = (
            os.fsencode(entry.path),
            json.dumps(metadata_of(entry)),
            entry.packed_cells.astype("<u2").tobytes(),
            entry.codes.tobytes(),
        )
        with self._user_errors(), self._db:
            self._db.execute("INSERT OR REPLACE INTO tracks VALUES (?, ?, ?, ?)", row)

    def entries(self) -> dict[str, TrackEntry]:
        """Return the saved tracks by path."""
        with self._user_errors():
            rows = self._db.execute("SELECT metadata, cells, codes FROM tracks").fetchall()
        entries = (_entry(*row) for row in rows)
        return {entry.path: entry for entry in entries}

    def close(self) -> None:
        """Release the lock; the saved tracks stay for the next run."""
        self._db.close()

    def remove(self) -> None:
        """Delete the journal, after its tracks were written to the pack."""
        # SQLite's rollback file first: alone, it would be applied to the next journal of this name.
        for path in (self.path.with_name(self.path.name + "-journal"), self.path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()  # before the lock is released, so that no other process opens the old file
        self._db.close()

    @contextlib.contextmanager
    def _user_errors(self) -> Iterator[None]:
        """Raise PackError for errors that the user can fix."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise PackError(
                    f"{self.path}: another overheard process is indexing into this pack",
                    "wait for it, or choose another pack with --pack",
                ) from error
            raise PackError(
                f"{self.path}: cannot be written ({error})", "check free disk space and permissions"
            ) from error


def _connect(path: Path, key: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN EXCLUSIVE")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            db.execute(statement)
        saved_facts: dict[str, Any] = dict(db.execute("SELECT name, value FROM facts").fetchall())
        facts = {"format": str(_FORMAT), "digest": key}
        if saved_facts != facts:
            db.execute("DELETE FROM tracks")
            db.execute("DELETE FROM facts")
            db.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        db.commit()
    except sqlite3.Error:
        db.close()
        raise
    return db


def _entry(metadata: str, packed_cells: bytes, codes: bytes) -> TrackEntry:
    fields = json.loads(metadata)
    fields["also"] = tuple(tuple(item) for item in fields["also"])
    n = len(packed_cells) // 2
    return TrackEntry(
        **fields,
        packed_cells=np.frombuffer(packed_cells, "<u2"),
        codes=np.frombuffer(codes, np.uint8).reshape(n, len(codes) // n),
    )
