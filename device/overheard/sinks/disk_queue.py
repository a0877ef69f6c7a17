"""Keep what a sink has to deliver in a SQLite file until it is delivered.

An item is on the disk before `put` returns, so that it survives a kill, a power cut and any outage of its
receiver. Items leave in the order in which they came. An item whose key was put before is ignored.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from overheard.files import create_folder
from overheard.history.file import HistoryDamaged, HistoryError, explained, move_aside
from overheard.text import plural

log = logging.getLogger(__name__)

MAX_ITEMS = 10_000  # weeks of music; a few MB
_MAX_KNOWN = 2000  # keys of delivered items that are kept
_BUSY_TIMEOUT_S = 2.0
_RETRY_S = 5.0  # between attempts to write while the disk is full or the file is locked
_SYNCHRONOUS = "FULL"  # what is committed survives a power cut
_VERSION = 1
_SCHEMA = """
CREATE TABLE items (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    body TEXT  -- JSON; NULL: delivered
);
CREATE INDEX waiting ON items (number) WHERE body IS NOT NULL;
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL)
"""
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Item:
    """Something to deliver."""

    key: str
    body: dict[str, Any]


class DiskQueue:
    """A queue in a file that only its owner can read.

    While the file cannot be written, for example because the disk is full, items stay in memory. A damaged
    file is moved aside. All methods may be called from any thread.

    Parameters
    ----------
    path : the file; created if it does not exist
    max_items : when more wait, the oldest is dropped
    """

    def __init__(self, path: Path, max_items: int = MAX_ITEMS) -> None:
        self._path = path
        self._max_items = max_items
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._memory: collections.deque[Item] = collections.deque()
        self._finished: set[str] = set()  # keys of what was delivered, but is still in the file
        self._failing = False
        self._next_try_s = 0.0
        self._last_count = 0  # in the file
        self.dropped = 0
        self._try(lambda _db: None)  # here, so that a problem is reported at the start

    def put(self, key: str, body: dict[str, Any], notes: dict[str, Any] | None = None) -> None:
        """Add an item, and store notes with it; both are on the disk afterwards, if it can be written."""
        with self._lock:
            if any(item.key == key for item in self._memory):
                return
            self._memory.append(Item(key, body))
            if len(self._memory) > self._max_items:
                self._memory.popleft()
                self._drop(1)
            self._try(lambda db: self._note(db, notes or {}), now=True)

    def first(self) -> Item | None:
        """Return the item to deliver next; None if nothing waits."""
        with self._lock:
            row = self._try(_first_row)
            if row is not None:
                return Item(row[0], _body(row[1]))
            return next((item for item in self._memory if item.key not in self._finished), None)

    def done(self, item: Item) -> None:
        """Remove an item that was delivered or refused; its key stays known."""
        with self._lock:
            self._finished.add(item.key)
            self._try(lambda _db: None, now=True)

    def note(self, **values: Any) -> None:
        """Store values by name, such as the last error; they replace those of the same name."""
        with self._lock:
            self._try(lambda db: self._note(db, values))

    def notes(self) -> dict[str, Any]:
        """Return the stored values by name."""
        with self._lock:
            rows = self._try(lambda db: db.execute("SELECT name, value FROM notes").fetchall())
            return {name: json.loads(value) for name, value in rows or ()}

    def clear(self) -> int:
        """Drop everything that waits; return the number of items."""
        with self._lock:
            count = len(self)
            self._finished |= {item.key for item in self._memory}
            self._try(lambda db: db.execute("UPDATE items SET body = NULL WHERE body IS NOT NULL"), now=True)
            return count

    def __len__(self) -> int:
        """Return the number of items that wait."""
        with self._lock:
            count = self._try(_count)
            if count is not None:
                self._last_count = count
            return self._last_count + sum(item.key not in self._finished for item in self._memory)

    def close(self) -> None:
        """Write what could not be written before, and close the file."""
        with self._lock:
            self._try(lambda _db: None, now=True)
            if self._memory:
                log.warning("%s: %s could not be saved", self._path.stem, plural(len(self._memory), "item"))
            self._close()

    # The file

    def _try(self, action: Callable[[sqlite3.Connection], _Result], now: bool = False) -> _Result | None:
        """Write what waits in memory, then do something in the same transaction; None if that fails."""
        if not now and self._failing and time.monotonic() < self._next_try_s:
            return None
        try:
            try:
                result = self._transaction(action)
            except HistoryDamaged as error:
                self._replace_damaged(error)
                result = self._transaction(action)
        except HistoryError as error:
            if not self._failing:
                log.warning(
                    "queue of %s: %s. Events are kept in memory until it can be written",
                    self._path.stem,
                    error,
                )
            self._failing, self._next_try_s = True, time.monotonic() + _RETRY_S
            self._close()
            return None
        if self._failing:
            log.warning("queue of %s: can be written again", self._path.stem)
        self._failing = False
        return result

    def _transaction(self, action: Callable[[sqlite3.Connection], _Result]) -> _Result:
        with explained(self._path):
            if self._db is not None and not self._path.exists():
                self._close()  # deleted: start a new one
            db = self._db = self._db or _open(self._path)
            with db:
                for item in self._memory:
                    db.execute(
                        "INSERT OR IGNORE INTO items (key, body) VALUES (?, ?)", (item.key, _text(item.body))
                    )
                for key in self._finished:
                    db.execute("UPDATE items SET body = NULL WHERE key = ?", (key,))
                if self._memory or self._finished:
                    self._trim(db)
                result = action(db)
            self._memory.clear()
            self._finished.clear()
            return result

    def _trim(self, db: sqlite3.Connection) -> None:
        excess = _count(db) - self._max_items
        if excess > 0:
            db.execute(
                "DELETE FROM items WHERE number IN "
                "(SELECT number FROM items WHERE body IS NOT NULL ORDER BY number LIMIT ?)",
                (excess,),
            )
            self._drop(excess)
        db.execute(
            "DELETE FROM items WHERE body IS NULL AND number <= (SELECT max(number) FROM items) - ?",
            (_MAX_KNOWN,),
        )

    def _drop(self, count: int) -> None:
        if not self.dropped:
            log.warning("queue of %s: full; the oldest are dropped", self._path.stem)
        self.dropped += count

    def _note(self, db: sqlite3.Connection, values: dict[str, Any]) -> None:
        rows = [(name, _text(value)) for name, value in values.items()]
        db.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?)", rows)

    def _replace_damaged(self, error: HistoryDamaged) -> None:
        self._close()
        with explained(self._path):
            aside = move_aside(self._path)
        self._finished.clear()
        log.warning("queue of %s: %s; moved to %s", self._path.stem, error.problem, aside.name)

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()


def _text(value: Any) -> str:
    return json.dumps(value)


def _count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM items WHERE body IS NOT NULL").fetchone()[0])


def _first_row(db: sqlite3.Connection) -> tuple[str, str] | None:
    sql = "SELECT key, body FROM items WHERE body IS NOT NULL ORDER BY number LIMIT 1"
    row: tuple[str, str] | None = db.execute(sql).fetchone()
    return row


def _body(text: str) -> dict[str, Any]:
    """Return the body of an item; of one that was changed in the file, an empty one, which is refused."""
    try:
        body = json.loads(text)
    except ValueError:
        body = {}
    return body if isinstance(body, dict) else {}


def _open(path: Path) -> sqlite3.Connection:
    create_folder(path.parent, private=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    db = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, check_same_thread=False, isolation_level="IMMEDIATE")
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {_SYNCHRONOUS}")
        db.execute("PRAGMA secure_delete = ON")
        found = int(db.execute("PRAGMA user_version").fetchone()[0])
        if found > _VERSION:
            raise HistoryError(f"{path}: written by a newer version of overheard", "update overheard")
        if not found:
            with db:
                db.execute("BEGIN IMMEDIATE")
                if not db.execute("PRAGMA user_version").fetchone()[0]:
                    for statement in _SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {_VERSION}")
    except BaseException:
        db.close()
        raise
    return db
