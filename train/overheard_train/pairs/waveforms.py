"""Operations on waveforms: level, speed, windows of a recording, overdrive and hiss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.frontend import FloatArray
from overheard.hear.resampler import to_float
from overheard_train.pairs.degradation import Degradation

OVERDRIVE_DB = (2.0, 8.0)
OVERDRIVE_HEADROOM = 2.5  # peaks of music are about this many times its RMS
HISS_DB = (-60.0, -25.0)  # relative to the signal


def rms(samples: npt.NDArray[np.floating]) -> float:
    """Return the root mean square of samples ``(n,)``."""
    return float(np.sqrt(np.vdot(samples, samples).real / max(1, samples.size)))


def samples_needed(n_samples: int, factor: float) -> int:
    """Return the number of samples that :func:`resample` needs for `n_samples`."""
    return int(n_samples * factor) + 2


def resample(samples: FloatArray, factor: float, n_samples: int) -> FloatArray:
    """Play samples ``factor`` times as fast, by linear interpolation; returns ``(n_samples,)`` float32."""
    return _interpolate(samples, np.arange(n_samples) * factor)


def resample_about(samples: FloatArray, factor: float, center: float) -> FloatArray:
    """Play samples ``factor`` times as fast; the sample at ``center`` stays at its position."""
    positions = (np.arange(len(samples)) - center) * factor + center
    return _interpolate(samples, np.clip(positions, 0, len(samples) - 2))


def _interpolate(samples: FloatArray, positions: npt.NDArray[np.floating]) -> FloatArray:
    left = positions.astype(np.int64)
    weight = (positions - left).astype(np.float32)
    values: FloatArray = samples[left] * (1 - weight) + samples[left + 1] * weight
    return values


def window_at(clip: npt.NDArray[np.int16], start: int, factor: float, n_samples: int) -> FloatArray:
    """Return a window of a recording, ``(n_samples,)`` float32, repeated if the recording is too short.

    Parameters
    ----------
    clip : (n,) int16
    start : first sample
    factor : speed; 1 is the original
    """
    needed = samples_needed(n_samples, factor)
    raw = to_float(clip[start : start + needed])
    if len(raw) < needed:
        raw = np.resize(raw, needed)
    return raw[:n_samples] if factor == 1.0 else resample(raw, factor, n_samples)


def swell(noise: FloatArray, rng: np.random.Generator, depth_db: float) -> FloatArray:
    """Vary the level of a noise by up to ``depth_db``, a few times within the window."""
    n_knots = int(rng.integers(2, 24))
    knots = np.linspace(0, len(noise) - 1, n_knots)
    levels_db = np.interp(np.arange(len(noise)), knots, rng.uniform(-depth_db, 0, n_knots))
    return noise * (10 ** (levels_db / 20)).astype(np.float32)


def distort(signal: FloatArray, degradation: Degradation, rng: np.random.Generator) -> FloatArray:
    """Normalize a signal ``(n,)`` to an RMS of 1, and add overdrive, clipping and hiss."""
    signal = signal / np.float32(max(rms(signal), 1e-9))
    if rng.random() < degradation.overdrive:
        drive = np.float32(10 ** (rng.uniform(*OVERDRIVE_DB) / 20) / OVERDRIVE_HEADROOM)
        signal = np.tanh(signal * drive)
        if rng.random() < 0.5:
            limit = np.float32(rng.uniform(0.5, 0.95))
            signal = np.clip(signal, -limit, limit)
    if rng.random() < degradation.hiss:
        hiss = rng.standard_normal(len(signal), dtype=np.float32)
        signal = signal + hiss * np.float32(10 ** (rng.uniform(*HISS_DB) / 20))
    return signal


def mask(segment: FloatArray, degradation: Degradation, rng: np.random.Generator) -> None:
    """Fill a stretch of frames, and one of mel bands, of a segment ``(n_frames, n_mels)`` with its mean."""
    frames = int(rng.integers(1, degradation.max_mask_frames + 1))
    mels = int(rng.integers(1, degradation.max_mask_mels + 1))
    first_frame = int(rng.integers(segment.shape[0] - frames + 1))
    first_mel = int(rng.integers(segment.shape[1] - mels + 1))
    fill = segment.mean()
    if rng.random() < 0.6:
        segment[first_frame : first_frame + frames] = fill
    if rng.random() < 0.6:
        segment[:, first_mel : first_mel + mels] = fill
