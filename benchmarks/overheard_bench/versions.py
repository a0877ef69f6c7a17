"""Measure whether two recordings are versions of the same piece, from their harmony and without the model.

Two recordings are compared where their chroma features recur in the same order, at about the same tempo. The
longest such passage, allowing for some disagreement, is the measure `Qmax`.
Source: Serra, Serra and Andrzejak, Cross recurrence quantification for cover song identification, New Journal
of Physics 11, 2009, https://doi.org/10.1088/1367-2630/11/9/093017.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft

from overheard.hear.resampler import to_float
from overheard_bench.corpus import SAMPLE_RATE

N_FFT, HOP = 4096, 2000  # samples
LOWEST_HZ, HIGHEST_HZ = 100.0, 2000.0
WIDTH = 0.25  # semitones, standard deviation of a bin's weight around its pitch class
PEAK_BINS = 24  # on either side, whose median is the level of noise and drums
JOINED = 9  # successive features that form one state, 2.25 s
RECURRING = 0.095  # share of the states that count as near, in each recording
OPENS, EXTENDS = 5.0, 0.5  # cost of a disagreement, and of each further one
Features = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]


def chroma(samples: npt.NDArray[np.int16]) -> Features:
    """Return unit-norm chroma features of a recording, (n, 12), one every 0.25 s.

    Parameters
    ----------
    samples : (m,) int16 at 8 kHz
    """
    waveform = to_float(samples)
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(waveform, (0, N_FFT)), N_FFT)[::HOP]
    weights, window = _pitch_classes(), np.hanning(N_FFT).astype(np.float32)
    found = np.zeros((len(frames), 12), np.float32)
    for first in range(0, len(frames), 256):
        spectrum = np.abs(rfft(frames[first : first + 256] * window))[:, _bins()]
        level = np.log1p(1000 * spectrum / (spectrum.max() + 1e-6))
        found[first : first + 256] = np.maximum(level - _smooth(level), 0) @ weights
    return _unit(found)


def _bins() -> slice:
    return slice(round(LOWEST_HZ * N_FFT / SAMPLE_RATE), round(HIGHEST_HZ * N_FFT / SAMPLE_RATE))


@functools.cache
def _pitch_classes() -> Features:
    """Return the weight of each bin for each pitch class, (bins, 12) float32."""
    bins = _bins()
    hertz = np.arange(bins.start, bins.stop) * SAMPLE_RATE / N_FFT
    pitch = 12 * np.log2(hertz / 440.0)
    apart = (pitch[:, None] - np.arange(12) + 6) % 12 - 6
    weights: Features = np.exp(-((apart / WIDTH) ** 2) / 2).astype(np.float32)
    return weights


def _smooth(level: Features) -> Features:
    """Return the mean level around each bin."""
    size = 2 * PEAK_BINS + 1
    sums = np.cumsum(np.pad(level, ((0, 0), (PEAK_BINS + 1, PEAK_BINS)), mode="edge"), axis=1)
    mean: Features = ((sums[:, size:] - sums[:, :-size]) / size).astype(np.float32)
    return mean


def states(features: Features) -> Features:
    """Join successive features ``(n, 12)`` to states, (m, 12 * JOINED)."""
    if len(features) < JOINED:
        return np.zeros((0, 12 * JOINED), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(features, JOINED, axis=0)
    joined = windows.reshape(len(windows), -1)
    joined = joined - joined.mean(axis=0)  # a common key or drone is no evidence
    return _unit(joined)


def _unit(rows: Features) -> Features:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Features = (rows / np.maximum(norms, 1e-6)).astype(np.float32)
    return unit


def common_share(first: Features, second: Features) -> float:
    """Return which share of the shorter of two recordings the other one has too, in the same order, 0-1.

    Parameters
    ----------
    first, second : their states
    """
    shorter = min(len(first), len(second))
    return min(1.0, _longest(_recurring(first, second)) / shorter) if shorter else 0.0


def _recurring(first: Features, second: Features) -> _Mask:
    """Return which states are near to each other for both recordings, (m, n)."""
    similar = first @ second.T
    near = [similar >= np.quantile(similar, 1 - RECURRING, axis=axis, keepdims=True) for axis in (0, 1)]
    mask: _Mask = near[0] & near[1]
    return mask


def _longest(recurring: _Mask) -> float:
    """Return the largest value of Q (equation 3 of the source), row by row."""
    n = recurring.shape[1]
    before = [np.zeros(n + 2), np.zeros(n + 2)]  # of the last two rows, with two columns of padding
    cost = [np.full(n + 2, EXTENDS), np.full(n + 2, EXTENDS)]
    best = 0.0
    for row in recurring:
        steps = (before[1][1:-1], before[0][1:-1], before[1][:-2])
        costs = (cost[1][1:-1], cost[0][1:-1], cost[1][:-2])
        longer = np.maximum.reduce(steps) + 1
        ended = np.maximum.reduce([step - each for step, each in zip(steps, costs, strict=True)])
        new = np.concatenate([[0.0, 0.0], np.where(row, longer, np.maximum(ended, 0))])
        best = max(best, float(new.max()))
        before = [before[1], new]
        cost = [cost[1], np.concatenate([[EXTENDS, EXTENDS], np.where(row, OPENS, EXTENDS)])]
    return best
