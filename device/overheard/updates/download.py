"""Download a file of a repository next to its place: resumable, bounded, and verified by its SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from overheard.catalogue.pack_file import Stamp
from overheard.errors import UpdateError
from overheard.files import create_folder, sync_folder
from overheard.text import size as size_text
from overheard.updates.documents import PackFile
from overheard.updates.source import CHUNK_BYTES, LIMITS, Limits, Source, TransferError

_PROGRESS_BYTES = 1 << 20  # after which a broken connection gets new attempts
_RESERVE_BYTES = 1 << 25  # that stay free on the disk

Report = Callable[[int], None]  # is called with the number of bytes that arrived


class WrongContents(UpdateError):
    """A file has another SHA-256 than the index says."""


def check_space(folder: Path, n_bytes: int) -> None:
    """Raise UpdateError if a download of this size does not fit on the disk of a folder."""
    create_folder(folder, private=True)
    free = shutil.disk_usage(folder).free
    if free < n_bytes + _RESERVE_BYTES:
        raise UpdateError(
            f"the disk of {folder} has {size_text(free)} free; the download needs {size_text(n_bytes)} and "
            f"{size_text(_RESERVE_BYTES)} in reserve",
            "free disk space",
        )


def part_size(part: Path) -> int:
    """Return how much of a file an earlier run has downloaded."""
    return part.stat().st_size if part.is_file() else 0


def download(
    source: Source, file: PackFile, part: Path, limits: Limits = LIMITS, report: Report = lambda _: None
) -> Stamp:
    """Download a file, or the rest of it, and return its stamp.

    Parameters
    ----------
    source : the repository
    file : what to download
    part : where to; an interrupted download continues, and one that is complete is only verified

    Raises
    ------
    UpdateError
        If it does not arrive, has other contents, or cannot be written. What arrived stays for the next run,
        except on a full disk.
    """
    create_folder(part.parent, private=True)
    resumed = part_size(part) > 0
    try:
        return _attempt(source, file, part, limits, report)
    except WrongContents:
        if not resumed:
            raise
        return _attempt(source, file, part, limits, report)  # what was there may have been wrong


def _attempt(source: Source, file: PackFile, part: Path, limits: Limits, report: Report) -> Stamp:
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b") as target:
            _fill(source, file, target, limits, report)
            target.flush()
            os.fsync(target.fileno())
            target.seek(0)
            digest = hashlib.sha256()
            while chunk := target.read(CHUNK_BYTES * 16):
                digest.update(chunk)
            stamp = Stamp.of(os.fstat(target.fileno()))
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UpdateError(
            f"{part}: cannot be written ({error.strerror or error})", "free disk space"
        ) from error
    if digest.hexdigest() != file.sha256:
        part.unlink()
        raise WrongContents(
            f"{source.url}/{file.path} is damaged: its SHA-256 is not that of the index",
            "try again later, or ask its publisher",
        )
    sync_folder(part.parent)
    return stamp


def _fill(source: Source, file: PackFile, target: BinaryIO, limits: Limits, report: Report) -> None:
    """Append to a file until it is complete; try again when the connection breaks."""
    size = target.seek(0, os.SEEK_END)
    if size > file.size:
        size = target.truncate(0)
    attempts, since = 0, size
    while size < file.size:
        try:
            with source.open(file.path, size, file.size) as stream:
                target.seek(stream.start)
                target.truncate()
                for chunk in stream.chunks:
                    target.write(chunk)
                    report(len(chunk))
        except TransferError:
            size = target.seek(0, os.SEEK_END)
            if size - since >= _PROGRESS_BYTES:
                attempts, since = 0, size
            attempts += 1
            if attempts >= limits.attempts:
                raise
            time.sleep(limits.pause_s * 2 ** (attempts - 1))
        size = target.seek(0, os.SEEK_END)
