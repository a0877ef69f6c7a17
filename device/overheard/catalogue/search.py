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


def top(segments: IntArray, similarities: FloatArray, n: int) -> tuple[IntArray, FloatArray]:
    """Return the at most `n` most similar segments and their similarities, most similar first."""
    if len(segments) > n:
        best = np.argpartition(-similarities, n)[:n]
        segments, similarities = segments[best], similarities[best]
    order = np.argsort(-similarities, kind="stable")
    return segments[order], similarities[order]


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
        self._layers = [layer for pack in packs for layer in pack.layers]
        self._pack_names = [pack.name for pack in packs for _ in pack.layers]
        counts = [np.diff(layer.first_segment) for layer in self._layers]
        lengths = np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)
        self.first_segment: IntArray = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._layer_track = np.concatenate([[0], np.cumsum([len(c) for c in counts])]).astype(np.int64)
        self._layer_segment = np.concatenate([[0], np.cumsum([n.n_segments for n in self._layers])]).astype(
            np.int64
        )
        # Layers are searched whole for now.
        stored = [layer.read(0, layer.n_segments) for layer in self._layers]
        self._codes = [codes for _, codes in stored]
        packed_cells = (
            np.concatenate([cells for cells, _ in stored]) if stored else np.zeros(0, dtype=np.uint16)
        )
        self._packed_cells: npt.NDArray[np.uint16] = packed_cells.astype(np.uint16)
        # A direct-mapped cache: row n % N_CACHED_SEGMENTS may hold segment n.
        self._cached_segments: IntArray = np.full(N_CACHED_SEGMENTS, -1, dtype=np.int64)
        self._cached_vectors: FloatArray = np.zeros((N_CACHED_SEGMENTS, quantizer.dim), dtype=np.float32)
        widths = {codes.shape[1] for codes in self._codes if len(codes)} or {quantizer.code_bytes}
        self._code_bytes, self._same_width = max(widths), len(widths) == 1
        n_cells = len(quantizer.cells)
        hidden = [mask for pack in packs for mask in pack.hidden]
        hidden_tracks = np.concatenate(hidden) if hidden else np.zeros(0, dtype=np.bool_)
        self._hidden: npt.NDArray[np.bool_] = np.repeat(hidden_tracks, lengths)
        self._lists = _InvertedLists(n_cells, cells_of(self._packed_cells, n_cells))
        self._impostors = quantizer.scoring_vectors(cells_of(cohort.packed_cells, n_cells), cohort.codes)
        self._impostor_penalties = penalties_of(cohort.packed_cells, n_cells)
        self._impostor_lists = _InvertedLists(n_cells, cells_of(cohort.packed_cells, n_cells))
        self.n_probed = min(n_cells, max(MIN_PROBED_CELLS, int(PROBED_SHARE * n_cells)))

    @property
    def n_segments(self) -> int:
        """Number of segments in all packs, hidden ones included."""
        return len(self._packed_cells)

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""
        which = int(np.searchsorted(self._layer_track, number, side="right")) - 1
        row = number - int(self._layer_track[which])
        return self._layers[which].tracks[row].to_track(self._pack_names[which])

    def codes(self, segments: IntArray) -> CodeArray | WideCodeArray:
        """Return the codes ``(n, code_bytes)`` of these segments, filled up with :data:`NO_CODEWORD`."""
        if len(self._layers) == 1:
            return self._codes[0].take(segments, axis=0)  # takes a quarter of the time of indexing
        if self._same_width:
            codes: CodeArray | WideCodeArray = np.empty((len(segments), self._code_bytes), dtype=np.uint8)
        else:
            codes = np.full((len(segments), self._code_bytes), NO_CODEWORD, dtype=np.uint16)
        for which, numbers, chosen in self._by_layer(segments):
            codes[chosen, : self._codes[which].shape[1]] = self._codes[which][numbers]
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
        for which, _, chosen in self._by_layer(segments):
            own = segments[chosen]
            # Read each code once, although it may be needed for up to three segments.
            needed, inverse = np.unique([before[chosen], own, after[chosen]], return_inverse=True)
            before_rows, own_rows, after_rows = inverse.reshape(3, -1)
            vectors[chosen] = self.quantizer.scoring_vectors(
                cells_of(self._packed_cells[needed], len(self.quantizer.cells)),
                self._codes[which][needed - self._layer_segment[which]],
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

    def _by_layer(self, segments: IntArray) -> Iterator[tuple[int, IntArray, npt.NDArray[np.bool_]]]:
        """Yield, for each layer with some of the segments, its index, their numbers in it and their mask."""
        indices = np.searchsorted(self._layer_segment, segments, side="right") - 1
        for which in np.unique(indices):
            chosen = indices == which
            yield int(which), segments[chosen] - self._layer_segment[which], chosen

    def candidates(self, queries: FloatArray, without: Collection[int] = ()) -> Candidates:
        """Propose the most similar segments in the cells nearest to each query.

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
            cells = self.quantizer.nearest_cells(query, self.n_probed)
            listed = self._short_list(query, cells, excluded)
            best, scores = top(listed, self.similarities(query[None], listed)[0], N_CANDIDATES)
            segments[row, : len(best)] = best
            similarities[row, : len(best)] = scores
            near, _ = self._impostor_lists.of(cells)
            scores = self._impostors[near] @ query - self._impostor_penalties[near]
            _, scores = top(near, scores, N_IMPOSTORS)
            impostors[row, : len(scores)] = scores
        return Candidates(segments, similarities, impostors)

    def _short_list(
        self, query: FloatArray, cells: IntArray, excluded: Collection[tuple[int, int]]
    ) -> IntArray:
        """Return the segments in these cells whose codes, without their neighbours', are most similar.

        Parameters
        ----------
        query : (dim,) float32
        cells : (n,) int64
        excluded : ranges of segments to exclude, each as first and end
        """
        segments, sizes = self._lists.of(cells)
        if not len(segments):
            return segments
        similarities = np.repeat(self.quantizer.cells[cells] @ query, sizes)
        codes, table = self.codes(segments), self.quantizer.table(query)
        if codes.dtype != np.uint8:
            table = np.pad(table, ((0, 0), (0, 1)))  # the product with NO_CODEWORD is 0
        # Column by column takes half the time of one gather. Compact codes have fewer columns than the table.
        for products, column in zip(table, codes.T, strict=False):
            similarities += products.take(column)
        visible = ~self._hidden[segments]
        segments, similarities = segments[visible], similarities[visible]
        for first, end in excluded:
            others = (segments < first) | (segments >= end)
            segments, similarities = segments[others], similarities[others]
        return top(segments, similarities, SHORT_LIST_FACTOR * N_CANDIDATES)[0]
