"""Convert samples of any sample rate and channel count to blocks of 8 kHz mono."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from overheard.hear.downmix import Downmixer
from overheard.hear.source import SAMPLE_RATE, Block

_FULL_SCALE = np.float32(32768)  # int16 -32768 is float -1, the convention of ffmpeg and libsndfile


class Resampler:
    """Streaming conversion to int16 mono at 8 kHz.

    Parameters
    ----------
    rate : int
        Sample rate of the input in Hz.
    channels : int
        Number of interleaved channels of the input; `Downmixer` mixes them.
    channel : str
        As for `Downmixer`.
    """

    def __init__(self, rate: int, channels: int, channel: str = "auto") -> None:
        self._rate = rate
        self._channels = channels
        self._channel = channel
        self.reset()

    def reset(self) -> None:
        """Discard the resampler's state; call it after a gap."""
        self._downmixer = Downmixer(self._rate, self._channel)
        self._stream = None
        if self._rate != SAMPLE_RATE:
            import soxr  # imported here: a device that delivers 8 kHz does not need it

            self._stream = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def process(self, samples: npt.NDArray[np.int16] | npt.NDArray[np.float32], last: bool = False) -> Block:
        """Convert the next samples.

        Parameters
        ----------
        samples : ndarray, (n * channels,)
            Interleaved int16, or float32 in [-1, 1].
        last : bool
            Whether these samples are the last ones, so that the resampler flushes its delay.

        Returns
        -------
        ndarray, (m,) int16
            May be empty.
        """
        if samples.dtype == np.int16 and self._stream is None and self._channels == 1:
            return samples.astype(np.int16, copy=False)
        scale = float(_FULL_SCALE) if samples.dtype == np.int16 else 1.0
        floats = self._downmixer.process(samples.reshape(-1, self._channels).T, scale)
        if self._stream is not None:
            floats = self._stream.resample_chunk(floats, last=last)
        return to_int16(floats)


def to_int16(samples: npt.NDArray[np.float32]) -> Block:
    """Round float samples in [-1, 1] to int16; values outside are clipped."""
    block: Block = np.clip(np.rint(samples * _FULL_SCALE), -32768, 32767).astype(np.int16)
    return block


def to_float(block: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Convert samples ``(n,)`` int16 to ``(n,)`` float32 in [-1, 1]."""
    return block.astype(np.float32) / _FULL_SCALE
