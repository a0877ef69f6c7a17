"""Search the catalogue for candidates: visit the most promising lists, and score the codes in them.

Annoy proposes cells. In a small catalogue, all segments of the nearest cells are scored with all words of
their codes. In a large one, the lists of these and more cells are ranked by their first words too, and the
best are visited: what a query costs grows much less than the catalogue.

Sources: Jegou et al., PAMI 2011, section IV (inverted file with asymmetric distance computation); Babenko and
Lempitsky, The Inverted Multi-Index, CVPR 2012 (lists of a cell and a code word).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np

from overheard.catalogue.cell_codes import CellCodes
from overheard.catalogue.cohort_index import cohort_index_of
from overheard.catalogue.derived_lists import CatalogueLists
from overheard.catalogue.layer import Layer
from overheard.catalogue.lists import IntArray
from overheard.catalogue.pack import Pack
from overheard.catalogue.scan import Scanner, top
from overheard.catalogue.search_plan import Plan, Planner
from overheard.catalogue.segments import Segments
from overheard.events import Track
from overheard.fingerprint.codebooks import CODEWORDS
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.query_rows import QueryRows

__all__ = ["Candidates", "Catalogue", "IntArray", "SegmentIndex", "ShortLists", "top"]

N_CANDIDATES = 24  # per query embedding
N_COHORT_NEAREST = 4  # per query embedding
SHORT_LIST_FACTOR = 8  # length of the short list over N_CANDIDATES; gain over 4 in docs/experiments.md
SHORT_LIST = SHORT_LIST_FACTOR * N_CANDIDATES
N_REFINED = 512  # of the segments visited, whose next words are read
N_DECODED = 64  # of these; decoding costs more than all that comes before it
COMPARED_AT_ONCE = 16  # queries; bounds the memory for decoded vectors


@dataclasses.dataclass(frozen=True)
class Candidates(QueryRows):
    """Segments that the index proposes for query embeddings, most similar first.

    Attributes
    ----------
    segments : (n, N_CANDIDATES) int64
        Segment numbers in the catalogue; -1 fills up rows with fewer candidates.
    similarities : (n, N_CANDIDATES) float32
        Approximate cosines, less the segments' hubness penalties.
    cohort : (n, at most N_COHORT_NEAREST) float32
        Similarities of the nearest segments of the model's cohort.
    """

    segments: IntArray
    similarities: FloatArray
    cohort: FloatArray


@dataclasses.dataclass(frozen=True)
class ShortLists(QueryRows):
    """The segments from which a catalogue chooses the candidates, most similar by their own codes first.

    Attributes
    ----------
    segments : (n, SHORT_LIST) int64, filled up with -1
    rough : (n, SHORT_LIST) float32, similarities by the segments' own codes
    similarities, cohort : as those of :class:`Candidates`
    """

    segments: IntArray
    rough: FloatArray
    similarities: FloatArray
    cohort: FloatArray

    @property
    def lengths(self) -> list[int]:
        """Number of segments on each list."""
        return [int(n) for n in np.sum(self.segments >= 0, axis=1)]


class SegmentIndex(Protocol):
    """The interface of a catalogue that the matcher uses. Segments have one numbering over all tracks."""

    first_segment: IntArray  # (n_tracks + 1,), first segment of each track, then the number of segments

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return vectors ``(n, dim)`` float32 in the direction of the segments' embeddings."""

    def similarities(self, queries: FloatArray, segments: IntArray) -> FloatArray:
        """Return the similarities ``(m, n)`` float32 of queries ``(m, dim)`` and segments ``(n,)``."""

    def candidates(
        self, queries: FloatArray, without: Collection[int] = (), share: float = 1.0
    ) -> Candidates:
        """Propose segments for queries ``(n, dim)``, excluding the tracks with the numbers in `without`.

        `share` is how much of what a search usually visits in a large catalogue is visited.
        """

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
        starts = self.first_of_layer.tolist()
        self._lists = CatalogueLists([*zip(self.layers, starts, strict=False)], quantizer)
        # A method of this object would make a cycle, which keeps tens of MB until it is collected some time.
        self.planner = Planner(quantizer, len(self), self._lists.sizes)
        if not self.planner.is_small:
            _ = self._lists.of_layers  # made now rather than in the first search
        self._cohort = cohort_index_of(quantizer, cohort)

    @functools.cached_property
    def _cell_codes(self) -> list[CellCodes]:
        """The codes by cell, of full packs and of compact ones."""
        by_width: dict[int, list[tuple[Layer, int]]] = {}
        for layer, start in zip(self.layers, self.first_of_layer.tolist(), strict=False):
            if layer.n_segments:
                by_width.setdefault(layer.code_bytes, []).append((layer, start))
        return [CellCodes.of(layers, len(self.quantizer.cells)) for layers in by_width.values()]

    @property
    def n_segments(self) -> int:
        """Number of segments in all packs, hidden ones included."""
        return len(self)

    def candidates(
        self, queries: FloatArray, without: Collection[int] = (), share: float = 1.0
    ) -> Candidates:
        """Propose the most similar segments in the lists nearest to each query.

        Parameters
        ----------
        queries : (n, dim) float32, unit norm
        without : track numbers to exclude
        share : of the segments that are usually visited in a large catalogue
        """
        lists = self.short_lists(queries, without, share=share)
        segments = np.full((len(queries), N_CANDIDATES), -1, dtype=np.int64)
        similarities = np.zeros((len(queries), N_CANDIDATES), dtype=np.float32)
        for row, n in enumerate(lists.lengths):
            best, scores = top(lists.segments[row, :n], lists.similarities[row, :n], N_CANDIDATES)
            segments[row, : len(best)], similarities[row, : len(best)] = best, scores
        return Candidates(segments, similarities, lists.cohort)

    def list_sizes(self) -> IntArray:
        """Return how many segments each list has ``(n_lists,)``, for the planner of several catalogues."""
        return self._lists.sizes(np.arange(len(self.quantizer.cells) * CODEWORDS))

    def short_lists(
        self,
        queries: FloatArray,
        without: Collection[int] = (),
        plan: Plan | None = None,
        share: float = 1.0,
    ) -> ShortLists:
        """Return what :meth:`candidates` chooses from, so that parts of a catalogue can be merged.

        Parameters
        ----------
        queries, without, share : as those of :meth:`candidates`
        plan : of the catalogue that this one is a part of; None if it is no part
        """
        segments = np.full((len(queries), SHORT_LIST), -1, dtype=np.int64)
        rough, similarities = np.zeros((2, len(queries), SHORT_LIST), dtype=np.float32)
        cohort = np.zeros((len(queries), N_COHORT_NEAREST), dtype=np.float32)
        excluded = [(int(self.first_segment[t]), int(self.first_segment[t + 1])) for t in without]
        is_small, n_ranked = (plan or self.planner).is_small, (plan or self.planner).n_ranked
        for row, query in enumerate(queries):
            cells = self.quantizer.nearest_cells(query, n_ranked)
            if is_small:
                listed, scores = self._near(query, cells, excluded)
            else:
                depth = share if plan is None else plan.depths[row]
                listed, scores = self._in_best_lists(query, cells, depth, excluded)
            segments[row, : len(listed)], rough[row, : len(listed)] = listed, scores
            nearest = self._cohort.nearest(query, cells[: self.planner.n_probed], N_COHORT_NEAREST)
            cohort[row, : len(nearest)] = nearest
        for first in range(0, len(queries), COMPARED_AT_ONCE):
            some = slice(first, first + COMPARED_AT_ONCE)
            similarities[some] = self._compared(queries[some], segments[some])
        return ShortLists(segments, rough, similarities, cohort)

    def _compared(self, queries: FloatArray, lists: IntArray) -> FloatArray:
        """Return the similarities ``(n, k)`` of queries ``(n, dim)`` and their own segments ``(n, k)``.

        Decoding the segments of all queries at once saves time: their lists have many in common.
        """
        listed = lists >= 0
        different, columns = np.unique(lists[listed], return_inverse=True)
        compared = np.zeros(lists.shape, dtype=np.float32)
        compared[listed] = self.similarities(queries, different)[np.nonzero(listed)[0], columns]
        return compared

    def _near(
        self, query: FloatArray, cells: IntArray, excluded: Collection[tuple[int, int]]
    ) -> tuple[IntArray, FloatArray]:
        """Return the segments of cells ``(n,)`` whose codes, without their neighbours', are most similar.

        Their similarities by these codes are returned too.

        Parameters
        ----------
        excluded : ranges of segments to exclude, each as first and end
        """
        sums, table = self.quantizer.cells[cells] @ query, self.quantizer.table(query)
        found = _joined([codes.scored(cells, sums, table) for codes in self._cell_codes])
        return top(*self._without(*found, excluded), SHORT_LIST)

    def _in_best_lists(
        self,
        query: FloatArray,
        cells: IntArray,
        depth: tuple[int, int] | float,
        excluded: Collection[tuple[int, int]],
    ) -> tuple[IntArray, FloatArray]:
        """Return the segments of the cells' best lists, as :meth:`_near`; depth as in a Plan, or a share."""
        table = self.quantizer.table(query)
        if isinstance(depth, float):
            numbers, sums, _ = self.planner.best(query, cells, table[0], depth)
        else:
            n, end = depth
            numbers, sums = self.planner.ranked(query, cells, table[0], n)
            numbers, sums = numbers[:end], sums[:end]
        return top(*self._without(*self._best_of(numbers, sums, table), excluded), N_DECODED)

    def _without(
        self, segments: IntArray, similarities: FloatArray, excluded: Collection[tuple[int, int]]
    ) -> tuple[IntArray, FloatArray]:
        """Return the segments that are visible and in none of the excluded ranges, and their similarities."""
        if self.all_visible and not excluded:
            return segments, similarities
        kept = self.visible(segments)
        for first, end in excluded:
            kept &= (segments < first) | (segments >= end)
        return segments[kept], similarities[kept]

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
        for lists, start in self._lists.of_layers:
            rows, similarities = scanner.best(lists, numbers, sums, N_REFINED)
            # In a file that is damaged while it is in use, a number may be one that does not exist.
            own = np.minimum(lists.segments[rows], len(lists.segments) - 1)
            found.append((own + start, similarities))
        return _joined(found)


def _joined(found: Sequence[tuple[IntArray, FloatArray]]) -> tuple[IntArray, FloatArray]:
    if len(found) == 1:
        return found[0]
    segments = np.concatenate([np.zeros(0, np.int64), *(each for each, _ in found)])
    similarities = np.concatenate([np.zeros(0, np.float32), *(each for _, each in found)])
    return segments, similarities
