"""The quality estimator's fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="fitting an estimator needs requirements-train.txt")

from small_models import segments

import train_corpus
from overheard.fingerprint.spec import SPEC
from overheard_export.quality import quality_pairs, train_quality
from overheard_train.data import open_data


def test_noise_is_distinguished_from_sound() -> None:
    rng = np.random.default_rng(0)
    noisiness = rng.random(1200).astype(np.float32)
    noise = rng.standard_normal((1200, SPEC.n_frames, SPEC.frontend.n_mels)).astype(np.float32)
    heard = segments(1200, 1) + noisiness[:, None, None] * noise
    fit = train_quality(heard, 1 - noisiness)
    assert fit.explained > 0.7
    none = train_quality(heard[:400], rng.permutation(noisiness)[:400])
    assert none.explained < 0.2


def test_pairs_are_degraded_segments_with_their_similarity_to_the_clean_ones(tmp_path: Path) -> None:
    corpus = train_corpus.write_corpus(tmp_path / "corpus")
    given: list[np.ndarray] = []

    def embed(some: np.ndarray) -> np.ndarray:
        given.append(some)
        flat = some[:, ::4, ::4].reshape(len(some), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    heard, cosines = quality_pairs(embed, SPEC, open_data([corpus]), 40)
    assert heard.shape == (40, SPEC.n_frames, SPEC.frontend.n_mels)
    assert cosines.shape == (40,)
    np.testing.assert_array_equal(heard[:5], given[1])
    assert cosines[:5].mean() > cosines[5:].mean()  # the first eighth is not degraded
