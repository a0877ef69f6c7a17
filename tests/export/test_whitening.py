"""Whitening: directions that all embeddings share shrink, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting a model needs requirements-train.txt")

from small_models import segments

from overheard_export.whitening import whiten, whitening_matrix


def uneven(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    spread = np.array([3, 1, 0.5, 0.1]) * rng.standard_normal((n, 4))
    return spread @ np.linalg.qr(rng.standard_normal((4, 4)))[0]


def test_the_power_says_how_much_of_the_covariance_goes() -> None:
    points = uneven(5000)
    variances = np.linalg.eigvalsh(np.cov(points.T))
    for power in (0.0, 0.6, 1.0):
        whitened = np.linalg.eigvalsh(np.cov((points @ whitening_matrix(points, power)).T))
        expected = variances ** (1 - power)
        np.testing.assert_allclose(whitened / whitened.mean(), expected / expected.mean(), rtol=1e-3)


def test_a_direction_without_variance_is_not_stretched_without_end() -> None:
    points = uneven(1000)
    points[:, 0] = 0
    assert np.abs(whitening_matrix(points, 1.0)).max() < 40


def test_an_encoder_gets_it_into_its_projection(encoder: Any) -> None:
    given = segments(200, 5)
    before = encoder.predict(given[..., None], verbose=0)
    whitened = whiten(encoder, given, 0.6)
    after = whitened.predict(given[..., None], verbose=0)
    np.testing.assert_array_equal(encoder.predict(given[..., None], verbose=0), before)
    np.testing.assert_allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    assert whitened.count_params() == encoder.count_params()
    covariances = [np.cov(found.T) for found in (before, after)]
    spreads = [np.linalg.eigvalsh(c)[-5:].sum() / np.trace(c) for c in covariances]
    assert spreads[1] < 0.9 * spreads[0]
    other = whiten(encoder, given, 0.0).predict(given[..., None], verbose=0)
    np.testing.assert_allclose(other, before, atol=1e-4)
