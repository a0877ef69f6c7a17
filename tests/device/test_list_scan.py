from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from overheard.catalogue import scan, search, search_plan
from overheard.catalogue.lists import LENGTH_STEP, Lists, best_lists, build_lists, list_factors
from overheard.catalogue.pack import TrackEntry, open_pack, write_pack
from overheard.catalogue.scan import Scanner
from overheard.catalogue.search import Catalogue
from overheard.fingerprint.codebooks import CODEWORDS, CodebookStage
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.hubness import cells_of, pack_cells
from overheard.fingerprint.neighbourhood import Neighbourhood
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.spec import SPEC

DIM, N_CELLS, N_TRACKS, LENGTH = 16, 64, 50, 200


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    vectors = rng.standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def collection(folder: Path, n_words: int) -> tuple[Quantizer, Catalogue]:
    """Return a catalogue of 10,000 random segments with codes of this many words."""
    rng = np.random.default_rng(n_words)
    words = rng.normal(0, 0.25, (n_words, CODEWORDS, DIM)) * 0.7 ** np.arange(n_words)[:, None, None]
    quantizer = Quantizer(
        unit(rng, N_CELLS), CodebookStage(words.astype(np.float32)), neighbourhoods=[Neighbourhood.none(DIM)]
    )
    cells = rng.integers(0, N_CELLS, N_TRACKS * LENGTH).astype(np.uint16)
    codes = rng.integers(0, CODEWORDS, (len(cells), n_words)).astype(np.uint8)
    packed_cells = pack_cells(cells, np.full(len(cells), 0.5, np.float32), N_CELLS)
    parts = zip(np.split(packed_cells, N_TRACKS), np.split(codes, N_TRACKS), strict=True)
    tracks = [
        TrackEntry(title=str(n), path=f"/{n}.ogg", duration_s=200.0, packed_cells=own, codes=words)
        for n, (own, words) in enumerate(parts)
    ]
    write_pack(folder / "music.pack", "music", "feed" * 4, SPEC, tracks)
    pack = open_pack(folder / "music.pack")
    return quantizer, Catalogue([pack], quantizer, Cohort(packed_cells[:40], codes[:40]))


def sums_of(quantizer: Quantizer, index: Catalogue, query: np.ndarray, n_words: int) -> np.ndarray:
    """Return the similarities of all segments by their cells and first words."""
    packed_cells, codes = index.layers[0].read(0, index.n_segments)
    table = quantizer.table(query)
    sums = quantizer.cells[cells_of(packed_cells, N_CELLS)] @ query
    return sums + sum(table[i][codes[:, i]] for i in range(min(n_words, codes.shape[1])))


def lengths_of(quantizer: Quantizer, index: Catalogue, n_words: int) -> np.ndarray:
    """Return the lengths of the sums of cells and first words of all segments, as they are stored."""
    packed_cells, codes = index.layers[0].read(0, index.n_segments)
    sums, words = quantizer.cells[cells_of(packed_cells, N_CELLS)], quantizer.stages[0].codebooks
    sums = sums + sum(words[i][codes[:, i]] for i in range(min(n_words, codes.shape[1])))
    return np.clip(np.rint(np.linalg.norm(sums, axis=1) / LENGTH_STEP), 1, 255) * LENGTH_STEP


@pytest.mark.parametrize("n_words", [1, 2, 6, 9, 11, 16])
@pytest.mark.parametrize("at_once", [1, 500, 1 << 16])
def test_scanning_returns_the_most_similar_segments_of_the_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_words: int, at_once: int
) -> None:
    monkeypatch.setattr(scan, "SCANNED_AT_ONCE", at_once)
    quantizer, index = collection(tmp_path, n_words)
    lists: Lists = build_lists(index.layers[0], quantizer)
    packed_cells, codes = index.layers[0].read(0, index.n_segments)
    own_lists = cells_of(packed_cells, N_CELLS).astype(np.int64) * CODEWORDS + codes[:, 0]
    for query in unit(np.random.default_rng(1), 5):
        table, cells = quantizer.table(query), quantizer.nearest_cells(query, 20)
        products = quantizer.cells[cells] @ query
        numbers, sums = best_lists(cells, products, table[0], 1500, list_factors(quantizer))
        rows, similarities = Scanner(table).best(lists, numbers, sums, 60)
        lengths = lengths_of(quantizer, index, 9)
        scanned = sums_of(quantizer, index, query, 9) / lengths
        scanned[~np.isin(own_lists, numbers)] = -np.inf
        found = lists.segments[rows]
        assert len(np.unique(found)) == 60
        np.testing.assert_allclose(np.sort(scanned[found]), np.sort(scanned)[-60:], atol=1e-5)
        refined = (sums_of(quantizer, index, query, 13) / lengths)[found]
        np.testing.assert_allclose(similarities, refined, atol=1e-5)


def test_the_best_lists_are_ranked_by_cell_and_word() -> None:
    rng = np.random.default_rng(2)
    cells = rng.permutation(99)[:30]
    products, words = (rng.normal(size=n).astype(np.float32) for n in (30, 256))
    sums, factors = products[:, None] + words, rng.uniform(0.5, 2, (99, 256)).astype(np.float32)
    ranks = np.sort((sums * factors[cells]).ravel())[::-1]
    for n in (1, 100, 2000, 30 * 256, 10**6):
        numbers, found = best_lists(cells, products, words, n, factors)
        assert 0.3 * min(n, len(ranks)) - 5 < len(numbers) <= 2 * n + 50
        np.testing.assert_allclose(found * factors.ravel()[numbers], ranks[: len(found)], atol=1e-5)
        assert len(np.unique(numbers)) == len(numbers)
        assert set(numbers // 256) <= set(cells.tolist())


def test_noisy_queries_find_their_own_segments_in_a_large_catalogue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_plan, "SMALL_CATALOGUE", 0)
    monkeypatch.setattr(search_plan, "MIN_VISITED", 500)
    monkeypatch.setattr(search, "N_REFINED", 200)
    _, index = collection(tmp_path, 16)
    rng = np.random.default_rng(3)
    own = rng.permutation(index.n_segments)[:300]
    queries = index.vectors(own) + 0.15 * unit(rng, 300)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found = index.candidates(queries.astype(np.float32)).segments
    assert np.mean([segment in row for segment, row in zip(own, found, strict=True)]) > 0.95
    assert index.planner.n_visited == 500  # of 10,000
