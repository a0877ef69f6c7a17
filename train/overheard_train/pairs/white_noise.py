"""Pairs of a clean segment and the same segment with additive white Gaussian noise, as J. Woo trains on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from overheard.fingerprint.frontend import FloatArray, log_mel, normalize_segments
from overheard.fingerprint.spec import FingerprintSpec
from overheard.hear.resampler import to_float
from overheard_train.pairs.labels import Batch, draw_tracks, labels_of, near_duplicate_groups, training_music

if TYPE_CHECKING:
    from overheard_train.data import Clips, Data


class WhiteNoisePairs:
    """Make pairs of music and music in white noise.

    Parameters
    ----------
    snr_db : range of the signal-to-noise ratio, uniform; J. Woo's report gives none
    views : rows per pair, one of them clean
    """

    def __init__(
        self, spec: FingerprintSpec, music: Clips, snr_db: tuple[float, float], views: int = 2
    ) -> None:
        self.spec, self.music, self.snr_db, self.views = spec, music, snr_db, views
        self._groups = near_duplicate_groups(music.paths)

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return the segments and labels of a batch; see :mod:`overheard_train.pairs`."""
        tracks = draw_tracks(rng, len(self.music), n_pairs)
        shape = (self.views, n_pairs, self.spec.n_frames, self.spec.frontend.n_mels)
        segments = np.empty(shape, dtype=np.float32)
        for pair, track in enumerate(tracks):
            clean = self._excerpt(rng, int(track))
            waveforms = np.stack(
                [
                    clean,
                    *(add_white_noise(rng, clean, rng.uniform(*self.snr_db)) for _ in range(1, self.views)),
                ]
            )
            segments[:, pair] = normalize_segments(log_mel(waveforms, self.spec.frontend), self.spec)
        return segments.reshape(-1, *shape[2:]), labels_of(self._groups[tracks], self.views)

    def _excerpt(self, rng: np.random.Generator, track: int) -> FloatArray:
        clip, samples = self.music.clip(track), self.spec.segment_samples
        start = int(rng.integers(max(1, len(clip) - samples)))
        return to_float(np.resize(clip[start : start + samples], samples))


def add_white_noise(rng: np.random.Generator, clean: FloatArray, snr_db: float) -> FloatArray:
    """Return a waveform ``(n,)`` with white Gaussian noise at a signal-to-noise ratio."""
    level = float(np.sqrt(np.mean(clean**2))) * 10 ** (-snr_db / 20)
    return clean + rng.standard_normal(len(clean), dtype=np.float32) * np.float32(level)


def make(
    spec: FingerprintSpec,
    data: Data,
    split: str,
    seed: int,
    views: int = 2,
    snr_db: tuple[float, float] = (0.0, 20.0),
) -> WhiteNoisePairs:
    """Create the pair maker for one split of the data; it does not depend on ``seed``."""
    return WhiteNoisePairs(spec, training_music(data, split, spec), snr_db, views)
