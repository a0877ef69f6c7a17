"""Keep the audio hash of each indexed file in a SQLite file beside the pack.

It lets `overheard index` recognize files that were renamed, touched or tagged. It may be deleted at any time:
the next run then fingerprints such files again. A run writes the rows of changed files only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from overheard.errors import OverheardError
from overheard.index.file_hashes_json import load_json

_TABLE = (
    "CREATE TABLE files (path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, "
    "audio_hash TEXT NOT NULL) WITHOUT ROWID"
)
_LOCK_TIMEOUT_S = 5.0
_LIMIT = 1 << 63  # of integers in SQLite
# The text of an error can quote a damaged file, and need not be valid UTF-8.
_ERRORS = (sqlite3.Error, UnicodeDecodeError, OSError)


@dataclasses.dataclass(frozen=True)
class FileHash:
    """The hash of a file's audio packets, and the file's size and modification time when it was read."""

    size: int  # bytes
    mtime_ns: int
    audio_hash: str


def hashes_path(pack_path: Path) -> Path:
    """Return the file that belongs to a pack."""
    return pack_path.with_name(f"{pack_path.stem}.index.sqlite")


def json_path(pack_path: Path) -> Path:
    """Return the file in which overheard 1.0 kept the hashes."""
    return pack_path.with_name(f"{pack_path.stem}.index.json")


class FileHashes:
    """The hashes of the files of a pack.

    Parameters
    ----------
    pack_path : Path
        The pack.
    """

    def __init__(self, pack_path: Path) -> None:
        self.path = hashes_path(pack_path)
        self._json = json_path(pack_path)

    def load(self) -> Iterator[tuple[str, FileHash]]:
        """Yield path and hash of each file; none if the file is missing, damaged or of another version."""
        if not self.path.exists() and self._json.exists():
            yield from self._load_json()
            return
        with contextlib.suppress(*_ERRORS), self._opened() as db:
            for name, size, mtime_ns, audio_hash in db.execute("SELECT * FROM files"):
                if isinstance(name, bytes) and isinstance(size, int) and isinstance(mtime_ns, int):
                    yield os.fsdecode(name), FileHash(size, mtime_ns, str(audio_hash))

    def update(self, changed: Mapping[str, FileHash], removed: Iterable[str]) -> None:
        """Write the rows of changed files, and delete others, in one transaction.

        A damaged file is replaced by one with the changed files alone; an old file in JSON is converted.

        Raises
        ------
        OverheardError
            If it cannot be written.
        """
        removed = list(removed)
        if not changed and not removed and not self._json.exists():
            return
        try:
            try:
                self._write(changed, removed)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if isinstance(error, sqlite3.OperationalError):  # such as a full disk
                    raise
                self._delete()
                self._write(changed, removed)
            self._json.unlink(missing_ok=True)
        except _ERRORS as error:
            raise OverheardError(
                f"{self.path}: cannot be written ({getattr(error, 'strerror', None) or error})",
                "check free disk space and permissions",
            ) from error

    def _write(self, changed: Mapping[str, FileHash], removed: list[str]) -> None:
        old = {} if self.path.exists() else dict(self._load_json())
        _create_private(self.path)
        with self._opened() as db, db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'files'").fetchone():
                db.execute(_TABLE)
            db.executemany("DELETE FROM files WHERE path = ?", ((os.fsencode(path),) for path in removed))
            db.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", _rows({**old, **changed}, removed)
            )

    def _load_json(self) -> Iterator[tuple[str, FileHash]]:
        for path, size, mtime_ns, audio_hash in load_json(self._json):
            yield path, FileHash(size, mtime_ns, audio_hash)

    def _delete(self) -> None:
        for suffix in ("-journal", "-wal", "-shm", ""):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file, if it is one: opening a FIFO would block. Raises OSError or sqlite3.Error."""
        if not stat.S_ISREG(self.path.stat().st_mode):
            raise OSError("not a regular file")
        with contextlib.closing(sqlite3.connect(self.path, timeout=_LOCK_TIMEOUT_S)) as db:
            db.execute("PRAGMA synchronous = FULL")
            yield db


def _rows(hashes: Mapping[str, FileHash], removed: list[str]) -> Iterator[tuple[bytes, int, int, str]]:
    gone = set(removed)
    for path, known in sorted(hashes.items()):
        if path not in gone and max(known.size, abs(known.mtime_ns)) < _LIMIT:
            yield os.fsencode(path), known.size, known.mtime_ns, known.audio_hash


def _create_private(path: Path) -> None:
    """Create the file, readable by its owner only because it lists the user's files, unless it exists."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def merge_hashes(sources: Iterable[Path], target: Path) -> None:
    """Copy the hashes of several packs to a pack that was merged from them. Raises OverheardError."""
    hashes = {path: known for source in sources for path, known in FileHashes(source).load()}
    FileHashes(target).update(hashes, ())
