"""Open the history file for writing or reading, and say what is wrong with it and what helps."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from overheard.errors import OverheardError

SCHEMA_VERSION = 3
_ADDED = {  # by each version of the schema: column and type
    2: (("alternatives", "TEXT"),),
    3: (
        *(("speed", "REAL"), ("favourite", "INTEGER"), ("wrong", "INTEGER")),
        *(("unknown_id", "INTEGER"), ("label", "TEXT"), ("evidence", "TEXT")),
    ),
}
READ_TIMEOUT_S = 3.0  # for the lock of another process; a write takes milliseconds
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700  # the history shows when somebody is at home
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
    source TEXT NOT NULL,
    alternatives TEXT,         -- of an ambiguous play: JSON array of objects with offset_s and track
    speed REAL,                -- as a multiple of the track's own; NULL: 1
    favourite INTEGER,         -- 1: the user likes it
    wrong INTEGER,             -- 1: the user says that this did not play
    unknown_id INTEGER,        -- of unknown music, also after the user named it
    label TEXT,                -- the name that the user gave to unknown music
    evidence TEXT              -- why it was recognized: JSON object
);
CREATE INDEX plays_started_at ON plays (started_at);
"""
_PERMISSIONS = "check the permissions of the file and of its folder"
_DISK_FULL = ("the disk is full", "free some space")
_READ_ONLY = ("it is read-only", f"{_PERMISSIONS}, and whether the disk is mounted read-only")
_NOT_A_HISTORY = ("a database of another program", "move it away")
# Part of SQLite's message, the problem, the remedy. Python 3.10 does not give the error's code.
_SQLITE_CAUSES = (
    ("locked", "locked by another program", "close the program that has it open, or wait until it is done"),
    ("full", *_DISK_FULL),
    ("readonly", *_READ_ONLY),
    ("unable to open", "cannot be opened", _PERMISSIONS),
    ("disk I/O", "the disk reports an error", "check the disk and its free space"),
    ("no such table", *_NOT_A_HISTORY),
    ("no such column", *_NOT_A_HISTORY),
    ("no column named", *_NOT_A_HISTORY),
)
_DAMAGED = ("malformed", "not a database")


class HistoryError(OverheardError):
    """The history cannot be used."""


class HistoryDamaged(HistoryError):
    """The contents of the history file are damaged, so that it can never be written again."""


FileId = tuple[int, int]  # device and inode


def file_id(path: Path) -> FileId | None:
    """Return what distinguishes a file from a later one of the same name; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def companion(path: Path, suffix: str) -> Path:
    """Return the path of a file that SQLite keeps beside a database: ``-wal``, ``-shm`` or ``-journal``."""
    return path.with_name(path.name + suffix)


def damaged_files(path: Path) -> list[Path]:
    """Return the damaged histories that were moved aside, and the files beside them."""
    return sorted(path.parent.glob(f"{path.name}.damaged-*")) if path.parent.is_dir() else []


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Raise `HistoryError`, with the remedy for its cause, for errors of the disk and of SQLite."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            problem, remedy = _DISK_FULL
        elif error.errno == errno.EROFS:
            problem, remedy = _READ_ONLY
        else:
            problem, remedy = f"cannot be used: {error.strerror or error}", _PERMISSIONS
        raise HistoryError(f"{path}: {problem}", remedy) from error
    except sqlite3.Error as error:
        text = str(error)
        if any(part in text for part in _DAMAGED):
            remedy = "`overheard listen` moves it aside and starts a new one"
            raise HistoryDamaged(f"{path}: damaged ({text})", remedy) from error
        for part, problem, remedy in _SQLITE_CAUSES:
            if part in text:
                raise HistoryError(f"{path}: {problem}", remedy) from error
        raise HistoryError(f"{path}: cannot be used: {text}", _PERMISSIONS) from error


def open_for_writing(path: Path, timeout_s: float) -> sqlite3.Connection:
    """Open the history, and create it if it does not exist; only its owner may read it.

    Raises
    ------
    HistoryError
        If the file cannot be written, is not a history, or was written by a newer version.
    """
    with explained(path):
        _make_private(path)
        db = sqlite3.connect(path, timeout=timeout_s, check_same_thread=False, isolation_level="IMMEDIATE")
        try:
            check_version(db, path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            _create(db)
        except BaseException:
            db.close()
            raise
        return db


@contextlib.contextmanager
def open_for_reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that cannot change the file.

    SQLite can read a database in a folder that is read-only only if it was closed properly. If it cannot, a
    private copy is read instead.

    Raises
    ------
    HistoryError
        If the file cannot be read, is not a history, or was written by a newer version.
    """
    with explained(path), contextlib.ExitStack() as stack:
        check_regular(path)
        try:
            db = _connect_read_only(path)
        except sqlite3.OperationalError as error:
            if not any(part in str(error) for part in ("unable to open", "readonly", "disk I/O")):
                raise
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overheard-")))
            for suffix in ("", "-wal"):
                if suffix == "" or companion(path, suffix).exists():
                    shutil.copyfile(companion(path, suffix), companion(folder / "copy", suffix))
            db = sqlite3.connect(folder / "copy")
        stack.enter_context(contextlib.closing(db))
        db.text_factory = lambda data: data.decode("utf-8", "backslashreplace")
        check_version(db, path)
        yield db


def _connect_read_only(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=READ_TIMEOUT_S)
    try:
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()  # the first access opens the files
    except BaseException:
        db.close()
        raise
    return db


def version(db: sqlite3.Connection) -> int:
    """Return the version of the schema; 0 before the tables exist."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def columns_of(db: sqlite3.Connection, names: Sequence[str]) -> str:
    """Return these columns for a SELECT; those that this file's version does not have are NULL."""
    later = {name for number, added in _ADDED.items() if number > version(db) for name, _ in added}
    return ", ".join(f"NULL AS {name}" if name in later else name for name in names)


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Raise HistoryError if this version of overheard cannot use the database."""
    found = version(db)
    if not 0 <= found <= SCHEMA_VERSION:
        problem = f"{path}: written by a newer version of overheard (schema {found})"
        raise HistoryError(problem, "update overheard")
    if found == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        problem, remedy = _NOT_A_HISTORY
        raise HistoryError(f"{path}: {problem}", remedy)


def check_regular(path: Path) -> None:
    """Raise HistoryError for a folder, a pipe or a device, which SQLite would wait for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise HistoryError(f"{path}: not a file", "move it away")


def move_aside(path: Path) -> Path:
    """Rename a damaged history, and the files that SQLite keeps beside it; return the new path."""
    when = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    base = path.with_name(f"{path.name}.damaged-{when}")
    aside, number = base, 1
    while aside.exists():
        number += 1
        aside = base.with_name(f"{base.name}-{number}")
    path.rename(aside)
    for suffix in ("-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            companion(path, suffix).rename(companion(aside, suffix))
    return aside


def _make_private(path: Path) -> None:
    """Create the file, and its folder, for the owner only; restrict the files of an earlier version.

    SQLite gives the files beside a database the permissions of the database. The permissions of a folder that
    exists are the user's choice: it may be one that other programs share.
    """
    path.parent.mkdir(_PRIVATE_FOLDER, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE))
    check_regular(path)
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    for suffix in ("", "-wal", "-shm"):
        file = companion(path, suffix)
        # Somebody else's file, or one on a file system without permissions, stays as it is.
        with contextlib.suppress(OSError):
            if file.stat().st_mode & 0o077:
                file.chmod(_PRIVATE_FILE)


def _create(db: sqlite3.Connection) -> None:
    """Create or migrate the tables; two processes that start at the same time do so once."""
    if version(db) == SCHEMA_VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        if not version(db):
            for statement in _SCHEMA.strip().split(";\n"):
                db.execute(statement)
        for number in range(version(db) + 1, SCHEMA_VERSION + 1) if version(db) else ():
            for name, kind in _ADDED[number]:
                db.execute(f"ALTER TABLE plays ADD COLUMN {name} {kind}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except BaseException:
        db.rollback()
        raise
    db.commit()
