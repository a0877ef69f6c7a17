"""The work journal of indexing: a SQLite file beside the pack, one commit a track."""

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


class Journal:
    """Tracks that are fingerprinted but not yet in the pack; while it is open nobody else can open it."""

    def __init__(self, path: Path, digest: str) -> None:
        """Open or make a journal.

        Parameters
        ----------
        path : Path
            The SQLite file.
        digest : str
            What fingerprints depend on: model and length of code; what was made for others is discarded.

        Raises
        ------
        PackError
            If another process holds it, or it cannot be written.
        """
        self.path = path
        with self._explained():
            try:
                self._db = _connect(path, digest)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                path.unlink()  # not a database: a torn file, whose tracks are fingerprinted once more
                self._db = _connect(path, digest)

    def add(self, entry: TrackEntry) -> None:
        """Keep one track, safe against power loss when this returns. Raises PackError if the disk is full."""
        row = (
            os.fsencode(entry.path),
            json.dumps(metadata_of(entry)),
            entry.packed_cells.astype("<u2").tobytes(),
            entry.codes.tobytes(),
        )
        with self._explained(), self._db:
            self._db.execute("INSERT OR REPLACE INTO tracks VALUES (?, ?, ?, ?)", row)

    def entries(self) -> dict[str, TrackEntry]:
        """Return the kept tracks by path."""
        with self._explained():
            rows = self._db.execute("SELECT metadata, cells, codes FROM tracks").fetchall()
        entries = (_entry(*row) for row in rows)
        return {entry.path: entry for entry in entries}

    def close(self) -> None:
        """Let go of it; what it holds stays for the next run."""
        self._db.close()

    def remove(self) -> None:
        """Delete it, when its tracks are in the pack."""
        # SQLite's own rollback file first: it must not outlive its database.
        for path in (self.path.with_name(self.path.name + "-journal"), self.path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()  # before closing, which would let another process in
        self._db.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise PackError(f"{self.path}: another overheard is indexing into this pack") from error
            raise PackError(f"{self.path}: cannot be written ({error})") from error


def _connect(path: Path, digest: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=0.5)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN EXCLUSIVE")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            db.execute(statement)
        known: dict[str, Any] = dict(db.execute("SELECT name, value FROM facts").fetchall())
        facts = {"format": str(_FORMAT), "digest": digest}
        if known != facts:
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
