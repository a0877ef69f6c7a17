"""Search the catalogue for candidates: visit the most promising lists, and score the codes in them.

Annoy proposes cells. In a small catalogue, all segments of the nearest cells are scored with all words of
their codes. In a large one, the lists of these and more cells are ranked by their first words too, and the
best are visited: what a query costs grows much less than the catalogue.

Sources: Jegou et al., PAMI 2011, section IV (inverted file with asymmetric distance computation); Babenko and
Lempitsky, The Inverted Multi-Index, CVPR 2012 (lists of a cell and a code word).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from overheard.catalogue.derived_lists import lists_of
from overheard.catalogue.lists import IntArray, best_lists
from overheard.catalogue.pack import Pack
from overheard.catalogue.scan import Scanner, add_words, top
from overheard.catalogue.segments import Segments
from overheard.events import Track
from overheard.fingerprint.codebooks import CODEWORDS
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, penalties_of
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.rows import QueryRows

__all__ = ["Candidates", "Catalogue", "IntArray", "SegmentIndex", "top"]

N_CANDIDATES = 24  # per query embedding
N_IMPOSTORS = 4  # per query embedding
SHORT_LIST_FACTOR = 8  # length of the short list over N_CANDIDATES; gain over 4 in docs/experiments.md
MIN_PROBED_CELLS = 24
PROBED_SHARE = 0.10  # of all cells; large, because noise moves a query far from its clean cell
SMALL_CATALOGUE = 1 << 17  # segments; in catalogues up to this size, whole cells are searched
MIN_VISITED, VISITED_SHARE = 34_000, 0.012  # segments per query in larger catalogues: at least, and of all
RANKED_SHARE = 0.15  # of all cells, whose lists are ranked
N_REFINED = 512  # of the segments visited, whose next words are read
N_DECODED = 96  # of these; decoding costs more than all that comes before it


@dataclasses.dataclass(frozen=True)
class Candidates(QueryRows):
    """Segments that the index proposes for query embeddings, most similar first.

    Attributes
    ----------
    segments : (n, N_CANDIDATES) int64
        Segment numbers in the catalogue; -1 fills up rows with fewer candidates.
    similarities : (n, N_CANDIDATES) float32
        Approximate cosines, less the segments' hubness penalties.
    impostors : (n, at most N_IMPOSTORS) float32
        Similarities of the nearest segments of the model's cohort.
    """

    segments: IntArray
    similarities: FloatArray
    impostors: FloatArray


class SegmentIndex(Protocol):
    """The interface of a catalogue that the matcher uses. Segments have one numbering over all tracks."""

    first_segment: IntArray  # (n_tracks + 1,), first segment of each track, then the number of segments

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return vectors ``(n, dim)`` float32 in the direction of the segments' embeddings."""

    def similarities(self, queries: FloatArray, segments: IntArray) -> FloatArray:
        """Return the similarities ``(m, n)`` float32 of queries ``(m, dim)`` and segments ``(n,)``."""

    def candidates(self, queries: FloatArray, without: Collection[int] = ()) -> Candidates:
        """Propose segments for queries ``(n, dim)``, excluding the tracks with the numbers in `without`."""

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""


class Catalogue(Segments):
    """All segments of one or more packs, and the lists to search them.

    Parameters
    ----------
    packs : open packs made with one model
    quantizer, cohort : parts of that model
    """

    def __init__(self, packs: Sequence[Pack], quantizer: Quantizer, cohort: Cohort) -> None:
        super().__init__(packs, quantizer)
        self.packs = tuple(packs)
        n_cells = len(quantizer.cells)
        starts = zip(self.layers, self.first_of_layer.tolist(), strict=False)
        self._lists = [(lists_of(layer, n_cells), start) for layer, start in starts if layer.n_segments]
        self._cell_sizes: IntArray = np.zeros(n_cells, dtype=np.int64)
        for lists, _ in self._lists:
            bounds = lists.bounds[::CODEWORDS].astype(np.int64)
            self._cell_sizes += bounds[1:] - bounds[:-1]
        cohort_cells = cells_of(cohort.packed_cells, n_cells)
        self._impostors = quantizer.scoring_vectors(cohort_cells, cohort.codes)
        self._impostor_penalties = penalties_of(cohort.packed_cells, n_cells)
        self._impostor_order = np.argsort(cohort_cells, kind="stable")
        self._impostor_bounds = np.searchsorted(cohort_cells[self._impostor_order], np.arange(n_cells + 1))
        self.n_probed = min(n_cells, max(MIN_PROBED_CELLS, int(PROBED_SHARE * n_cells)))
        self._is_small = len(self) <= SMALL_CATALOGUE
        self.n_ranked = self.n_probed if self._is_small else max(self.n_probed, int(RANKED_SHARE * n_cells))
        self.n_visited = max(MIN_VISITED, int(VISITED_SHARE * len(self)))

    @property
    def n_segments(self) -> int:
        """Number of segments in all packs, hidden ones included."""
        return len(self)

    def candidates(self, queries: FloatArray, without: Collection[int] = ()) -> Candidates:
        """Propose the most similar segments in the lists nearest to each query.

        Parameters
        ----------
        queries : (n, dim) float32, unit norm
        without : track numbers to exclude
        """
        segments = np.full((len(queries), N_CANDIDATES), -1, dtype=np.int64)
        similarities = np.zeros((len(queries), N_CANDIDATES), dtype=np.float32)
        impostors = np.zeros((len(queries), N_IMPOSTORS), dtype=np.float32)
        excluded = [(int(self.first_segment[t]), int(self.first_segment[t + 1])) for t in without]
        for row, query in enumerate(queries):
            cells = self.quantizer.nearest_cells(query, self.n_ranked)
            listed = self._short_list(query, cells, excluded)
            best, scores = top(listed, self.similarities(query[None], listed)[0], N_CANDIDATES)
            segments[row, : len(best)] = best
            similarities[row, : len(best)] = scores
            near = self._impostor_order[spans(self._impostor_bounds, cells[: self.n_probed])]
            scores = self._impostors[near] @ query - self._impostor_penalties[near]
            _, scores = top(near, scores, N_IMPOSTORS)
            impostors[row, : len(scores)] = scores
        return Candidates(segments, similarities, impostors)

    def _short_list(
        self, query: FloatArray, cells: IntArray, excluded: Collection[tuple[int, int]]
    ) -> IntArray:
        """Return the segments near a query whose codes, without their neighbours', are most similar.

        Parameters
        ----------
        query : (dim,) float32
        cells : (n_ranked,) int64, nearest first
        excluded : ranges of segments to exclude, each as first and end
        """
        table = self.quantizer.table(query)
        near = cells[: self.n_probed]
        if self._is_small:
            segments, similarities = self._all_of(near, self.quantizer.cells[near] @ query)
        else:
            segments, similarities = self._best_of(*self._ranked_lists(query, cells, table[0]), table)
        kept = self.visible(segments)
        for first, end in excluded:
            kept &= (segments < first) | (segments >= end)
        segments, similarities = segments[kept], similarities[kept]
        if not self._is_small:
            return top(segments, similarities, N_DECODED)[0]
        add_words(similarities, self.codes(segments), table)
        return top(segments, similarities, SHORT_LIST_FACTOR * N_CANDIDATES)[0]

    def _ranked_lists(
        self, query: FloatArray, cells: IntArray, word_products: FloatArray
    ) -> tuple[IntArray, FloatArray]:
        """Return the best lists, which hold about :attr:`n_visited` segments, and their similarities."""
        n_all, n_segments = len(cells) * CODEWORDS, max(1, int(self._cell_sizes[cells].sum()))
        n = n_all * self.n_visited // n_segments + 1  # if all lists had the same size
        while True:
            numbers, sums = best_lists(cells, self.quantizer.cells[cells] @ query, word_products, n)
            sizes: IntArray = np.sum([lists.sizes(numbers) for lists, _ in self._lists], axis=0)
            ends = np.cumsum(sizes)
            if ends[-1] >= self.n_visited or n >= n_all:
                break
            n *= 1 + max(1, self.n_visited // (int(ends[-1]) + 1))
        end = int(np.searchsorted(ends, self.n_visited)) + 1
        return numbers[:end], sums[:end]

    def _all_of(self, cells: IntArray, sums: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return all segments of cells ``(n,)``, and for each segment the value of its cell in `sums`."""
        found: list[tuple[IntArray, FloatArray]] = []
        for lists, start in self._lists:
            sizes = lists.sizes(cells * CODEWORDS, CODEWORDS)
            rows = lists.rows(cells * CODEWORDS, sizes)
            found.append((lists.segments[rows] + start, np.repeat(sums, sizes)))
        return _joined(found)

    def _best_of(self, numbers: IntArray, sums: FloatArray, table: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the segments of lists whose first words are most similar, and their similarities.

        Parameters
        ----------
        numbers : (n,) int64
        sums : (n,) float32, similarities of the lists
        table : (code_bytes, 256) float32, products of the query with the words
        """
        found: list[tuple[IntArray, FloatArray]] = []
        scanner = Scanner(table)
        for lists, start in self._lists:
            rows, similarities = scanner.best(lists, numbers, sums, N_REFINED)
            # In a file that is damaged while it is in use, a number may be one that does not exist.
            own = np.minimum(lists.segments[rows], len(lists.segments) - 1)
            found.append((own + start, similarities))
        return _joined(found)


def _joined(found: Sequence[tuple[IntArray, FloatArray]]) -> tuple[IntArray, FloatArray]:
    segments = np.concatenate([np.zeros(0, np.int64), *(each for each, _ in found)])
    similarities = np.concatenate([np.zeros(0, np.float32), *(each for _, each in found)])
    return segments, similarities


def spans(bounds: IntArray, numbers: IntArray) -> IntArray:
    """Return the positions of the ranges with these numbers, one range after the other."""
    starts, sizes = bounds[numbers], bounds[numbers + 1] - bounds[numbers]
    ends = np.cumsum(sizes)
    positions: IntArray = np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
    return positions
