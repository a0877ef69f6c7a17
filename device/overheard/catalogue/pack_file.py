"""Read a pack's file so that what happens to the file afterwards cannot change or crash the reader.

A memory map of the file itself is not safe: the process gets SIGBUS when another program shortens the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import mmap
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from overheard.catalogue.pack_format import HEADER, UnusablePack, check_header
from overheard.errors import PackError

MAX_IN_MEMORY = 1 << 26  # bytes, 700 hours of music; larger packs are copied to a private file and mapped
MAX_BYTES = 1 << 34  # 180,000 hours; limits what a hostile file can make this program read
_FICLONE = 0x40049409  # ioctl of Linux that copies a file without copying its data, on Btrfs and XFS
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What changes when a file is overwritten or replaced."""

    size: int
    mtime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Stamp:
        """Return the stamp of a file from the result of `os.stat`."""
        return cls(facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_dev)


def read_file(path: Path) -> tuple[memoryview, Stamp]:
    """Return the contents of a pack's file and its stamp; the header is verified, the rest is not.

    Raises
    ------
    PackError
        If the file cannot be read, or is not a regular file.
    UnusablePack
        If the header is not that of a pack of this length.
    """
    try:
        with os.fdopen(_open(path), "rb") as file:
            stamp = Stamp.of(os.fstat(file.fileno()))  # before reading, so that a later change shows
            n_bytes = stamp.size
            check_header(file.read(HEADER.size), n_bytes)  # before anything large is read
            if n_bytes > MAX_BYTES:
                raise UnusablePack(f"the file has more than {MAX_BYTES} bytes")
            file.seek(0)
            contents = file.read(n_bytes) if n_bytes <= MAX_IN_MEMORY else _private_map(file, path)
            return memoryview(contents), stamp
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PackError(f"{path}: cannot be opened ({reason})") from error


def _open(path: Path) -> int:
    """Open a regular file, without waiting for the writer of a FIFO. Raises OSError or PackError."""
    descriptor = os.open(path, _FLAGS)
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return descriptor
    os.close(descriptor)
    reason = "Is a directory" if stat.S_ISDIR(kind) else "not a regular file"
    raise PackError(f"{path}: cannot be opened ({reason})", "move it out of the folder of packs")


def _private_map(file: BinaryIO, path: Path) -> mmap.mmap:
    """Copy a file to one without a name, which no other program can change, and map the copy."""
    with _nameless_file(path.parent) as copy:
        _copy(file, copy)
        return mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ)


@contextlib.contextmanager
def _nameless_file(folder: Path) -> Iterator[BinaryIO]:
    """Yield a temporary file, in `folder` if that is possible, because a copy there may need no space."""
    with contextlib.ExitStack() as stack:
        try:
            copy = stack.enter_context(tempfile.TemporaryFile(dir=folder))
        except OSError:
            copy = stack.enter_context(tempfile.TemporaryFile())
        yield copy


def _copy(file: BinaryIO, copy: BinaryIO) -> None:
    """Copy the contents of a file, sharing the data on disk where the file system can."""
    try:
        import fcntl

        fcntl.ioctl(copy.fileno(), _FICLONE, file.fileno())
    except (ImportError, OSError):
        file.seek(0)
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.flush()
