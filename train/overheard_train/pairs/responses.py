"""Frequency responses between a loudspeaker and a recording: rooms, microphones, equalizers, band limits."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import scipy.fft

from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import SPEC

ComplexArray = npt.NDArray[np.complex64]

RATE = SPEC.frontend.sample_rate
FAR_SHARE = 0.45  # of the rooms: the microphone is so far that reverberation exceeds the direct sound
NEAR_DB, FAR_DB = (0, 12), (-15, 0)  # direct-to-reverberant ratio
DIRECT_S = 0.0025  # length of the direct sound after its peak
RESPONSE_S, SYNTHESIZED_S = 1.2, 0.9  # length of a room response
DECAY_60_DB = 6.9  # nepers: ln(1000)


@functools.lru_cache(maxsize=2)
def log_frequencies(window_samples: int) -> FloatArray:
    """Return the logarithms of a window's frequencies in Hz, ``(window_samples // 2 + 1,)``."""
    with np.errstate(divide="ignore"):
        logarithms: FloatArray = np.log(scipy.fft.rfftfreq(window_samples, 1 / RATE)).astype(np.float32)
    return logarithms


def room_variations(
    measured: list[FloatArray],
    rng: np.random.Generator,
    n_measured: int,
    n_synthetic: int,
    window_samples: int,
) -> ComplexArray:
    """Return spectra of varied room responses, ``(n, window_samples // 2 + 1)`` complex64, mean power 1.

    A measured room gets a new direct-to-reverberant ratio and a shorter decay. A synthetic one consists of
    sparse reflections and of noise that decays faster at high frequencies.

    Parameters
    ----------
    measured : room responses, each (n,) float32
    n_measured, n_synthetic : number of variations of measured rooms, and number of synthetic rooms
    window_samples : length of the window to filter
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
    n_samples = int(SYNTHESIZED_S * RATE)
    times = np.arange(n_samples, dtype=np.float32) / RATE
    response = np.zeros(n_samples, dtype=np.float32)
    low = rng.uniform(0.15, 0.9)
    for band_decay, smoothing in ((low, 6), (low * rng.uniform(0.4, 1.0), 1)):
        white = rng.standard_normal(n_samples).astype(np.float32)
        noise = np.convolve(white, np.ones(smoothing, dtype=np.float32) / smoothing, mode="same")
        decay = np.exp(-DECAY_60_DB * times / band_decay)
        response += noise * decay * rng.uniform(0.5, 1.5)
    gap = int(rng.uniform(0.002, 0.02) * RATE)
    tail = np.concatenate([np.zeros(gap, dtype=np.float32), response[:-gap]])
    for _ in range(int(rng.integers(2, 12))):
        tail[int(rng.uniform(0.001, 0.06) * RATE)] += rng.uniform(-4, 4)
    tail[0] = 10.0
    return tail


def _rescale_room(response: FloatArray, rng: np.random.Generator) -> FloatArray:
    onset = int(np.argmax(np.abs(response)))
    response = response[max(0, onset - 8) :][: int(RESPONSE_S * RATE)].astype(np.float32)
    onset = int(np.argmax(np.abs(response)))
    direct_end = onset + int(DIRECT_S * RATE)
    times = np.arange(len(response), dtype=np.float32) / RATE
    tail = response.copy()
    tail[:direct_end] = 0
    tail *= np.exp(-DECAY_60_DB * times / rng.uniform(0.3, 1.5))
    direct = response[:direct_end]
    ratio_db = rng.uniform(*FAR_DB) if rng.random() < FAR_SHARE else rng.uniform(*NEAR_DB)
    tail_energy = float(np.sum(tail**2))
    if tail_energy > 0:
        tail *= np.sqrt(float(np.sum(direct**2)) / tail_energy) * 10 ** (-ratio_db / 20)
    tail[:direct_end] = direct
    return tail


def microphone_responses(measured: list[FloatArray], window_samples: int) -> FloatArray:
    """Return magnitudes of measured microphones and loudspeakers, ``(n, window_samples // 2 + 1)`` float32.

    Their mean power is 1.
    """
    magnitudes = [np.abs(scipy.fft.rfft(response[:window_samples], window_samples)) for response in measured]
    return np.stack([m / np.sqrt(np.mean(m**2)) for m in magnitudes]).astype(np.float32)


def random_equalizer(rng: np.random.Generator, depth_db: float, window_samples: int) -> FloatArray:
    """Return a smooth random magnitude response, ``(window_samples // 2 + 1,)`` float32.

    Parameters
    ----------
    depth_db : two standard deviations of the gain
    """
    n_points = int(rng.integers(4, 10))
    knots = np.geomspace(50, RATE / 2, n_points)
    gains = rng.normal(0, depth_db / 2, n_points)
    gains_db = np.interp(log_frequencies(window_samples), np.log(knots), gains).astype(np.float32)
    response: FloatArray = np.exp(gains_db * np.float32(np.log(10) / 20))
    return response


def band_limit(rng: np.random.Generator, window_samples: int) -> FloatArray:
    """Return the magnitude of a random high-pass at 60-250 Hz and low-pass at 3-3.9 kHz."""
    high_pass, low_pass = rng.uniform(60, 250), rng.uniform(3000, 3900)
    order = int(rng.integers(1, 5))
    log_hz = log_frequencies(window_samples)
    up = np.exp(2 * order * (log_hz - np.float32(np.log(high_pass))))
    down = np.exp(2 * int(rng.integers(2, 7)) * (log_hz - np.float32(np.log(low_pass))))
    response: FloatArray = np.sqrt(up / (1 + up) / (1 + down))
    return response
