"""Building blocks of synthetic sounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import scipy.fft

from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import SPEC

Maker = Callable[[np.random.Generator, int], FloatArray]
Times = npt.NDArray[np.float64]

RATE = SPEC.frontend.sample_rate


def times(n: int) -> Times:
    """Return the seconds of `n` samples."""
    return np.arange(n) / RATE


def as_float(samples: npt.NDArray[np.floating]) -> FloatArray:
    """Return samples as float32."""
    converted: FloatArray = samples.astype(np.float32)
    return converted


def pitch(rng: np.random.Generator, low: float = 80, high: float = 3500) -> float:
    """Return a random frequency in Hz, evenly spread in octaves."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def coloured(rng: np.random.Generator, n: int, slope: float) -> Times:
    """Return noise of unit power whose power falls with frequency to the power of `slope`."""
    spectrum = scipy.fft.rfft(rng.standard_normal(n))
    hz = np.maximum(scipy.fft.rfftfreq(n, 1 / RATE), 20)
    noise: Times = scipy.fft.irfft(spectrum * hz ** (-slope / 2), n)
    noise /= np.sqrt(np.mean(noise**2))
    return noise
