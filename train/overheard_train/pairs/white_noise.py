"""Pairs of a clean segment and the same with additive white Gaussian noise: J. Woo's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from overheard.fingerprint.frontend import log_mel, normalize_segments
from overheard.fingerprint.spec import FingerprintSpec
from overheard_train.pairs import Batch, draw_tracks, labels_of, music_to_learn, same_music

if TYPE_CHECKING:
    from overheard_train.data import Clips, Data


class WhiteNoisePairs:
    """Makes pairs of music and music in white noise.

    Parameters
    ----------
    snr_db : uniform range; the report gives none
    """

    def __init__(
        self, spec: FingerprintSpec, music: Clips, snr_db: tuple[float, float], views: int = 2
    ) -> None:
        self.spec, self.music, self.snr_db, self.views = spec, music, snr_db, views
        self._groups = same_music(music.paths)

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return segments and labels; see :mod:`overheard_train.pairs`."""
        tracks = draw_tracks(rng, len(self.music), n_pairs)
        shape = (self.views, n_pairs, self.spec.n_frames, self.spec.frontend.n_mels)
        segments = np.empty(shape, dtype=np.float32)
        for pair, track in enumerate(tracks):
            clean = self._excerpt(rng, int(track))
            waveforms = np.stack([clean, *(self._noisy(rng, clean) for _ in range(1, self.views))])
            segments[:, pair] = normalize_segments(log_mel(waveforms, self.spec.frontend), self.spec)
        return segments.reshape(-1, *shape[2:]), labels_of(self._groups[tracks], self.views)

    def _excerpt(self, rng: np.random.Generator, track: int) -> np.ndarray:
        clip, samples = self.music.clip(track), self.spec.segment_samples
        start = int(rng.integers(max(1, len(clip) - samples)))
        return np.resize(clip[start : start + samples], samples).astype(np.float32) / np.float32(32768)

    def _noisy(self, rng: np.random.Generator, clean: np.ndarray) -> np.ndarray:
        level = float(np.sqrt(np.mean(clean**2))) * 10 ** (-rng.uniform(*self.snr_db) / 20)
        return clean + rng.standard_normal(len(clean), dtype=np.float32) * np.float32(level)


def make(
    spec: FingerprintSpec,
    data: Data,
    split: str,
    seed: int,
    views: int = 2,
    snr_db: tuple[float, float] = (0.0, 20.0),
) -> WhiteNoisePairs:
    """Make the maker; ``seed`` has nothing to choose here."""
    return WhiteNoisePairs(spec, music_to_learn(data, split, spec), snr_db, views)
