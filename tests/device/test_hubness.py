from __future__ import annotations

import numpy as np
import pytest

from overheard.fingerprint.hubness import N_NEAREST, WEIGHT, cells_of, hubness, pack_cells, penalties_of


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_hubness_is_higher_among_many_references_than_alone() -> None:
    rng = np.random.default_rng(0)
    centre = unit(rng.standard_normal((1, 24)))
    many = centre + 0.1 * rng.standard_normal((50, 24))
    references = unit(np.concatenate([many, rng.standard_normal((50, 24))]))
    among_many, alone = hubness(np.concatenate([centre, -centre]), references)
    assert among_many > 0.8
    assert alone < 0.5
    expected = np.sort(centre @ references.T)[0, -N_NEAREST:].mean()
    assert among_many == pytest.approx(expected, abs=1e-6)


def test_references_are_not_compared_with_themselves() -> None:
    references = unit(np.random.default_rng(1).standard_normal((1200, 16)))  # more than one block
    cosines = references @ references.T
    np.fill_diagonal(cosines, -1)
    expected = np.sort(cosines, axis=1)[:, -N_NEAREST:].mean(axis=1)
    np.testing.assert_allclose(hubness(references, references, among_them=True), expected, atol=1e-6)


def test_few_references_are_enough() -> None:
    vectors = unit(np.random.default_rng(2).standard_normal((3, 8)))
    np.testing.assert_allclose(hubness(vectors, vectors[:1]), vectors @ vectors[0], atol=1e-6)
    np.testing.assert_array_equal(hubness(vectors[:1], vectors[:1], among_them=True), [0])


@pytest.mark.parametrize("n_cells", [1, 16, 1000, 1024, 40000, 65536])
def test_packed_cells_return_the_cell_and_the_rounded_hubness(n_cells: int) -> None:
    rng = np.random.default_rng(3)
    cells = np.concatenate([[0, n_cells - 1], rng.integers(n_cells, size=200)]).astype(np.uint16)
    hubs = np.concatenate([[0.0, 1.0, -0.2, 1.3], rng.random(198)]).astype(np.float32)
    packed_cells = pack_cells(cells, hubs, n_cells)
    np.testing.assert_array_equal(cells_of(packed_cells, n_cells), cells)
    step = n_cells / 65536
    wanted = np.clip(hubs, 0, 1) if n_cells <= 32768 else 0 * hubs  # no bit is left for hubness
    np.testing.assert_allclose(
        penalties_of(packed_cells, n_cells) / WEIGHT, wanted, atol=max(1.01 * step, 1e-4)
    )
