"""Test the int8 encoder: it gives the same embeddings on every number of cores."""

from __future__ import annotations

import os

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting a model needs requirements-train.txt")

from small_models import segments

from overheard.fingerprint.embedder import embed_normalized
from overheard.fingerprint.runtime import Network
from overheard_export import int8


def test_any_number_of_cores_gives_the_same_embeddings_in_the_same_order(
    tflite: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = segments(64, 2)[:11]
    alone = embed_normalized(Network(tflite), given)
    assert len(np.unique(alone, axis=0)) == len(given)
    for n_cores in (1, 3, 16):  # 16: more than segments
        monkeypatch.setattr(os, "cpu_count", lambda n=n_cores: n)
        np.testing.assert_array_equal(int8.Int8Encoder(tflite)(given), alone)


def test_an_output_of_zeros_stays_zeros_and_does_not_make_the_mean_invalid() -> None:
    class Rounding(Network):
        def __init__(self) -> None:
            self.input_scale, self.input_zero_point, self.output_zero_point = 0.1, 0, -3
            self.output_shape = (1, 4)

        def invoke(self, values: np.ndarray) -> np.ndarray:
            return np.full((1, 4), -3 if not values.any() else 7, np.int8)

    segments = np.stack([np.zeros((2, 2)), np.ones((2, 2))]).astype(np.float32)
    embeddings = embed_normalized(Rounding(), segments)
    np.testing.assert_allclose(embeddings, np.repeat([[0.0], [0.5]], 4, axis=1), atol=1e-6)
    assert int8.mean_cosine(embeddings, embeddings) == pytest.approx(0.5)
