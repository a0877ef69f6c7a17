from __future__ import annotations

import dataclasses
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from overheard.catalogue.pack import Pack, TrackEntry, open_pack, write_pack
from overheard.catalogue.search import N_CANDIDATES, SHORT_LIST_FACTOR, Catalogue
from overheard.fingerprint.codebooks import CodebookStage
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.hubness import cells_of, pack_cells, penalties_of
from overheard.fingerprint.neighbourhood import Neighbourhood
from overheard.fingerprint.quantizer import LENGTH_POWER, Quantizer
from overheard.fingerprint.spec import SPEC
from overheard.recognize.matching.match import Matcher
from overheard.recognize.matching.scoring import Scoring

DIM, N_CELLS = 8, 16
LENGTHS = ((1, 2, 5), (4, 1), (3,))  # segments of each pack's tracks


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    vectors = rng.standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    rng = np.random.default_rng(0)
    shapes = ((4, 0.2), (3, 0.05))
    stages = [CodebookStage(rng.normal(0, scale, (n, 256, DIM)).astype(np.float32)) for n, scale in shapes]
    neighbourhoods = []
    for _ in stages:
        before, itself, after, missing = (
            rng.normal(0, scale, (DIM, DIM)).astype(np.float32) for scale in (0.1, 0.3, 0.1, 0.3)
        )
        bias = rng.normal(0, 0.05, DIM).astype(np.float32)
        neighbourhoods.append(Neighbourhood(before, itself, after, missing, bias))
    return Quantizer(unit(rng, N_CELLS), *stages, neighbourhoods=neighbourhoods)


@pytest.fixture(scope="module")
def entries(quantizer: Quantizer) -> list[list[TrackEntry]]:
    """Tracks of three packs, the second compact."""
    rng = np.random.default_rng(1)
    packs = []
    for number, (lengths, width) in enumerate(zip(LENGTHS, (7, 4, 7), strict=True)):
        tracks: list[TrackEntry] = []
        for n in lengths:
            cells, codes = quantizer.encode_track(unit(rng, n), width)
            packed_cells = pack_cells(cells, rng.uniform(0.2, 0.8, n).astype(np.float32), N_CELLS)
            path = f"/music/{number}-{len(tracks)}.ogg"
            tracks.append(
                TrackEntry(title=path, path=path, duration_s=float(n), packed_cells=packed_cells, codes=codes)
            )
        packs.append(tracks)
    return packs


def catalogue(quantizer: Quantizer, entries: list[list[TrackEntry]], folder: Path) -> Catalogue:
    packs: list[Pack] = []
    for number, tracks in enumerate(entries):
        write_pack(folder / f"{number}.pack", str(number), "feed" * 4, SPEC, tracks)
        packs.append(open_pack(folder / f"{number}.pack"))
    cells, codes = quantizer.encode(unit(np.random.default_rng(2), 40))
    packed_cells = pack_cells(cells, np.full(40, 0.5, np.float32), len(quantizer.cells))
    return Catalogue(packs, quantizer, Cohort(packed_cells, codes))


def expected(quantizer: Quantizer, track: TrackEntry) -> np.ndarray:
    """Return a track's scoring vectors, computed for the whole track at once."""
    cells = (track.packed_cells // (65536 // len(quantizer.cells))).astype(np.uint16)
    width = track.codes.shape[1]
    neighbourhood = quantizer.neighbourhoods[quantizer.widths.index(width)]
    estimates = neighbourhood.track_estimates(quantizer.sums(cells, track.codes))
    return estimates / np.linalg.norm(estimates, axis=1, keepdims=True) ** LENGTH_POWER


def test_vectors_depend_on_neighbours_in_the_same_track_only(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    index = catalogue(quantizer, entries, tmp_path)
    wanted = np.concatenate([expected(quantizer, track) for tracks in entries for track in tracks])
    order = np.random.default_rng(3).permutation(len(wanted))
    np.testing.assert_allclose(index.vectors(order), wanted[order], atol=1e-4)
    for segment in range(len(wanted)):  # also if its neighbours are not requested
        np.testing.assert_allclose(index.vectors(np.array([segment]))[0], wanted[segment], atol=1e-4)


def test_similarities_do_not_depend_on_earlier_queries(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    index = catalogue(quantizer, entries, tmp_path)
    rng, queries = np.random.default_rng(6), unit(np.random.default_rng(7), 3)
    vectors = np.concatenate([expected(quantizer, track) for tracks in entries for track in tracks])
    packed_cells = np.concatenate([track.packed_cells for tracks in entries for track in tracks])
    wanted = queries @ vectors.T - penalties_of(packed_cells, N_CELLS)
    for n in (5, 16, 0, 1, 9, 9, 4):
        segments = rng.permutation(16)[:n]
        np.testing.assert_allclose(index.similarities(queries, segments), wanted[:, segments], atol=1e-4)


def test_candidates_are_the_most_similar_segments_less_their_hubness(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    index = catalogue(quantizer, entries, tmp_path)
    queries = unit(np.random.default_rng(4), 12)
    vectors = np.concatenate([expected(quantizer, track) for tracks in entries for track in tracks])
    packed_cells = np.concatenate([track.packed_cells for tracks in entries for track in tracks])
    similarities = queries @ vectors.T - penalties_of(packed_cells, N_CELLS)
    found = index.candidates(queries)
    for row, segments in enumerate(found.segments):
        n = int(np.sum(segments >= 0))  # Annoy overlooks cells where there are so few
        assert n >= len(vectors) // 2
        assert (segments[n:] == -1).all()
        by_similarity = np.argsort(-similarities[row])
        np.testing.assert_array_equal(segments[:n], by_similarity[np.isin(by_similarity, segments)])
        np.testing.assert_allclose(found.similarities[row, :n], similarities[row, segments[:n]], atol=1e-4)
    assert not np.array_equal(np.argmax(similarities, axis=1), np.argmax(queries @ vectors.T, axis=1))


def test_excluded_tracks_are_not_candidates(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    index = catalogue(quantizer, entries, tmp_path)
    found = index.candidates(unit(np.random.default_rng(5), 3), without=(2, 4)).segments
    passed_over = {*range(3, 8), 12}
    asked = set(index.candidates(unit(np.random.default_rng(5), 3)).segments.ravel().tolist())
    assert set(found.ravel().tolist()) - {-1} == asked - {-1} - passed_over


@pytest.fixture(scope="module")
def many() -> tuple[Quantizer, list[TrackEntry]]:
    """A quantizer, and many segments around few centres, so that the short list excludes most of them."""
    rng = np.random.default_rng(10)
    first, second = (rng.normal(0, s, (n, 256, DIM)).astype(np.float32) for n, s in ((3, 0.3), (2, 0.15)))
    for words in second:  # so long that no code uses them, and that reading one by mistake shows
        words[[0, -1]] = 1.2 * unit(rng, 2)
    # Neighbours have a small influence, so that codes alone give about the same order of segments.
    before, itself = (share * np.eye(DIM, dtype=np.float32) for share in (0.06, 0.88))
    around = Neighbourhood(before, itself, before, itself, np.zeros(DIM, dtype=np.float32))
    quantizer = Quantizer(
        unit(rng, 64), CodebookStage(first), CodebookStage(second), neighbourhoods=[around, around]
    )
    centres = unit(rng, 20)[rng.integers(20, size=2400)]
    embeddings = centres + 0.35 * rng.standard_normal(centres.shape).astype(np.float32)
    cells, codes = quantizer.encode(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))
    packed_cells = pack_cells(
        cells, rng.uniform(0.3, 0.5, len(cells)).astype(np.float32), len(quantizer.cells)
    )
    return quantizer, [
        TrackEntry(title=str(n), path=f"/music/{n}.ogg", duration_s=100.0, packed_cells=own, codes=words)
        for n, (own, words) in enumerate(zip(np.split(packed_cells, 24), np.split(codes, 24), strict=True))
    ]


@pytest.mark.parametrize("widths", [(5, 3, 5), (3, 5), (5,), (3, 3)])
def test_the_short_list_keeps_the_most_similar_of_the_probed_cells(
    many: tuple[Quantizer, list[TrackEntry]], widths: tuple[int, ...], tmp_path: Path
) -> None:
    quantizer, whole = many
    n = len(whole) // len(widths)
    tracks = [
        dataclasses.replace(track, codes=track.codes[:, : widths[number // n]])
        for number, track in enumerate(whole)
    ]
    index = catalogue(quantizer, [tracks[i : i + n] for i in range(0, len(tracks), n)], tmp_path)
    packed_cells = np.concatenate([track.packed_cells for track in tracks])
    cells = cells_of(packed_cells, len(quantizer.cells))
    vectors = np.concatenate([expected(quantizer, track) for track in tracks])
    rng = np.random.default_rng(11)
    noise = np.float32(0.1) * unit(rng, 100)
    queries = (vectors[rng.permutation(len(vectors))[:100]] + noise).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    similarities = queries @ vectors.T - penalties_of(packed_cells, len(quantizer.cells))
    found = []
    for query, row, segments in zip(queries, similarities, index.candidates(queries).segments, strict=True):
        probed = np.flatnonzero(np.isin(cells, quantizer.nearest_cells(query, index.planner.n_probed)))
        assert len(probed) > 2 * SHORT_LIST_FACTOR * N_CANDIDATES
        found.append(np.isin(probed[np.argsort(-row[probed])[:5]], segments))
    assert np.mean(found) >= 0.95
    assert np.mean(found, axis=0)[0] >= 0.98


def test_a_catalogue_that_was_replaced_is_freed_at_once(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    """Packs and unknown music change all the time; in a cycle, each catalogue would stay for hours."""
    gc.collect()
    gc.disable()
    try:
        index = catalogue(quantizer, entries, tmp_path)
        matcher = Matcher(index, SPEC, Scoring())
        index.candidates(unit(np.random.default_rng(3), 2))
        alive = weakref.ref(index)
        del index, matcher
        assert alive() is None
    finally:
        gc.enable()


def test_catalogues_of_a_model_share_its_cohort(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    """They are 4 MB of the shipped model."""
    first = catalogue(quantizer, entries, tmp_path)
    cells, codes = quantizer.encode(unit(np.random.default_rng(2), 40))
    cohort = Cohort(pack_cells(cells, np.full(40, 0.5, np.float32), N_CELLS), codes)
    others = [Catalogue(first.packs[:1], quantizer, cohort) for _ in range(2)]
    assert others[0]._cohort is others[1]._cohort
    assert others[0]._cohort is not first._cohort
    assert others[0]._cached_vectors.shape == (sum(LENGTHS[0]), DIM)
