"""Search the catalogue for candidates: Annoy proposes cells, then the codes in those cells are scored.

Source: Jegou et al., PAMI 2011, section IV (inverted file with asymmetric distance computation).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from overheard.catalogue.pack import Pack
from overheard.events import Track
from overheard.fingerprint.codebooks import CODEWORDS, CodeArray, WideCodeArray
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, penalties_of
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.rows import QueryRows

IntArray = npt.NDArray[np.int64]

NO_CODEWORD = CODEWORDS  # fills up the codes of compact packs if other packs have longer codes
N_CANDIDATES = 24  # per query embedding
N_IMPOSTORS = 4  # per query embedding
SHORT_LIST_FACTOR = 8  # length of the short list over N_CANDIDATES; gain over 4 in docs/experiments.md
SHORT_LIST = SHORT_LIST_FACTOR * N_CANDIDATES
MIN_PROBED_CELLS = 24
PROBED_SHARE = 0.10  # of all cells; large, because noise moves a query far from its clean cell
N_CACHED_SEGMENTS = 8192  # decoded vectors, 3 MB; overlapping windows need mostly the same segments


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


@dataclasses.dataclass(frozen=True)
class ShortLists(QueryRows):
    """The segments from which a catalogue chooses the candidates, most similar by their own codes first.

    Attributes
    ----------
    segments : (n, SHORT_LIST) int64, filled up with -1
    rough : (n, SHORT_LIST) float32, similarities by the segments' own codes
    similarities, impostors : as those of :class:`Candidates`
    """

    segments: IntArray
    rough: FloatArray
    similarities: FloatArray
    impostors: FloatArray

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

    def candidates(self, queries: FloatArray, without: Collection[int] = ()) -> Candidates:
        """Propose segments for queries ``(n, dim)``, excluding the tracks with the numbers in `without`."""

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""


def best_rows(segments: IntArray, similarities: FloatArray, n: int) -> IntArray:
    """Return the rows of the at most `n` most similar segments, most similar first.

    Copies of a recording have equal similarities. The lower segment number then comes first, so that a
    catalogue in several parts gives the same order as the whole.
    """
    rows = np.arange(len(segments))
    if len(segments) > n:
        lowest = np.partition(similarities, len(segments) - n)[len(segments) - n]
        above, equal = np.flatnonzero(similarities > lowest), np.flatnonzero(similarities == lowest)
        rows = np.concatenate([above, equal[np.argsort(segments[equal])][: n - len(above)]])
    return rows[np.lexsort((segments[rows], -similarities[rows]))]


def top(segments: IntArray, similarities: FloatArray, n: int) -> tuple[IntArray, FloatArray]:
    """Return the at most `n` most similar segments and their similarities, see :func:`best_rows`."""
    rows = best_rows(segments, similarities, n)
    return segments[rows], similarities[rows]


class _InvertedLists:
    """The segments of each cell.

    Parameters
    ----------
    n_cells : number of cells of the quantizer
    cells : (n,) uint16, the cell of each segment
    """

    def __init__(self, n_cells: int, cells: npt.NDArray[np.uint16]) -> None:
        # Sorting at start is fast enough that packs need not store the lists: NumPy's stable sort of 16-bit
        # keys is a radix sort.
        self._order: npt.NDArray[np.uint32] = np.argsort(cells, kind="stable").astype(np.uint32)
        sizes = np.bincount(cells, minlength=n_cells)
        self._bounds: IntArray = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def of(self, cells: IntArray) -> tuple[IntArray, IntArray]:
        """Return the segments of these cells, cell by cell, and the number of segments per cell."""
        starts, sizes = self._bounds[cells], self._bounds[cells + 1] - self._bounds[cells]
        ends = np.cumsum(sizes)
        positions = np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
        return self._order[positions].astype(np.int64), sizes


class Catalogue:
    """All segments of one or more packs, numbered consecutively in the order of packs and tracks.

    Parameters
    ----------
    packs : open packs made with one model
    quantizer, cohort : parts of that model
    """

    def __init__(self, packs: Sequence[Pack], quantizer: Quantizer, cohort: Cohort) -> None:
        self.packs = tuple(packs)
        self.quantizer = quantizer
        counts = [np.diff(pack.first_segment) for pack in packs]
        lengths = np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)
        self.first_segment: IntArray = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._pack_track = np.concatenate([[0], np.cumsum([len(c) for c in counts])]).astype(np.int64)
        self._pack_segment = np.concatenate([[0], np.cumsum([len(p.packed_cells) for p in packs])]).astype(
            np.int64
        )
        packed_cells = (
            np.concatenate([p.packed_cells for p in packs]) if packs else np.zeros(0, dtype=np.uint16)
        )
        self._packed_cells: npt.NDArray[np.uint16] = packed_cells.astype(np.uint16)
        # A direct-mapped cache: row n % N_CACHED_SEGMENTS may hold segment n.
        self._cached_segments: IntArray = np.full(N_CACHED_SEGMENTS, -1, dtype=np.int64)
        self._cached_vectors: FloatArray = np.zeros((N_CACHED_SEGMENTS, quantizer.dim), dtype=np.float32)
        widths = {pack.codes.shape[1] for pack in packs if len(pack.codes)} or {quantizer.code_bytes}
        self._code_bytes, self._same_width = max(widths), len(widths) == 1
        n_cells = len(quantizer.cells)
        self._lists = _InvertedLists(n_cells, cells_of(self._packed_cells, n_cells))
        self._impostors = quantizer.scoring_vectors(cells_of(cohort.packed_cells, n_cells), cohort.codes)
        self._impostor_penalties = penalties_of(cohort.packed_cells, n_cells)
        self._impostor_lists = _InvertedLists(n_cells, cells_of(cohort.packed_cells, n_cells))
        self.n_probed = min(n_cells, max(MIN_PROBED_CELLS, int(PROBED_SHARE * n_cells)))

    @property
    def n_segments(self) -> int:
        """Number of segments in all packs."""
        return len(self._packed_cells)

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""
        pack_index = int(np.searchsorted(self._pack_track, number, side="right")) - 1
        pack = self.packs[pack_index]
        return pack.tracks[number - int(self._pack_track[pack_index])].to_track(pack.name)

    def codes(self, segments: IntArray) -> CodeArray | WideCodeArray:
        """Return the codes ``(n, code_bytes)`` of these segments, filled up with :data:`NO_CODEWORD`."""
        if len(self.packs) == 1:
            return self.packs[0].codes.take(segments, axis=0)  # takes a quarter of the time of indexing
        if self._same_width:
            codes: CodeArray | WideCodeArray = np.empty((len(segments), self._code_bytes), dtype=np.uint8)
        else:
            codes = np.full((len(segments), self._code_bytes), NO_CODEWORD, dtype=np.uint16)
        for pack_index, numbers, chosen in self._by_pack(segments):
            pack = self.packs[pack_index]
            codes[chosen, : pack.codes.shape[1]] = pack.codes[numbers]
        return codes

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return the scoring vectors ``(n, dim)`` float32 of these segments."""
        rows = segments % N_CACHED_SEGMENTS
        new = self._cached_segments[rows] != segments
        vectors = self._cached_vectors[rows]
        vectors[new] = self._decode(segments[new])
        self._cached_segments[rows[new]], self._cached_vectors[rows[new]] = segments[new], vectors[new]
        return vectors

    def _decode(self, segments: IntArray) -> FloatArray:
        vectors = np.empty((len(segments), self.quantizer.dim), dtype=np.float32)
        tracks = np.searchsorted(self.first_segment, segments, side="right") - 1
        is_first = segments == self.first_segment[tracks]
        is_last = segments + 1 == self.first_segment[tracks + 1]
        before, after = np.where(is_first, segments, segments - 1), np.where(is_last, segments, segments + 1)
        for pack_index, _, chosen in self._by_pack(segments):
            own = segments[chosen]
            # Read each code once, although it may be needed for up to three segments.
            needed, inverse = np.unique([before[chosen], own, after[chosen]], return_inverse=True)
            before_rows, own_rows, after_rows = inverse.reshape(3, -1)
            vectors[chosen] = self.quantizer.scoring_vectors(
                cells_of(self._packed_cells[needed], len(self.quantizer.cells)),
                self.packs[pack_index].codes[needed - self._pack_segment[pack_index]],
                np.where(is_first[chosen], -1, before_rows),
                np.where(is_last[chosen], -1, after_rows),
                own_rows,
            )
        return vectors

    def similarities(self, queries: FloatArray, segments: IntArray) -> FloatArray:
        """Return products ``(m, n)`` of queries and scoring vectors, less the segments' hubness penalties."""
        products: FloatArray = queries @ self.vectors(segments).T
        products -= penalties_of(self._packed_cells[segments], len(self.quantizer.cells))
        return products

    def _by_pack(self, segments: IntArray) -> Iterator[tuple[int, IntArray, npt.NDArray[np.bool_]]]:
        """Yield, for each pack with some of the segments, its index, their numbers in it and their mask."""
        pack_indices = np.searchsorted(self._pack_segment, segments, side="right") - 1
        for pack_index in np.unique(pack_indices):
            chosen = pack_indices == pack_index
            yield int(pack_index), segments[chosen] - self._pack_segment[pack_index], chosen

    def candidates(self, queries: FloatArray, without: Collection[int] = ()) -> Candidates:
        """Propose the most similar segments in the cells nearest to each query.

        Parameters
        ----------
        queries : (n, dim) float32, unit norm
        without : track numbers to exclude
        """
        lists = self.short_lists(queries, without)
        segments = np.full((len(queries), N_CANDIDATES), -1, dtype=np.int64)
        similarities = np.zeros((len(queries), N_CANDIDATES), dtype=np.float32)
        for row, n in enumerate(lists.lengths):
            best, scores = top(lists.segments[row, :n], lists.similarities[row, :n], N_CANDIDATES)
            segments[row, : len(best)], similarities[row, : len(best)] = best, scores
        return Candidates(segments, similarities, lists.impostors)

    def short_lists(self, queries: FloatArray, without: Collection[int] = ()) -> ShortLists:
        """Return what :meth:`candidates` chooses from, so that parts of a catalogue can be merged."""
        segments = np.full((len(queries), SHORT_LIST), -1, dtype=np.int64)
        rough, similarities = np.zeros((2, len(queries), SHORT_LIST), dtype=np.float32)
        impostors = np.zeros((len(queries), N_IMPOSTORS), dtype=np.float32)
        excluded = [(int(self.first_segment[t]), int(self.first_segment[t + 1])) for t in without]
        for row, query in enumerate(queries):
            cells = self.quantizer.nearest_cells(query, self.n_probed)
            listed, scores = self._short_list(query, cells, excluded)
            segments[row, : len(listed)], rough[row, : len(listed)] = listed, scores
            similarities[row, : len(listed)] = self.similarities(query[None], listed)[0]
            near, _ = self._impostor_lists.of(cells)
            scores = self._impostors[near] @ query - self._impostor_penalties[near]
            _, scores = top(near, scores, N_IMPOSTORS)
            impostors[row, : len(scores)] = scores
        return ShortLists(segments, rough, similarities, impostors)

    def _short_list(
        self, query: FloatArray, cells: IntArray, excluded: Collection[tuple[int, int]]
    ) -> tuple[IntArray, FloatArray]:
        """Return the segments in these cells whose codes, without their neighbours', are most similar.

        Their similarities by these codes are returned too.

        Parameters
        ----------
        query : (dim,) float32
        cells : (n,) int64
        excluded : ranges of segments to exclude, each as first and end
        """
        segments, sizes = self._lists.of(cells)
        if not len(segments):
            return segments, np.zeros(0, dtype=np.float32)
        similarities = np.repeat(self.quantizer.cells[cells] @ query, sizes)
        codes, table = self.codes(segments), self.quantizer.table(query)
        if codes.dtype != np.uint8:
            table = np.pad(table, ((0, 0), (0, 1)))  # the product with NO_CODEWORD is 0
        # Column by column takes half the time of one gather. Compact codes have fewer columns than the table.
        for products, column in zip(table, codes.T, strict=False):
            similarities += products.take(column)
        for first, end in excluded:
            others = (segments < first) | (segments >= end)
            segments, similarities = segments[others], similarities[others]
        return top(segments, similarities, SHORT_LIST)
