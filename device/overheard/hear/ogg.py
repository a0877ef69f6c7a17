"""Find the parts of a chained Ogg file, each of which may have its own sample rate and channels."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

# A page that begins a stream: version 0, flag 2, position 0.
_FIRST_PAGE = re.compile(rb"OggS\x00\x02\x00{8}")
_FIRST_PAGE_BYTES = 14
_READ_BYTES = 1 << 20
_HEADER_BYTES = 27  # of a page; the last one is the number of its segments, whose lengths follow


def chain(file: BinaryIO) -> list[tuple[int, int]]:
    """Return where the parts of a chained Ogg file start and end; none if it is not chained or not Ogg.

    The position in the file is its start before and after.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    is_ogg = file.read(4) == b"OggS"
    pages = _first_pages(file) if is_ogg else []
    # The streams of one part begin one directly after another.
    ends = {start + _page_bytes(file, start) for start in pages}
    starts = [start for start in pages if start not in ends]
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return list(zip(starts, [*starts[1:], size], strict=True)) if len(starts) > 1 else []


def _first_pages(file: BinaryIO) -> list[int]:
    """Return the positions of the pages that begin a stream."""
    positions: list[int] = []
    file.seek(0)
    start, window = 0, b""
    while data := file.read(_READ_BYTES):
        window += data
        positions += [start + match.start() for match in _FIRST_PAGE.finditer(window)]
        kept = min(len(window), _FIRST_PAGE_BYTES - 1)  # too short to find a page twice
        start += len(window) - kept
        window = window[len(window) - kept :]
    return positions


def _page_bytes(file: BinaryIO, start: int) -> int:
    file.seek(start)
    header = file.read(_HEADER_BYTES + 255)
    if len(header) < _HEADER_BYTES:
        return len(header)
    n_segments = header[_HEADER_BYTES - 1]
    return _HEADER_BYTES + n_segments + sum(header[_HEADER_BYTES : _HEADER_BYTES + n_segments])


class Part:
    """Part of a file, as a file that is read and cannot be written.

    Parameters
    ----------
    file : binary file
        Opened for reading; only this object reads it.
    start, end : int
        Positions of the part.
    """

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file = file
        self._start = start
        self._length = end - start
        self._position = 0
        self.seek(0)

    def read(self, n_bytes: int) -> bytes:
        """Return at most `n_bytes`, or none at the end of the part."""
        data = self._file.read(max(0, min(n_bytes, self._length - self._position)))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a position, from the start (0), here (1) or the end (2); return it."""
        self._position = max(0, offset + (0, self._position, self._length)[whence])
        self._file.seek(self._start + self._position)
        return self._position

    def tell(self) -> int:
        """Return the position in the part."""
        return self._position
