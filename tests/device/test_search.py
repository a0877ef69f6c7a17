from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from overheard.codewords import Stage
from overheard.cohort import Cohort
from overheard.hubness import join, penalties_of
from overheard.neighbourhood import Neighbourhood
from overheard.pack import Pack, TrackEntry, open_pack, write_pack
from overheard.quantizer import LENGTH_POWER, Quantizer
from overheard.search import Catalogue
from overheard.spec import SPEC

DIM, N_CELLS = 8, 16
LENGTHS = ((1, 2, 5), (4, 1), (3,))  # segments of each pack's tracks


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    vectors = rng.standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    rng = np.random.default_rng(0)
    shapes = ((4, 0.2), (3, 0.05))
    stages = [Stage(rng.normal(0, scale, (n, 256, DIM)).astype(np.float32)) for n, scale in shapes]
    neighbourhoods = [
        Neighbourhood(
            *(rng.normal(0, scale, (DIM, DIM)).astype(np.float32) for scale in (0.1, 0.3, 0.1, 0.3)),
            rng.normal(0, 0.05, DIM).astype(np.float32),
        )
        for _ in stages
    ]
    return Quantizer(unit(rng, N_CELLS), *stages, neighbourhoods=neighbourhoods)


@pytest.fixture(scope="module")
def entries(quantizer: Quantizer) -> list[list[TrackEntry]]:
    """Tracks of three packs, the second compact."""
    rng = np.random.default_rng(1)
    packs = []
    for number, (lengths, width) in enumerate(zip(LENGTHS, (7, 4, 7), strict=True)):
        tracks = []
        for n in lengths:
            cells, codes = quantizer.encode_track(unit(rng, n), width)
            places = join(cells, rng.uniform(0.2, 0.8, n).astype(np.float32), N_CELLS)
            path = f"/music/{number}-{len(tracks)}.ogg"
            tracks.append(TrackEntry(title=path, path=path, duration_s=float(n), places=places, codes=codes))
        packs.append(tracks)
    return packs


def catalogue(quantizer: Quantizer, entries: list[list[TrackEntry]], folder: Path) -> Catalogue:
    packs: list[Pack] = []
    for number, tracks in enumerate(entries):
        write_pack(folder / f"{number}.pack", str(number), "feed" * 4, SPEC, tracks)
        packs.append(open_pack(folder / f"{number}.pack"))
    cells, codes = quantizer.encode(unit(np.random.default_rng(2), 40))
    return Catalogue(packs, quantizer, Cohort(join(cells, np.full(40, 0.5, np.float32), N_CELLS), codes))


def expected(quantizer: Quantizer, track: TrackEntry) -> np.ndarray:
    """Return a track's scoring vectors, worked out for the whole track at once."""
    cells = (track.places // (65536 // N_CELLS)).astype(np.uint16)
    width = track.codes.shape[1]
    neighbourhood = quantizer.neighbourhoods[quantizer.widths.index(width)]
    estimates = neighbourhood.track_estimates(quantizer.sums(cells, track.codes))
    return estimates / np.linalg.norm(estimates, axis=1, keepdims=True) ** LENGTH_POWER


def test_segments_are_read_with_their_neighbours_in_the_track_and_no_others(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    index = catalogue(quantizer, entries, tmp_path)
    wanted = np.concatenate([expected(quantizer, track) for tracks in entries for track in tracks])
    order = np.random.default_rng(3).permutation(len(wanted))
    np.testing.assert_allclose(index.vectors(order), wanted[order], atol=1e-4)
    for segment in range(len(wanted)):  # also where no neighbour is asked for
        np.testing.assert_allclose(index.vectors(np.array([segment]))[0], wanted[segment], atol=1e-4)


def test_similarities_do_not_depend_on_what_was_asked_before(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    index = catalogue(quantizer, entries, tmp_path)
    rng, queries = np.random.default_rng(6), unit(np.random.default_rng(7), 3)
    vectors = np.concatenate([expected(quantizer, track) for tracks in entries for track in tracks])
    places = np.concatenate([track.places for tracks in entries for track in tracks])
    wanted = queries @ vectors.T - penalties_of(places, N_CELLS)
    for n in (5, 16, 0, 1, 9, 9, 4):
        segments = rng.permutation(16)[:n]
        np.testing.assert_allclose(index.similarities(queries, segments), wanted[:, segments], atol=1e-4)


def test_candidates_are_the_most_similar_segments_less_their_hubness(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    index = catalogue(quantizer, entries, tmp_path)
    queries = unit(np.random.default_rng(4), 12)
    vectors = np.concatenate([expected(quantizer, track) for tracks in entries for track in tracks])
    places = np.concatenate([track.places for tracks in entries for track in tracks])
    similarities = queries @ vectors.T - penalties_of(places, N_CELLS)
    found = index.candidates(queries)
    for row, segments in enumerate(found.segments):
        n = int(np.sum(segments >= 0))  # Annoy overlooks cells where there are so few
        assert n >= len(vectors) // 2 and (segments[n:] == -1).all()
        by_similarity = np.argsort(-similarities[row])
        np.testing.assert_array_equal(segments[:n], by_similarity[np.isin(by_similarity, segments)])
        np.testing.assert_allclose(found.similarities[row, :n], similarities[row, segments[:n]], atol=1e-4)
    assert not np.array_equal(np.argmax(similarities, axis=1), np.argmax(queries @ vectors.T, axis=1))


def test_tracks_passed_over_are_no_candidates(
    quantizer: Quantizer, entries: list[list[TrackEntry]], tmp_path: Path
) -> None:
    index = catalogue(quantizer, entries, tmp_path)
    found = index.candidates(unit(np.random.default_rng(5), 3), without=(2, 4)).segments
    passed_over = {*range(3, 8), 12}
    asked = set(index.candidates(unit(np.random.default_rng(5), 3)).segments.ravel().tolist())
    assert set(found.ravel().tolist()) - {-1} == asked - {-1} - passed_over
