"""Restore a backup: check all of it, and only then replace files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from overheard.backup.archive import CONFIG, FORMAT, HISTORY, MANIFEST, SMALL_FILES
from overheard.backup.encryption import MAGIC, BackupError, EncryptedReader
from overheard.files import atomic_write, create_folder, open_regular, sync_folder
from overheard.history.file import (
    HistoryDamaged,
    check_version,
    explained,
    move_aside,
    open_for_reading,
    open_for_writing,
)
from overheard.settings import Settings, load

_PACK_FILE = re.compile(r"packs/[^/\0]+\.(pack|layers/[^/\0]+)")
_STAGING = ".restore"
_MAX_MANIFEST = 1 << 24
_COPY_BYTES = 1 << 20
_TIMEOUT_S = 10.0  # for `overheard listen`, which writes to the history
_NOT_A_BACKUP = "choose a file that `overheard backup` wrote"


def is_encrypted(path: Path) -> bool:
    """Return whether a backup needs a passphrase."""
    with open_regular(path) as file:
        return file.read(len(MAGIC)) == MAGIC


@contextlib.contextmanager
def unpacked(path: Path, folder: Path, passphrase: str | None = None) -> Iterator[dict[str, Path]]:
    """Unpack a backup beside the data, check it, and yield the path of each file by its name.

    Raises
    ------
    BackupError
        If it is damaged, incomplete, not a backup, or of a newer version.
    HistoryError, SettingsError
        If the history or the configuration in it cannot be used.
    """
    staging = folder / _STAGING
    create_folder(folder, private=True)
    shutil.rmtree(staging, ignore_errors=True)  # of an interrupted run
    staging.mkdir(mode=0o700)
    try:
        with open_regular(path) as raw:
            file = cast(BinaryIO, EncryptedReader(raw, passphrase)) if passphrase is not None else raw
            found = _extract(file, staging)
        _check_history(staging / HISTORY, found)
        if CONFIG in found:
            load(staging / CONFIG, env={})
        yield {name: staging / name for name in found}
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _extract(file: BinaryIO, staging: Path) -> list[str]:
    """Write the files of an archive to a folder, and none outside it; return their names."""
    digests: dict[str, dict[str, str | int]] = {}
    manifest: Any = None
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or manifest is not None:
                    raise BackupError(f"{member.name}: does not belong in a backup", _NOT_A_BACKUP)
                if member.name == MANIFEST:
                    manifest = json.loads(content.read(_MAX_MANIFEST))
                    continue
                digests[member.name] = _copy(member, content, staging)
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise BackupError("the file is damaged, incomplete, or not a backup", _NOT_A_BACKUP) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BackupError("the backup is incomplete, or of a newer version of overheard", "update overheard")
    if manifest.get("files") != digests:
        raise BackupError("the backup is damaged: its files differ from its list", "use another backup")
    return list(digests)


def _copy(member: tarfile.TarInfo, content: IO[bytes], staging: Path) -> dict[str, str | int]:
    name = member.name
    allowed = name in (HISTORY, CONFIG, *SMALL_FILES) or _PACK_FILE.fullmatch(name)
    if not allowed or ".." in PurePosixPath(name).parts or (staging / name).exists():
        raise BackupError(f"{name}: does not belong in a backup", _NOT_A_BACKUP)
    if member.size > shutil.disk_usage(staging).free:
        raise BackupError("the disk is too full to unpack the backup", "free some space")
    digest = hashlib.sha256()
    target = staging / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
        while data := content.read(_COPY_BYTES):
            digest.update(data)
            out.write(data)
        out.flush()
        os.fsync(out.fileno())
    return {"size": member.size, "sha256": digest.hexdigest()}


def _check_history(path: Path, found: list[str]) -> None:
    if HISTORY not in found:
        return
    with explained(path), open_for_reading(path) as db:
        check_version(db, path)
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise HistoryDamaged(f"the history in the backup is damaged ({problem})", "use another backup")


def restore(files: dict[str, Path], settings: Settings, config: Path) -> None:
    """Replace the user's files by those that `unpacked` yields. Other files, such as other packs, stay.

    Each file is replaced as a whole; the history in one transaction, also while `overheard listen` uses it.

    Raises
    ------
    HistoryError, OSError
        If a file cannot be replaced.
    """
    for name in sorted(files, key=lambda name: name.count("/") + name.count(".layers/")):  # layers last
        source = files[name]
        if name == HISTORY:
            continue
        target = config if name == CONFIG else settings.data_dir / name
        if name.endswith(".pack") and ".layers/" not in name:
            shutil.rmtree(target.with_suffix(".layers"), ignore_errors=True)  # continue another state
        create_folder(target.parent, private=True)
        try:
            source.replace(target)
        except OSError:  # on another disk
            with source.open("rb") as file, atomic_write(target, private=True) as out:
                shutil.copyfileobj(file, out, _COPY_BYTES)
        sync_folder(target.parent)
    if HISTORY in files:
        _restore_history(files[HISTORY], settings.history_path)


def _restore_history(source: Path, path: Path) -> None:
    with explained(path):
        try:
            target = open_for_writing(path, _TIMEOUT_S)
        except HistoryDamaged:
            move_aside(path)
            target = open_for_writing(path, _TIMEOUT_S)
        with contextlib.closing(target), contextlib.closing(sqlite3.connect(source)) as db:
            db.backup(target)
            target.execute("PRAGMA journal_mode = WAL")
    open_for_writing(path, _TIMEOUT_S).close()  # one of an earlier version gets the present tables
