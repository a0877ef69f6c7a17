"""Measure how long two recordings contain the same recorded sound, from waveforms and without the model.

Pieces of one game or album are often mixed from the same recordings: a drum loop, a pad, a whole stem. Where
they are, the waveforms correlate at one lag for as long as the shared sound plays. Chords and drones that are
merely alike correlate too, but the lag is another one in each window.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import lfilter, resample_poly

from overheard.hear.resampler import to_float
from overheard_bench.corpus import SAMPLE_RATE

RATE = 2000  # Hz; most energy is below 1 kHz
WINDOW_S = 10
EMPHASIS = 0.95  # of high frequencies: steady bass correlates at many lags
SAME_LAG_S = 0.002  # lags that differ by no more are the same
QUIET = 0.1  # level below which stretches count as silent, relative to the median
_WINDOW = WINDOW_S * RATE
_Waveform = npt.NDArray[np.float32]


class Recording:
    """A recording that is prepared for comparison.

    Parameters
    ----------
    samples : (n,) int16 at 8 kHz
    """

    def __init__(self, samples: npt.NDArray[np.int16]) -> None:
        reduced = resample_poly(to_float(samples), RATE, SAMPLE_RATE)
        self.waveform: _Waveform = lfilter([1, -EMPHASIS], [1], reduced).astype(np.float32)

    @functools.cached_property
    def levels(self) -> _Waveform:
        """The norm of each stretch of a window's length, (n - window + 1,)."""
        energy = np.concatenate([[0], np.cumsum(self.waveform.astype(np.float64) ** 2)])
        norms = np.sqrt(np.maximum(energy[_WINDOW:] - energy[:-_WINDOW], 1e-9))
        levels: _Waveform = np.maximum(norms, QUIET * np.median(norms)).astype(np.float32)
        return levels

    @functools.cached_property
    def spectrum(self) -> npt.NDArray[np.complex64]:
        """The Fourier transform, with room for a window."""
        found: npt.NDArray[np.complex64] = rfft(self.waveform, self.size)
        return found

    @property
    def size(self) -> int:
        """Length of the transform."""
        return int(next_fast_len(len(self.waveform) + _WINDOW, real=True))


def shared_s(first: Recording, second: Recording) -> float:
    """Return for how many seconds two recordings contain the same recorded sound.

    These are the windows of the shorter recording that correlate best with the longer one at the same lag as
    the window before or after.
    """
    shorter, longer = sorted((first, second), key=lambda one: len(one.waveform))
    lags_s = _lags_s(shorter.waveform, longer)
    same = np.abs(np.diff(lags_s)) <= SAME_LAG_S  # never with a silent window, which has no lag
    shares = np.zeros(len(lags_s), bool)
    shares[1:] |= same
    shares[:-1] |= same
    return float(WINDOW_S * np.count_nonzero(shares))


def _lags_s(waveform: _Waveform, other: Recording) -> npt.NDArray[np.float64]:
    """Return at which lag each window correlates best with another recording; nan for silent windows."""
    n_windows = len(waveform) // _WINDOW
    lags_s = np.full(n_windows, np.nan)
    for i in range(n_windows):
        window = waveform[i * _WINDOW : (i + 1) * _WINDOW]
        if np.any(window):
            products = irfft(other.spectrum * np.conj(rfft(window, other.size)), other.size)
            best = int(np.argmax(np.abs(products[: len(other.levels)]) / other.levels))
            lags_s[i] = (best - i * _WINDOW) / RATE
    return lags_s
