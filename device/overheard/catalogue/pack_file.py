"""Read a pack's file so that what happens to the file afterwards cannot crash the reader.

Small files are read into memory. Large ones stay open and are read where needed, with `pread`: a memory map
of a file that another program shortens would end the process with SIGBUS.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
import weakref
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

from overheard.catalogue.pack_format import HEADER, Contents, UnusablePack, check_header
from overheard.errors import PackError
from overheard.text import one_line

log = logging.getLogger(__name__)

MAX_IN_MEMORY = 1 << 23  # bytes, 97 hours of music; a search adds half as much
MAX_BYTES = 1 << 34  # 180,000 hours; limits what a hostile file can make this program read
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


class OpenFile:
    """A large file that stays open; closed when nothing refers to it.

    Parameters
    ----------
    descriptor : open for reading; this object owns it
    n_bytes : length of the file when it was opened
    path : for messages
    """

    def __init__(self, descriptor: int, n_bytes: int, path: Path) -> None:
        self._descriptor, self._n_bytes, self._path = descriptor, n_bytes, path
        self._changed = False
        weakref.finalize(self, os.close, descriptor)

    def __len__(self) -> int:
        """Return the number of bytes when the file was opened."""
        return self._n_bytes

    def __getitem__(self, where: slice) -> memoryview:
        """Return these bytes. What the file has lost since it was opened reads as zeros."""
        start, end, _ = where.indices(self._n_bytes)
        return memoryview(self.read(start, end))

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes of a range inside the file; zeros for those that cannot be read."""
        contents = b""
        try:
            while len(contents) < end - start:
                more = os.pread(self._descriptor, end - start - len(contents), start + len(contents))
                if not more:
                    break
                contents = contents + more if contents else more
        except OSError as error:
            self._warn(error.strerror or str(error))
        if len(contents) < end - start:
            self._warn("the file was shortened while it was in use")
            contents += bytes(end - start - len(contents))
        return contents

    def read_all(self, starts: Sequence[int], lengths: Sequence[int]) -> bytes:
        """Return the bytes of many short ranges, one after the other."""
        pread, descriptor = os.pread, self._descriptor
        try:
            contents = b"".join(map(pread, repeat(descriptor), lengths, starts))
        except OSError:
            contents = b""
        if len(contents) == sum(lengths):
            return contents
        ranges = zip(starts, lengths, strict=True)
        return b"".join(self.read(start, start + length) for start, length in ranges)

    def _warn(self, reason: str) -> None:
        if not self._changed:
            self._changed = True
            log.warning(
                "%s: a part cannot be read (%s); its music is not recognized", self._path, one_line(reason)
            )


def read_file(path: Path) -> tuple[Contents, Stamp]:
    """Return the contents of a pack's file and its stamp; the header is verified, the rest is not.

    Raises
    ------
    PackError
        If the file cannot be read, or is not a regular file.
    UnusablePack
        If the header is not that of a pack of this length.
    """
    try:
        descriptor = _open(path)
        try:
            stamp = Stamp.of(os.fstat(descriptor))  # before reading, so that a later change shows
            check_header(os.read(descriptor, HEADER.size), stamp.size)  # before anything large is read
            if stamp.size > MAX_BYTES:
                raise UnusablePack(f"the file has more than {MAX_BYTES} bytes")
            contents = OpenFile(os.dup(descriptor), stamp.size, path)
        finally:
            os.close(descriptor)
        return contents if stamp.size > MAX_IN_MEMORY else contents[: stamp.size], stamp
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
