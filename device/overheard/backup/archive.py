"""Write what belongs to the user into a tar archive: history, settings, subscriptions and packs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from overheard.backup.encryption import EncryptedWriter
from overheard.event_json import iso_utc
from overheard.files import atomic_write, create_folder
from overheard.history.file import explained, open_for_reading
from overheard.settings import Settings

FORMAT = 1
MANIFEST, HISTORY, CONFIG = "manifest.json", "history.sqlite", "config.toml"
SMALL_FILES = (
    *("subscriptions.json", "packs/enabled.json"),
    *("unknown/unknown.pack", "unknown/unknown.json"),
)
_NAME = "overheard-{}.backup"


def default_path(folder: Path, now: float | None = None) -> Path:
    """Return the path of a new backup in a folder, with the local date and time in its name."""
    return folder / _NAME.format(time.strftime("%Y-%m-%d-%H%M%S", time.localtime(now)))


def rotate(folder: Path, keep: int) -> list[Path]:
    """Delete all but the newest `keep` backups of a folder; return those that were deleted.

    Only files with the names that `default_path` gives count.
    """
    digits = "[0-9]" * 4 + "-[0-9][0-9]" * 2 + "-" + "[0-9]" * 6
    old = sorted(folder.glob(_NAME.format(digits)))[:-keep]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def write_backup(
    path: Path, settings: Settings, config: Path, packs: bool = False, passphrase: str | None = None
) -> dict[str, int]:
    """Write a backup, also while `overheard listen` writes the history. The file is complete or not there.

    Parameters
    ----------
    path : of the backup; only its owner may read it
    config : the configuration file, which may be missing
    packs : whether to include the user's own packs
    passphrase : encrypts the backup

    Returns
    -------
    The size of each file in bytes by its name in the archive.

    Raises
    ------
    HistoryError, BackupError, OSError
        If something cannot be read or written.
    """
    create_folder(path.parent, private=True)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(atomic_write(path, private=True))
        if passphrase is not None:
            file = cast(BinaryIO, stack.enter_context(EncryptedWriter(file, passphrase)))
        tar = stack.enter_context(tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT))
        return _Archive(tar).fill(settings, config, packs)


class _Archive:
    """A tar archive whose last file lists the others with their digests."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._files: dict[str, dict[str, str | int]] = {}

    def fill(self, settings: Settings, config: Path, packs: bool) -> dict[str, int]:
        if settings.history_path.exists():
            with copy_of_history(settings.history_path) as copy:
                self.add(HISTORY, copy)
        found = [(CONFIG, config), *((name, settings.data_dir / name) for name in SMALL_FILES)]
        found += pack_files(settings.packs_dir) if packs else []
        for name, source in found:
            with contextlib.suppress(FileNotFoundError), source.open("rb") as file:
                self.add(name, file)
        manifest = {"format": FORMAT, "created_at": iso_utc(time.time()), "files": self._files}
        content = json.dumps(manifest, indent=1).encode()
        self._tar.addfile(_info(MANIFEST, len(content)), io.BytesIO(content))
        return {name: int(facts["size"]) for name, facts in self._files.items()}

    def add(self, name: str, file: IO[bytes]) -> None:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        reader = _Digest(file)
        self._tar.addfile(_info(name, size), cast("IO[bytes]", reader))
        self._files[name] = {"size": size, "sha256": reader.digest.hexdigest()}


class _Digest:
    """Compute the digest of what is read from a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, n_bytes: int = -1) -> bytes:
        data = self._file.read(n_bytes)
        self.digest.update(data)
        return data


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    return info


def pack_files(folder: Path) -> list[tuple[str, Path]]:
    """Return the user's own packs and their layers: name in the archive, and path."""
    files = [*folder.glob("*.pack"), *folder.glob("*.layers/*")] if folder.is_dir() else []
    return [(f"packs/{path.relative_to(folder)}", path) for path in sorted(files) if path.is_file()]


@contextlib.contextmanager
def copy_of_history(path: Path) -> Iterator[IO[bytes]]:
    """Yield a consistent copy of the history, without what was deleted from it.

    Raises
    ------
    HistoryError
        If the history cannot be read, or the disk is full.
    """
    with explained(path), tempfile.TemporaryDirectory(prefix=".backup-", dir=path.parent) as folder:
        copy = Path(folder) / "copy"
        with open_for_reading(path) as source, contextlib.closing(sqlite3.connect(copy)) as target:
            source.backup(target)  # one transaction: what others write meanwhile is not in it
            target.execute("PRAGMA journal_mode = DELETE")
            target.execute("VACUUM")
        with copy.open("rb") as file:
            yield file
