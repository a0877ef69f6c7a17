"""Correct log-mel frames for the speed of the music.

Music that plays faster is compressed in time and has higher frequencies. Interpolation of the frames undoes
both, without the waveform. Source: R. Keys, Cubic Convolution Interpolation, IEEE TASSP 29, 1981.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.frontend import POWER_FLOOR, FloatArray
from overheard.fingerprint.spec import FrontendSpec

EMPTY_DB = float(10 * np.log10(POWER_FLOOR))  # of bands above the highest frequency of the sound


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast music plays, as multiples of the track's own tempo and pitch."""

    tempo: float = 1.0
    pitch: float = 1.0

    @classmethod
    def of(cls, both: float) -> Speed:
        """Return the speed of a turntable, which changes tempo and pitch alike."""
        return cls(both, both)


NORMAL = Speed()


def corrected(
    frames: FloatArray, positions: npt.NDArray[np.float64], pitch: float, spec: FrontendSpec
) -> FloatArray:
    """Interpolate frames in time and in frequency.

    Parameters
    ----------
    frames : (n, n_mels) float32, dB
    positions : (...) float64, of the wanted frames; those outside 0 to n - 1 are clipped
    pitch : frequencies of the sound as multiples of those that are wanted
    spec : of the frames

    Returns
    -------
    (..., n_mels) float32, dB
    """
    rows, weights = _cubic(positions.ravel(), len(frames))
    between: FloatArray = np.einsum("nk,nkm->nm", weights, frames[rows])
    if pitch != 1.0:
        matrix, empty = _bands(spec, pitch)
        between = between @ matrix
        between[:, empty] = EMPTY_DB
    return between.reshape(*positions.shape, spec.n_mels)


@functools.lru_cache(maxsize=16)
def _bands(spec: FrontendSpec, pitch: float) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Return the weights of the bands ``(n_mels, n_mels)``, and which bands have no source ``(n_mels,)``."""
    mels = 2595.0 * np.log10(1.0 + np.array([spec.f_min, spec.f_max]) / 700.0)  # as in the front-end
    centers = np.linspace(mels[0], mels[1], spec.n_mels + 2)[1:-1]
    heard = 2595.0 * np.log10(1.0 + (10.0 ** (centers / 2595.0) - 1.0) * pitch)
    at = (heard - centers[0]) / (centers[1] - centers[0])
    rows, weights = _cubic(at, spec.n_mels)
    matrix = np.zeros((spec.n_mels, spec.n_mels), np.float32)
    for k in range(rows.shape[1]):
        np.add.at(matrix, (rows[:, k], np.arange(spec.n_mels)), weights[:, k])
    return matrix, at > spec.n_mels - 0.5


def _cubic(positions: npt.NDArray[np.float64], n: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Return the four neighbours of each position among n places, and their weights; (p, 4) each."""
    positions = np.clip(positions, 0, n - 1)
    first = np.floor(positions).astype(np.int64)
    t = positions - first
    weights = np.stack(
        [
            t * (-1 + t * (2 - t)) / 2,
            1 + t * t * (-5 + 3 * t) / 2,
            t * (1 + t * (4 - 3 * t)) / 2,
            t * t * (t - 1) / 2,
        ],
        axis=1,
    )
    rows = np.clip(first[:, None] + np.arange(-1, 3), 0, n - 1)
    return rows, weights.astype(np.float32)
