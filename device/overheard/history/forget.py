"""Delete plays from the history so that they cannot be found in the file afterwards."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from overheard.history.file import (
    HistoryDamaged,
    HistoryError,
    companion,
    damaged_files,
    explained,
    open_for_writing,
)

_TIMEOUT_S = 4.0  # for a program that writes to the history


def forget(path: Path, ids: Sequence[int] = (), since: str | None = None, before: str | None = None) -> int:
    """Delete the plays with these ids, or those that ended after or before a time, or all if none is given.

    SQLite overwrites what is deleted, writes the file again without gaps, and empties the write-ahead log,
    also while `overheard listen` uses the file. All includes damaged histories that were moved aside.

    Parameters
    ----------
    path : the history; if it does not exist, there is nothing to delete
    ids : as `overheard history --json` prints them
    since, before : ISO 8601 in UTC

    Returns
    -------
    Number of plays deleted from the history.

    Raises
    ------
    HistoryError
        If the file cannot be changed, or a program reads it all the time.
    """
    everything = not ids and since is before is None
    with explained(path):
        for file in damaged_files(path) if everything else ():
            file.unlink(missing_ok=True)
        if not path.exists():
            _unlink(path)
            return 0
    try:
        with explained(path), contextlib.closing(open_for_writing(path, _TIMEOUT_S)) as db:
            count = _delete(db, ids, since, before)
            if count or before is None:
                _purge(db, path)
            return count
    except HistoryDamaged:
        if not everything:
            raise
    with explained(path):
        _unlink(path)
    return 0


def _unlink(path: Path) -> None:
    """Delete the file and what SQLite keeps beside it; `overheard listen` notices, and starts a new one."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        companion(path, suffix).unlink(missing_ok=True)


def _delete(db: sqlite3.Connection, ids: Sequence[int], since: str | None, before: str | None) -> int:
    db.execute("PRAGMA secure_delete = ON")
    with db:
        if ids:
            return sum(db.execute("DELETE FROM plays WHERE id = ?", (row,)).rowcount for row in ids)
        if before is not None:
            return db.execute("DELETE FROM plays WHERE ended_at < ?", (before,)).rowcount
        return db.execute("DELETE FROM plays WHERE ended_at >= ?", (since or "",)).rowcount


def _purge(db: sqlite3.Connection, path: Path) -> None:
    """Write the file again, and empty the write-ahead log, which has the old pages."""
    db.execute("VACUUM")
    deadline = time.monotonic() + _TIMEOUT_S
    while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > deadline:
            problem = (
                f"{path}: deleted, but another program that reads the file keeps the old data in its log"
            )
            raise HistoryError(problem, "close that program and run the command again")
        time.sleep(0.1)
