"""Read an audio file as an audio source, as fast as possible or at normal speed."""

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
    """Audio file as a source.

    Parameters
    ----------
    path : Path
        Any audio file that :func:`overheard.hear.decode.decode` reads.
    realtime : bool
        Whether to deliver blocks at normal speed instead of as fast as possible.

    Raises
    ------
    AudioError
        If the file does not exist.
    """

    def __init__(self, path: Path, realtime: bool = False) -> None:
        super().__init__()
        if not path.is_file():
            raise AudioError(f"{path}: no such audio file", "check the path")
        self.name = path.name
        self._path = path
        self._realtime = realtime

    def blocks(self) -> Iterator[Block | Gap]:
        """Yield blocks of `BLOCK_S`; the last one may be shorter."""
        from overheard.hear.decode import decode  # imported here: a microphone does not need a decoder

        started = time.monotonic()
        n_samples = 0
        for block in _cut(decode(self._path, SAMPLE_RATE), round(BLOCK_S * SAMPLE_RATE)):
            n_samples += block.size
            while self._realtime and not self._closed.is_set():
                wait_s = started + n_samples / SAMPLE_RATE - time.monotonic()
                if wait_s <= 0:
                    break
                self._closed.wait(wait_s)
            if self._closed.is_set():
                return
            yield block


def _cut(chunks: Iterator[npt.NDArray[np.float32]], block_samples: int) -> Iterator[Block]:
    """Cut chunks of any length into blocks of one length; the last block may be shorter."""
    rest = np.zeros(0, np.float32)
    for chunk in chunks:
        rest = np.concatenate([rest, chunk])
        n_complete = rest.size - rest.size % block_samples
        for start in range(0, n_complete, block_samples):
            yield to_int16(rest[start : start + block_samples])
        rest = rest[n_complete:]
    if rest.size:
        yield to_int16(rest)
