"""A sound file as an audio source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overheard.errors import AudioError
from overheard.hear.resampler import to_int16
from overheard.hear.source import BLOCK_S, SAMPLE_RATE, AudioSource, Block, Gap


class FileSource(AudioSource):
    """A sound file, as fast as it can be read or, in real time, as fast as it would play."""

    def __init__(self, path: Path, realtime: bool = False) -> None:
        super().__init__()
        if not path.is_file():
            raise AudioError(f"{path}: no such sound file")
        self.name = path.name
        self._path = path
        self._realtime = realtime

    def blocks(self) -> Iterator[Block | Gap]:
        """Yield the file's blocks of a quarter of a second."""
        from overheard.hear.decode import decode  # here, since a microphone needs no decoder

        started = time.monotonic()
        done_samples = 0
        for block in _cut(decode(self._path, SAMPLE_RATE), round(BLOCK_S * SAMPLE_RATE)):
            done_samples += block.size
            while self._realtime and not self._closed.is_set():
                wait_s = started + done_samples / SAMPLE_RATE - time.monotonic()
                if wait_s <= 0:
                    break
                self._closed.wait(wait_s)
            if self._closed.is_set():
                return
            yield block


def _cut(chunks: Iterator[npt.NDArray[np.float32]], size: int) -> Iterator[Block]:
    """Cut chunks of any length into blocks of one; the last may be shorter."""
    rest = np.zeros(0, np.float32)
    for chunk in chunks:
        rest = np.concatenate([rest, chunk])
        whole = rest.size - rest.size % size
        for at in range(0, whole, size):
            yield to_int16(rest[at : at + size])
        rest = rest[whole:]
    if rest.size:
        yield to_int16(rest)
