"""Describe the texture of each second of sound: how it changes over time and frequency, in a few numbers.

Music has steady pitches and sudden onsets, speech has glides and pauses, noise is uniform. Means of
differences over time and frequency show this. They cost little, hardly depend on the level, and are
sufficient as input of a small network.
"""

from __future__ import annotations

import collections
import math

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.spec import SPEC

FloatArray = npt.NDArray[np.float32]

SECONDS = 4  # of sound that the features describe
POOLED_FRAMES = 2  # frames per column: neighbouring frames overlap so much that they say the same
COLUMNS = 16  # of one second
HISTORY = 8  # columns before a second, with which it is compared
LEAD_FRAMES = 4  # the first second is shorter by so much, so that it is complete within one second of sound
RANGE_DB = 60.0  # what is further below the loudest value of the last seconds is clipped
BANDS = 6  # neighbouring mel bands are averaged
LAGS = (1, 2, 4, 8)  # columns between two values that are compared
RISES = LAGS[:2]  # over these, rises count also without falls
SMOOTHED = (4, 12)  # columns that are averaged before neighbouring mel bands are compared
N_TEXTURES = 1 + len(LAGS) + len(RISES) + 1 + len(SMOOTHED) + 2
N_FEATURES = 2 * N_TEXTURES * BANDS + 1


class Texture:
    """Compute the features of each second of sound from its log-mel frames."""

    def __init__(self) -> None:
        self._history: FloatArray | None = None
        self._tops: collections.deque[float] = collections.deque(maxlen=SECONDS)
        self._seconds: collections.deque[FloatArray] = collections.deque(maxlen=SECONDS)

    @property
    def n_needed(self) -> int:
        """Number of frames of the next second."""
        return COLUMNS * POOLED_FRAMES - (LEAD_FRAMES if self._history is None else 0)

    def update(self, frames: FloatArray) -> FloatArray:
        """Add the frames of a second, ``(n_needed, n_mels)`` float32 in dB; return ``(N_FEATURES,)`` float32.

        The features are those of the last seconds, on average, and then those of this second alone.
        """
        pooled = (frames[::2] + frames[1::2]) * np.float32(0.5)
        if self._history is None:
            self._history = np.repeat(pooled[:1], HISTORY + COLUMNS - len(pooled), axis=0)
        columns = np.concatenate([self._history, pooled])
        self._history = columns[-HISTORY:].copy()  # `columns` is changed below
        self._tops.append(float(pooled.max()))
        columns -= np.float32(max(self._tops) - RANGE_DB)
        columns *= np.float32(1 / RANGE_DB)
        np.maximum(columns, 0, out=columns)
        self._seconds.append(textures(columns))
        mean = _mean(self._seconds)
        share = len(self._seconds) / SECONDS
        return np.concatenate([mean, self._seconds[-1], np.array([share], np.float32)])


def _mean(seconds: collections.deque[FloatArray]) -> FloatArray:
    total = seconds[0].copy()
    for number in range(1, len(seconds)):
        total += seconds[number]
    total *= np.float32(1 / len(seconds))
    return total


def _combinations() -> FloatArray:
    """Return a matrix whose product with the columns of a second has their changes and smoothed columns.

    Its rows are, for each new column: the change over each of :data:`LAGS`, the column itself, and its mean
    with those before it for each of :data:`SMOOTHED`. Then come the mean changes over the lags of
    :data:`RISES`, and the mean of the new columns.
    """
    rows = np.zeros((len(LAGS) + 1 + len(SMOOTHED), COLUMNS, HISTORY + COLUMNS), np.float32)
    for column in range(COLUMNS):
        rows[:, column, HISTORY + column] = 1
        for number, lag in enumerate(LAGS):
            rows[number, column, HISTORY + column - lag] = -1
        for number, n in enumerate(SMOOTHED, len(LAGS) + 1):
            first = max(0, HISTORY + column + 1 - n)
            rows[number, column, first : HISTORY + column + 1] = 1 / (HISTORY + column + 1 - first)
    means = rows[[*range(len(RISES)), len(LAGS)]].mean(axis=1)
    return np.concatenate([rows.reshape(-1, HISTORY + COLUMNS), means])


def _bands() -> FloatArray:
    """Return a matrix ``(n_mels, BANDS)`` whose product with mel values is their mean in each band."""
    n_mels = SPEC.frontend.n_mels
    matrix: FloatArray = np.repeat(np.eye(BANDS, dtype=np.float32), n_mels // BANDS, axis=0)
    return matrix * np.float32(BANDS / n_mels)


_COMBINATIONS, _BANDS = _combinations(), _bands()


def textures(levels: FloatArray) -> FloatArray:
    """Return the textures of a second, ``(N_TEXTURES * BANDS,)`` float32.

    Parameters
    ----------
    levels : (HISTORY + COLUMNS, n_mels) float32, 0 to 1

    Notes
    -----
    They are, for each band: mean level; mean change over each of :data:`LAGS`; mean rise over :data:`RISES`;
    mean curvature over frequency, of single columns and of means over :data:`SMOOTHED` columns; deviation of
    the level over time; the largest curvature of the longest means.
    """
    n_lags, n_rises, width = len(LAGS), len(RISES), levels.shape[1]
    combined = _COMBINATIONS @ levels
    sizes = np.empty((n_lags + 1 + len(SMOOTHED), COLUMNS, width), np.float32)
    changes, curved = sizes[:n_lags].reshape(-1), sizes[n_lags:].reshape(-1)
    np.abs(combined[: n_lags * COLUMNS].reshape(-1), out=changes)
    slopes = np.diff(combined[n_lags * COLUMNS : -n_rises - 1].reshape(-1))
    np.abs(slopes[1:] - slopes[:-1], out=curved[1:-1])
    sizes[n_lags:, :, :: width - 1] = 0  # the edges, where `slopes` goes from one column to the next
    found = np.empty((N_TEXTURES, width), np.float32)
    means = np.add.reduce(sizes, axis=1)
    means *= np.float32(1 / COLUMNS)
    found[0], found[1 : 1 + n_lags] = combined[-1], means[:n_lags]
    found[1 + n_lags + n_rises : -2] = means[n_lags:]
    # The mean rise is half of the mean change and its mean size together.
    rises = found[1 + n_lags : 1 + n_lags + n_rises]
    np.add(means[:n_rises], combined[-n_rises - 1 : -1], out=rises)
    rises *= np.float32(0.5)
    deviation = levels[HISTORY:] - combined[-1]
    np.sqrt(np.einsum("ij,ij->j", deviation, deviation), out=found[-2])
    found[-2] *= np.float32(1 / math.sqrt(COLUMNS))
    np.maximum.reduce(sizes[-1], axis=0, out=found[-1])
    return (found @ _BANDS).reshape(-1)


def texture_spec() -> tuple[float, ...]:
    """Return all parameters of the features."""
    return (SECONDS, POOLED_FRAMES, HISTORY, LEAD_FRAMES, RANGE_DB, BANDS, *LAGS, *SMOOTHED)
