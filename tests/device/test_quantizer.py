from __future__ import annotations

import numpy as np
import pytest

from overheard.embedder import default_model
from overheard.errors import ModelError
from overheard.quantizer import Quantizer


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def small(seed: int = 0) -> Quantizer:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
    return Quantizer(unit(rng, 16, 8), rotation, rng.normal(0, 0.3, (4, 256, 2)).astype(np.float32))


def test_decoding_is_near_and_of_unit_norm() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(1), 200, 8)
    cells, codes = quantizer.encode(vectors)
    assert cells.dtype == np.uint16 and codes.dtype == np.uint8 and codes.shape == (200, 4)
    decoded = quantizer.decode(cells, codes)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-5)
    assert np.mean(np.sum(decoded * vectors, axis=1)) > 0.98


def test_encoding_takes_the_nearest_cell_and_words() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(2), 20, 8)
    cells, codes = quantizer.encode(vectors)
    for vector, cell, code in zip(vectors, cells, codes, strict=True):
        assert cell == np.argmin(np.linalg.norm(quantizer.cells - vector, axis=1))
        residual = ((vector - quantizer.cells[cell]) @ quantizer.rotation).reshape(4, 2)
        for part in range(4):
            distances = np.linalg.norm(quantizer.codebooks[part] - residual[part], axis=1)
            assert distances[code[part]] == pytest.approx(distances.min(), abs=1e-5)


def test_rotated_decoding_keeps_similarities() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(3), 30, 8)
    cells, codes = quantizer.encode(vectors)
    plain = vectors @ quantizer.decode(cells, codes).T
    rotated = (vectors @ quantizer.rotation) @ quantizer.decode_rotated(cells, codes).T
    np.testing.assert_allclose(rotated, plain, atol=1e-5)


def test_annoy_finds_the_nearest_cells_of_the_shipped_model() -> None:
    quantizer = default_model().quantizer
    queries = unit(np.random.default_rng(4), 20, quantizer.dim)
    found = 0
    for query in queries:
        exact = np.argsort(np.linalg.norm(quantizer.cells - query, axis=1))[:20]
        found += len(set(exact) & set(quantizer.nearest_cells(query, 100).tolist()))
    assert found >= 0.95 * 20 * len(queries)


def test_bytes_round_trip_and_refusal() -> None:
    quantizer = small()
    again = Quantizer.from_bytes(quantizer.to_bytes())
    np.testing.assert_allclose(again.cells, quantizer.cells, atol=1e-3)
    with pytest.raises(ModelError):
        Quantizer.from_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(ModelError):
        Quantizer(quantizer.cells, quantizer.rotation[:4], quantizer.codebooks)
