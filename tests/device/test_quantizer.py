from __future__ import annotations

import numpy as np
import pytest

from overheard.errors import ModelError
from overheard.fingerprint.codebooks import GROUP_SIZE, CodebookStage, smallest
from overheard.fingerprint.model import default_model
from overheard.fingerprint.neighbourhood import Neighbourhood
from overheard.fingerprint.quantizer import LENGTH_POWER, Quantizer


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def small(seed: int = 0) -> Quantizer:
    rng = np.random.default_rng(seed)
    first = CodebookStage(rng.normal(0, 0.2, (4, 256, 8)).astype(np.float32))
    second = CodebookStage(rng.normal(0, 0.05, (3, 256, 8)).astype(np.float32))
    return Quantizer(unit(rng, 16, 8), first, second)


def test_decoded_embeddings_are_similar_and_of_unit_norm() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(1), 200, 8)
    cells, codes = quantizer.encode(vectors)
    assert cells.dtype == np.uint16
    assert codes.dtype == np.uint8
    assert codes.shape == (200, 7)
    decoded = quantizer.decode(cells, codes)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=1e-5)
    assert np.mean(np.sum(decoded * vectors, axis=1)) > 0.98


def test_encoding_finds_the_nearest_cell_and_beats_a_greedy_choice_of_words() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(2), 300, 8)
    cells, codes = quantizer.encode(vectors, 4)
    stage = quantizer.stages[0]
    distances = np.linalg.norm(vectors[:, None] - quantizer.cells, axis=2)
    np.testing.assert_array_equal(cells, np.argmin(distances, axis=1))
    residuals = vectors - quantizer.cells[cells]
    greedy = residuals.copy()
    for words in stage.codebooks:
        greedy -= words[np.argmin(np.linalg.norm(greedy[:, None] - words, axis=2), axis=1)]
    found, word_by_word = (np.mean(left**2) for left in (residuals - stage.decode(codes), greedy))
    assert found < 0.9 * word_by_word


def test_two_words_are_about_the_best_pair() -> None:
    rng = np.random.default_rng(7)
    stage, point = (
        CodebookStage(rng.normal(0, 0.2, (2, 256, 3)).astype(np.float32)),
        np.full((1, 3), 0.2, np.float32),
    )
    sums = stage.codebooks[0][:, None] + stage.codebooks[1]
    best = np.linalg.norm(sums - point, axis=2).min()
    assert np.linalg.norm(stage.decode(stage.encode(point)) - point) == pytest.approx(best, abs=0.02)


def test_a_code_starts_with_its_compact_code_and_is_more_exact() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(3), 200, 8)
    assert quantizer.widths == (4, 7)
    cells, codes = quantizer.encode(vectors)
    np.testing.assert_array_equal(quantizer.encode(vectors, 4)[1], codes[:, :4])
    compact, full = (np.mean(np.sum(quantizer.decode(cells, codes[:, :n]) * vectors, axis=1)) for n in (4, 7))
    assert 0.9 < compact < full
    with pytest.raises(ModelError, match=r"codes have 5 bytes; this model supports 4 or 7"):
        quantizer.encode(vectors, 5)


def test_scoring_vectors_are_estimates_divided_by_a_power_of_their_length() -> None:
    quantizer, vectors = small(), unit(np.random.default_rng(6), 50, 8)
    cells, codes = quantizer.encode(vectors)
    table = np.stack([quantizer.table(axis) for axis in np.eye(8, dtype=np.float32)])  # (8, 7, 256)
    sums = quantizer.cells[cells] + table[:, np.arange(7), codes].sum(axis=2).T
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    assert lengths.std() > 0.01
    scoring = quantizer.scoring_vectors(cells, codes)
    np.testing.assert_allclose(scoring, sums / lengths**LENGTH_POWER, rtol=1e-4)
    np.testing.assert_allclose(quantizer.decode(cells, codes), sums / lengths, rtol=1e-4)


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


def test_round_trip_and_invalid_tables() -> None:
    quantizer = small()
    again = Quantizer.from_bytes(quantizer.to_bytes())
    np.testing.assert_allclose(again.cells, quantizer.cells, atol=1e-3)
    cells, codes = quantizer.encode_track(unit(np.random.default_rng(8), 20, 8))
    decoded = quantizer.decode_track(cells, codes)
    np.testing.assert_allclose(again.decode_track(cells, codes), decoded, atol=5e-3)
    with pytest.raises(ModelError):
        Quantizer.from_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(ModelError):
        Quantizer(quantizer.cells, CodebookStage(quantizer.stages[0].codebooks[:, :, :4]))
    with pytest.raises(ModelError):
        Quantizer(quantizer.cells)
    with pytest.raises(ModelError, match="inconsistent shapes"):
        Quantizer(quantizer.cells, *quantizer.stages, neighbourhoods=[Neighbourhood.none(7)] * 2)
    with pytest.raises(ModelError, match="incomplete"):
        Quantizer(quantizer.cells, *quantizer.stages, neighbourhoods=[Neighbourhood.none(8)])


def test_the_smallest_values_are_found_in_any_group() -> None:
    values = np.random.default_rng(9).normal(size=(50, 16 * GROUP_SIZE)).astype(np.float32)
    values[0, :GROUP_SIZE] -= 10  # all in one group
    values[1, ::GROUP_SIZE] -= 10  # one in each
    found = np.sort(np.take_along_axis(values, smallest(values, 8), axis=1), axis=1)
    np.testing.assert_array_equal(found, np.sort(values, axis=1)[:, :8])
