"""Write lines to standard output so that a reader that does not read can never block the program."""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TextIO

_POLL_S = 0.1


class SinkClosed(Exception):
    """The reader of a sink's output is gone, for example the other end of a pipe."""


class LineWriter:
    """Write whole lines, each immediately, to a stream.

    The stream's own buffer is not used: a thread that waits in it for a reader cannot be stopped, and then
    the program cannot flush the stream at its exit.

    Parameters
    ----------
    stream : text file
        Receives the lines.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._interrupted = threading.Event()
        self._rest = b""  # of a line that failed halfway, on a full disk
        try:
            self._fd: int | None = stream.fileno()
        except (OSError, ValueError):
            self._fd = None  # in memory

    def write(self, line: str) -> None:
        """Write one line, and wait until the reader takes it.

        Raises
        ------
        SinkClosed
            If the reader is gone, or `interrupt` was called.
        OSError
            If the output cannot be written, for example because the disk is full.
        """
        try:
            if self._fd is None:
                self._stream.write(line + "\n")
                self._stream.flush()
            else:
                self._write_bytes(self._fd, (line + "\n").encode(self._stream.encoding, "backslashreplace"))
        except BrokenPipeError as error:
            raise SinkClosed from error

    def interrupt(self) -> None:
        """Stop waiting for the reader; any thread may call this."""
        self._interrupted.set()

    def _write_bytes(self, fd: int, data: bytes) -> None:
        rest = memoryview(self._rest + data)
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        try:
            while rest:
                if not poll.poll(1000 * _POLL_S):
                    if self._interrupted.is_set():
                        raise SinkClosed
                    continue
                try:  # a pipe that is ready takes PIPE_BUF bytes without blocking
                    rest = rest[os.write(fd, rest[: select.PIPE_BUF]) :]
                except BlockingIOError:  # a shared pipe that another program filled
                    time.sleep(_POLL_S)
        except OSError:
            # The line is sent again. Keep only what ends the one that was begun.
            self._rest = b"\n" if len(rest) < len(self._rest) + len(data) else self._rest
            raise
        self._rest = b""
