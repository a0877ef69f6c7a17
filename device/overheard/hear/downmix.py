"""Mix channels to mono: their mean, or one of them while they cancel each other out, or as the user chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_MAX_AMPLITUDE = 1e6  # 120 dB above full scale; squares of larger float32 samples can overflow
# The power of the mean over that of unrelated channels. It is 1 for these and for a single loud channel, the
# number of channels for equal ones, and 0 for opposite ones. The gap between the limits is the hysteresis.
_CANCELLED_BELOW = 0.01
_RESTORED_ABOVE = 0.05
_MEMORY_S = 2.0  # over which the powers are averaged, so that short blocks decide as long ones do
_STRIDE = 5  # the powers are measured at every fifth sample
_NUMBERS = {"left": 0, "right": 1}
_MIN_POWER = 1e-9  # -90 dB of full scale: less says nothing about the channels

FloatArray = npt.NDArray[np.float32]
Channels = Sequence[npt.NDArray[Any]] | npt.NDArray[Any]


class Downmixer:
    """Streaming conversion of any number of channels to mono.

    The result is the mean of the channels. Where the phase of a channel is inverted, as by a wrong cable or a
    karaoke effect, the mean is silence; then the loudest channel is the result.

    Parameters
    ----------
    rate : int
        Sample rate in Hz.
    channel : str
        As the setting ``listen.channel``: ``auto`` for the above, ``mix`` for the mean in any case, ``left``
        or ``right`` for the first or second channel alone, or ``difference`` for half of left minus right,
        which is the mean if the polarity of one channel is reversed.
    """

    def __init__(self, rate: int, channel: str = "auto") -> None:
        self._chosen = channel
        self._memory_samples = _MEMORY_S * rate
        self._mean_power = self._unrelated_power = 0.0
        self._channel: int | None = None  # used instead of the mean

    def process(self, channels: Channels, scale: float, offset: float = 0.0) -> FloatArray:
        """Convert the next samples.

        Parameters
        ----------
        channels : sequence of ndarray, (n,), or ndarray, (n_channels, n)
            Integer or float samples.
        scale : float
            Full scale of the samples.
        offset : float
            What the samples have at silence.

        Returns
        -------
        ndarray, (n,) float32
            Finite, nominally in [-1, 1].
        """
        if self._chosen == "auto" and len(channels) > 1 and len(channels[0]):
            self._decide(channels, scale)
        number = _NUMBERS.get(self._chosen, self._channel)
        if number is not None:
            channels = [channels[min(number, len(channels) - 1)]]
        subtract = self._chosen == "difference" and len(channels) > 1
        if subtract:
            channels, offset = channels[:2], 0.0
        mono: FloatArray = channels[0].astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # of float samples without a limit
            for channel in channels[1:]:
                mono += -channel.astype(np.float32) if subtract else channel
            mono *= np.float32(1.0 / (scale * len(channels)))
        if offset:
            mono -= np.float32(offset / scale)
        return finite(mono)

    def _decide(self, channels: Channels, scale: float) -> None:
        """Decide whether the channels cancel each other out."""
        some = [finite(channel[::_STRIDE].astype(np.float32)) / np.float32(scale) for channel in channels]
        powers = [float(np.var(samples)) for samples in some]
        mean_power = float(np.var(sum(some) / np.float32(len(some))))
        n_samples = len(channels[0])
        kept = np.exp(-n_samples / self._memory_samples)
        self._mean_power = kept * self._mean_power + n_samples * mean_power
        self._unrelated_power = kept * self._unrelated_power + n_samples * sum(powers) / len(powers) ** 2
        if max(powers) < _MIN_POWER:
            return
        if self._channel is None and self._mean_power < _CANCELLED_BELOW * self._unrelated_power:
            self._channel = int(np.argmax(powers))
        elif self._mean_power > _RESTORED_ABOVE * self._unrelated_power:
            self._channel = None


def finite(samples: FloatArray) -> FloatArray:
    """Replace NaN and infinity by 0 and limit huge values of ``(...)`` float32, in place; return the array.

    Files with float samples may contain them.
    """
    if not np.abs(samples).max(initial=0) <= _MAX_AMPLITUDE:
        np.nan_to_num(samples, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(samples, -_MAX_AMPLITUDE, _MAX_AMPLITUDE, out=samples)
    return samples
