"""Frequency responses that music passes on its way into a microphone: rooms, microphones, tone controls."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import scipy.fft

from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import SPEC

ComplexArray = npt.NDArray[np.complex64]

RATE = SPEC.frontend.sample_rate
FAR_SHARE = 0.45  # of the rooms: the reverberation is louder than what comes straight


@functools.lru_cache(maxsize=2)
def log_frequencies(window_samples: int) -> FloatArray:
    """Return the logarithms of a window's frequencies, the first -inf, ``(window_samples // 2 + 1,)``."""
    with np.errstate(divide="ignore"):
        return np.log(scipy.fft.rfftfreq(window_samples, 1 / RATE)).astype(np.float32)


def room_variations(
    measured: list[FloatArray],
    rng: np.random.Generator,
    n_measured: int,
    n_synthetic: int,
    window_samples: int,
) -> ComplexArray:
    """Return spectra of room responses, ``(n, window_samples // 2 + 1)`` complex64.

    Measured rooms get a new direct-to-reverberant ratio and a shorter decay; synthetic ones are sparse
    reflections and noise that decays faster at high frequencies.
    """
    spectra = np.empty((n_measured + n_synthetic, window_samples // 2 + 1), dtype=np.complex64)
    for index in range(n_measured):
        response = measured[int(rng.integers(len(measured)))]
        spectra[index] = _spectrum(_rescale_room(response, rng), window_samples)
    for index in range(n_synthetic):
        spectra[n_measured + index] = _spectrum(_rescale_room(_synthesize_room(rng), rng), window_samples)
    return spectra


def _spectrum(response: FloatArray, window_samples: int) -> ComplexArray:
    spectrum: ComplexArray = scipy.fft.rfft(response[:window_samples], window_samples)
    return spectrum / np.float32(np.sqrt(np.mean(np.abs(spectrum) ** 2)))


def _synthesize_room(rng: np.random.Generator) -> FloatArray:
    n_samples = int(0.9 * RATE)
    times = np.arange(n_samples, dtype=np.float32) / RATE
    response = np.zeros(n_samples, dtype=np.float32)
    low = rng.uniform(0.15, 0.9)
    for band_decay, smoothing in ((low, 6), (low * rng.uniform(0.4, 1.0), 1)):
        noise = rng.standard_normal(n_samples).astype(np.float32)
        noise = np.convolve(noise, np.ones(smoothing, dtype=np.float32) / smoothing, mode="same")
        response += noise * np.exp(-6.9 * times / band_decay) * rng.uniform(0.5, 1.5)
    gap = int(rng.uniform(0.002, 0.02) * RATE)
    tail = np.concatenate([np.zeros(gap, dtype=np.float32), response[:-gap]])
    for _ in range(int(rng.integers(2, 12))):
        tail[int(rng.uniform(0.001, 0.06) * RATE)] += rng.uniform(-4, 4)
    tail[0] = 10.0
    return tail


def _rescale_room(response: FloatArray, rng: np.random.Generator) -> FloatArray:
    onset = int(np.argmax(np.abs(response)))
    response = response[max(0, onset - 8) :][: int(1.2 * RATE)].astype(np.float32)
    onset = int(np.argmax(np.abs(response)))
    direct_end = onset + int(0.0025 * RATE)
    times = np.arange(len(response), dtype=np.float32) / RATE
    tail = response.copy()
    tail[:direct_end] = 0
    tail *= np.exp(-6.9 * times / rng.uniform(0.3, 1.5))
    direct = response[:direct_end]
    ratio_db = rng.uniform(-15, 0) if rng.random() < FAR_SHARE else rng.uniform(0, 12)
    tail_energy = float(np.sum(tail**2))
    if tail_energy > 0:
        tail *= np.sqrt(float(np.sum(direct**2)) / tail_energy) * 10 ** (-ratio_db / 20)
    tail[:direct_end] = direct
    return tail


def microphone_responses(measured: list[FloatArray], window_samples: int) -> FloatArray:
    """Return magnitudes of measured microphones and cabinets, ``(n, window_samples // 2 + 1)``."""
    magnitudes = [np.abs(scipy.fft.rfft(response[:window_samples], window_samples)) for response in measured]
    return np.stack([m / np.sqrt(np.mean(m**2)) for m in magnitudes]).astype(np.float32)


def random_equalizer(rng: np.random.Generator, depth_db: float, window_samples: int) -> FloatArray:
    """Return a smooth random magnitude response, ``(window_samples // 2 + 1,)``."""
    n_points = int(rng.integers(4, 10))
    knots = np.geomspace(50, RATE / 2, n_points)
    gains = rng.normal(0, depth_db / 2, n_points)
    gains_db = np.interp(log_frequencies(window_samples), np.log(knots), gains).astype(np.float32)
    response: FloatArray = np.exp(gains_db * np.float32(np.log(10) / 20))
    return response


def band_limit(rng: np.random.Generator, window_samples: int) -> FloatArray:
    """Return the magnitude of a random high-pass (60-250 Hz) and low-pass (3-3.9 kHz)."""
    high_pass, low_pass = rng.uniform(60, 250), rng.uniform(3000, 3900)
    order = int(rng.integers(1, 5))
    log_hz = log_frequencies(window_samples)
    up = np.exp(2 * order * (log_hz - np.float32(np.log(high_pass))))
    down = np.exp(2 * int(rng.integers(2, 7)) * (log_hz - np.float32(np.log(low_pass))))
    response: FloatArray = np.sqrt(up / (1 + up) / (1 + down))
    return response
