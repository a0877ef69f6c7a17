"""Samples of any rate and layout to blocks of 8 kHz mono."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from overheard.hear.source import SAMPLE_RATE, Block


class Resampler:
    """Streaming conversion of interleaved samples of any rate to blocks of int16 mono at 8 kHz."""

    def __init__(self, rate: int, channels: int) -> None:
        self._rate = rate
        self._channels = channels
        self.reset()

    def reset(self) -> None:
        """Forget what came before, as after a gap."""
        self._stream = None
        if self._rate != SAMPLE_RATE:
            import soxr  # here, since a device that delivers 8 kHz does not need it

            self._stream = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def process(self, samples: npt.NDArray[np.int16] | npt.NDArray[np.float32], last: bool = False) -> Block:
        """Convert the next samples, interleaved `(n * channels,)`: int16, or float32 in [-1, 1]."""
        is_int = samples.dtype == np.int16
        if is_int and self._stream is None and self._channels == 1:
            return samples.astype(np.int16, copy=False)
        floats = samples.astype(np.float32) / np.float32(32768 if is_int else 1)
        if self._channels > 1:
            floats = floats.reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
        if self._stream is not None:
            floats = self._stream.resample_chunk(floats, last=last)
        return to_int16(floats)


def to_int16(samples: npt.NDArray[np.float32]) -> Block:
    """Round float samples in [-1, 1] to int16, clipping what lies outside."""
    block: Block = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)
    return block


def to_float(block: Block) -> npt.NDArray[np.float32]:
    """Return a block as float32 in [-1, 1]."""
    return block.astype(np.float32) / np.float32(32768)
