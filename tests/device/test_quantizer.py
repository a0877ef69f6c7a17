from __future__ import annotations

import numpy as np
import pytest

from overheard.embedder import default_model
from overheard.errors import ModelError
from overheard.quantizer import Quantizer, Stage


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def small(seed: int = 0) -> Quantizer:
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(rng.standard_normal((8, 8)))[0].astype(np.float32)
    first = Stage(rotation, rng.normal(0, 0.3, (4, 256, 2)).astype(np.float32))
    wider = np.zeros((8, 9), dtype=np.float32)  # three parts of three columns, the last of them empty
    wider[:, :8] = rotation[::-1]
    return Quantizer(
        unit(rng, 16, 8), first, Stage(wider, rng.normal(0, 0.05, (3, 256, 3)).astype(np.float32))
    )


def test_decoding_is_near_and_of_unit_norm() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(1), 200, 8)
    cells, codes = quantizer.encode(vectors)
    assert cells.dtype == np.uint16 and codes.dtype == np.uint8 and codes.shape == (200, 7)
    decoded = quantizer.decode(cells, codes)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-5)
    assert np.mean(np.sum(decoded * vectors, axis=1)) > 0.98


def test_encoding_takes_the_nearest_cell_and_words() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(2), 20, 8)
    cells, codes = quantizer.encode(vectors, 4)
    stage = quantizer.stages[0]
    for vector, cell, code in zip(vectors, cells, codes, strict=True):
        assert cell == np.argmin(np.linalg.norm(quantizer.cells - vector, axis=1))
        residual = ((vector - quantizer.cells[cell]) @ stage.rotation).reshape(4, 2)
        for part in range(4):
            distances = np.linalg.norm(stage.codebooks[part] - residual[part], axis=1)
            assert distances[code[part]] == pytest.approx(distances.min(), abs=1e-5)


def test_a_code_begins_with_its_compact_code_and_gains_by_the_rest() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(3), 200, 8)
    assert quantizer.widths == (4, 7)
    cells, codes = quantizer.encode(vectors)
    np.testing.assert_array_equal(quantizer.encode(vectors, 4)[1], codes[:, :4])
    compact, full = (np.mean(np.sum(quantizer.decode(cells, codes[:, :n]) * vectors, axis=1)) for n in (4, 7))
    assert 0.9 < compact < full
    with pytest.raises(ModelError, match=r"codes of 5 bytes are not this model's \(4, 7\)"):
        quantizer.encode(vectors, 5)


def test_the_table_holds_the_products_with_all_words() -> None:
    quantizer, (query, *vectors) = small(), unit(np.random.default_rng(5), 30, 8)
    cells, codes = quantizer.encode(np.stack(vectors))
    table = quantizer.table(query)
    assert table.shape == (7, 256)
    found = quantizer.cells[cells] @ query + table[np.arange(7), codes].sum(axis=1)
    exact = quantizer.cells[cells] + sum(
        stage.decode(part) for stage, part in zip(quantizer.stages, np.split(codes, [4], axis=1), strict=True)
    )
    np.testing.assert_allclose(found, exact @ query, atol=1e-5)


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
        Quantizer(quantizer.cells, Stage(quantizer.stages[0].rotation[:4], quantizer.stages[0].codebooks))
    with pytest.raises(ModelError):
        Quantizer(quantizer.cells)
