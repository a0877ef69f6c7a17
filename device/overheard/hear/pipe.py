"""Decode audio that arrives through a pipe, in a thread, because the decoder waits for its input."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from overheard.errors import AudioError
from overheard.hear.resampler import to_int16
from overheard.hear.source import BLOCK_S, EMPTY_BLOCK, SAMPLE_RATE, Block

_POLL_S = 0.25
_QUEUE_BLOCKS = 8
_PROBE_BYTES = 1 << 16


class Pipe:
    """What the decoder reads: bytes that were read before, then the pipe. It has no `seek`.

    Parameters
    ----------
    fd : int
        File descriptor of the pipe.
    start : bytes
        What was read before.
    closed : threading.Event
        Ends the reading.

    Attributes
    ----------
    probe_bytes : int or None
        How much the decoder may read to recognize the format; None for its default.
    """

    def __init__(self, fd: int, start: bytes, closed: threading.Event) -> None:
        self._fd = fd
        self._start = start
        self._closed = closed
        # Raw samples are no known format, which is to be reported after seconds. An ID3 tag can be long.
        self.probe_bytes = None if start.startswith(b"ID3") else _PROBE_BYTES

    def read(self, n_bytes: int) -> bytes:
        """Return at most `n_bytes`, or none at the end of the pipe."""
        if self._start:
            data, self._start = self._start[:n_bytes], self._start[n_bytes:]
            return data
        while not self._closed.is_set():
            if readable(self._fd):
                return os.read(self._fd, n_bytes)
        return b""


def readable(fd: int) -> bool:
    """Wait a moment, and return whether a read would not."""
    if os.name == "nt":  # on Windows, select accepts only sockets
        return True
    return bool(select.select([fd], [], [], _POLL_S)[0])


def decoded(pipe: object, closed: threading.Event) -> Iterator[Block]:
    """Yield the audio of a pipe or a remote source as it arrives; while none does, `EMPTY_BLOCK`.

    Raises
    ------
    AudioError
        If it cannot be decoded.
    """
    results: queue.Queue[Block | AudioError | None] = queue.Queue(_QUEUE_BLOCKS)
    stopped = threading.Event()

    def put(result: Block | AudioError | None) -> bool:
        while not (closed.is_set() or stopped.is_set()):
            with contextlib.suppress(queue.Full):
                results.put(result, timeout=_POLL_S)
                return True
        return False

    # A daemon, so that a decoder that hangs does not keep the process.
    threading.Thread(target=_decode, args=(pipe, put), name="decoder", daemon=True).start()
    try:
        while not closed.is_set():
            try:
                result = results.get(timeout=_POLL_S)
            except queue.Empty:
                yield EMPTY_BLOCK
                continue
            if result is None:
                return
            if isinstance(result, AudioError):
                raise result
            yield result
    finally:
        stopped.set()


def _decode(pipe: object, put: Callable[[Block | AudioError | None], bool]) -> None:
    from overheard.hear.decode import decode  # imported here: a microphone does not need a decoder

    result: AudioError | None = None
    try:
        for samples in decode(cast(BinaryIO, pipe), SAMPLE_RATE, batch_s=BLOCK_S):
            if not put(to_int16(samples)):
                return
    except AudioError as error:
        result = error
    put(result)
