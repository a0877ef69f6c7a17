"""The similarity that a segment's sound quality makes likely."""

from __future__ import annotations

import numpy as np
import pytest

from overheard.demo.synth import synthesize
from overheard.errors import ModelError
from overheard.fingerprint.embedder import Embedder, query_waveform
from overheard.fingerprint.model import default_model
from overheard.fingerprint.quality import PATCH, QualityEstimator, patches_of


@pytest.fixture(scope="module")
def estimator() -> QualityEstimator:
    return default_model().quality


def test_patches_are_squares_and_the_remainder_is_dropped() -> None:
    rows, columns = np.mgrid[0 : 2 * PATCH + 3, 0 : 3 * PATCH + 5]
    segment = (1000 * rows + columns).astype(np.float32)
    patches = patches_of(segment[None])
    assert patches.shape == (1, 6, PATCH * PATCH)
    np.testing.assert_array_equal(patches[0, 4], segment[PATCH : 2 * PATCH, PATCH : 2 * PATCH].ravel())


def test_the_estimate_depends_on_the_set_of_patches_of_its_own_segment_only(
    estimator: QualityEstimator,
) -> None:
    rng = np.random.default_rng(0)
    segments = rng.standard_normal((5, 48, 96)).astype(np.float32)
    together = estimator.expect(segments)
    np.testing.assert_allclose(together[3:4], estimator.expect(segments[3:4]), atol=1e-5)
    swapped = np.roll(segments, PATCH, axis=2)
    np.testing.assert_allclose(together, estimator.expect(swapped), atol=1e-5)
    assert together.std() > 0


def test_more_noise_lowers_the_expected_similarity() -> None:
    embedder, expected = Embedder(default_model()), []
    for gain in (0.001, 0.3, 2.0):
        waveforms = [synthesize(seed, 20.0).waveform for seed in range(300, 304)]
        rng = np.random.default_rng(1)
        noises = [gain * w.std() * rng.standard_normal(len(w)).astype(np.float32) for w in waveforms]
        heard = [query_waveform(embedder, w + n, 32).expected for w, n in zip(waveforms, noises, strict=True)]
        expected.append(np.concatenate(heard).mean())
    assert expected[0] > expected[1] > expected[2]


def test_round_trip_and_invalid_bytes(estimator: QualityEstimator) -> None:
    stored = estimator.to_bytes()
    segments = np.random.default_rng(2).standard_normal((2, 48, 96)).astype(np.float32)
    again = QualityEstimator.from_bytes(stored)
    np.testing.assert_array_equal(again.expect(segments), estimator.expect(segments))
    for other in (b"", b"nothing of the kind", stored[:-200]):
        with pytest.raises(ModelError) as raised:
            QualityEstimator.from_bytes(other)
        assert "\n" not in str(raised.value)


def test_layers_with_inconsistent_shapes_are_refused(estimator: QualityEstimator) -> None:
    weights = (*estimator.weights[:3], estimator.weights[3][:-1])
    with pytest.raises(ModelError, match="layer 3 has shape"):
        QualityEstimator.from_bytes(QualityEstimator(weights, estimator.biases).to_bytes())
