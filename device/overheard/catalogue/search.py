"""Candidates for query embeddings: Annoy proposes cells, codes in those cells are scored.

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

IntArray = npt.NDArray[np.int64]

NONE = CODEWORDS  # no code word: a compact code ends before others do
N_CANDIDATES = 24  # per query embedding
N_IMPOSTORS = 4
SHORT_LIST = 8  # times as many segments are compared by their vectors as are wanted
MIN_PROBED_CELLS = 24
PROBED_SHARE = 0.10  # of the cells: a query heard through noise lies far from its own cell
N_KEPT = 8192  # decoded segments: windows that follow each other ask for much the same


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What the index proposes for query embeddings.

    Attributes
    ----------
    segments : (n, N_CANDIDATES) int64, numbers within the catalogue; -1 where there are fewer
    similarities : (n, N_CANDIDATES) float32, about the cosine
    impostors : (n, at most N_IMPOSTORS) float32, similarities of the nearest segments of the cohort
    """

    segments: IntArray
    similarities: FloatArray
    impostors: FloatArray

    def rows(self, rows: slice | IntArray) -> Candidates:
        """Return the candidates of some of the queries."""
        return Candidates(self.segments[rows], self.similarities[rows], self.impostors[rows])

    @classmethod
    def join(cls, parts: Sequence[Candidates]) -> Candidates:
        """Return the candidates of several groups of queries as those of one."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


class SegmentIndex(Protocol):
    """What the matcher asks of a catalogue."""

    first_segment: IntArray  # (n_tracks + 1,)

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return vectors ``(n, dim)`` of these segments, along their embeddings."""

    def similarities(self, queries: FloatArray, segments: IntArray) -> FloatArray:
        """Return how alike queries ``(m, dim)`` and segments ``(n,)`` are, ``(m, n)``."""

    def candidates(self, queries: FloatArray, without: Collection[int] = ()) -> Candidates:
        """Propose segments for queries ``(n, dim)``, as if some tracks were not there."""

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""


def top(segments: IntArray, similarities: FloatArray, n: int) -> tuple[IntArray, FloatArray]:
    """Return the `n` most similar segments, or as many as there are, and their similarities, in order."""
    if len(segments) > n:
        best = np.argpartition(-similarities, n)[:n]
        segments, similarities = segments[best], similarities[best]
    order = np.argsort(-similarities, kind="stable")
    return segments[order], similarities[order]


class _InvertedLists:
    """The segments of each cell.

    Parameters
    ----------
    n_cells : of the quantizer
    cells : (n,) uint16, of each segment
    """

    def __init__(self, n_cells: int, cells: npt.NDArray[np.uint16]) -> None:
        # They cost no byte in a file: a stable sort of 16-bit keys is a radix sort.
        self._order: npt.NDArray[np.uint32] = np.argsort(cells, kind="stable").astype(np.uint32)
        sizes = np.bincount(cells, minlength=n_cells)
        self._bounds: IntArray = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def of(self, cells: IntArray) -> tuple[IntArray, IntArray]:
        """Return the segments of these cells, cell by cell, and how many each has."""
        starts, sizes = self._bounds[cells], self._bounds[cells + 1] - self._bounds[cells]
        ends = np.cumsum(sizes)
        positions = np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
        return self._order[positions].astype(np.int64), sizes


class Catalogue:
    """Everything recognizable: the segments of one or more packs, in one numbering.

    Parameters
    ----------
    packs : opened packs of one model
    quantizer, cohort : that model's
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
        # Segment n is kept in row n % N_KEPT, the latest that was asked for.
        self._kept_segments: IntArray = np.full(N_KEPT, -1, dtype=np.int64)
        self._kept_vectors: FloatArray = np.zeros((N_KEPT, quantizer.dim), dtype=np.float32)
        widths = {pack.codes.shape[1] for pack in packs} or {quantizer.code_bytes}
        self._code_bytes, self._same_width = max(widths), len(widths) == 1
        n_cells = len(quantizer.cells)
        self._lists = _InvertedLists(n_cells, cells_of(self._packed_cells, n_cells))
        self._impostors = quantizer.scoring_vectors(cells_of(cohort.packed_cells, n_cells), cohort.codes)
        self._impostor_penalties = penalties_of(cohort.packed_cells, n_cells)
        self._impostor_lists = _InvertedLists(n_cells, cells_of(cohort.packed_cells, n_cells))
        self.n_probed = min(n_cells, max(MIN_PROBED_CELLS, int(PROBED_SHARE * n_cells)))

    @property
    def n_segments(self) -> int:
        """Segments in all packs."""
        return len(self._packed_cells)

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""
        place = int(np.searchsorted(self._pack_track, number, side="right")) - 1
        pack = self.packs[place]
        return pack.tracks[number - int(self._pack_track[place])].to_track(pack.name)

    def codes(self, segments: IntArray) -> CodeArray | WideCodeArray:
        """Return the codes ``(n, m)`` of these segments, with :data:`NONE` after those that are shorter."""
        if len(self.packs) == 1:
            return self.packs[0].codes.take(segments, axis=0)  # a quarter of the time of indexing
        if self._same_width:
            codes: CodeArray | WideCodeArray = np.empty((len(segments), self._code_bytes), dtype=np.uint8)
        else:
            codes = np.full((len(segments), self._code_bytes), NONE, dtype=np.uint16)
        for place, numbers, chosen in self._by_pack(segments):
            pack = self.packs[place]
            codes[chosen, : pack.codes.shape[1]] = pack.codes[numbers]
        return codes

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return the scoring vectors ``(n, dim)`` of these segments, by codes and neighbours' codes."""
        rows = segments % N_KEPT
        new = self._kept_segments[rows] != segments
        vectors = self._kept_vectors[rows]
        vectors[new] = self._decode(segments[new])
        self._kept_segments[rows[new]], self._kept_vectors[rows[new]] = segments[new], vectors[new]
        return vectors

    def _decode(self, segments: IntArray) -> FloatArray:
        vectors = np.empty((len(segments), self.quantizer.dim), dtype=np.float32)
        tracks = np.searchsorted(self.first_segment, segments, side="right") - 1
        is_first = segments == self.first_segment[tracks]
        is_last = segments + 1 == self.first_segment[tracks + 1]
        before, after = np.where(is_first, segments, segments - 1), np.where(is_last, segments, segments + 1)
        for place, _, chosen in self._by_pack(segments):
            own = segments[chosen]
            needed, where = np.unique([before[chosen], own, after[chosen]], return_inverse=True)
            found = where.reshape(3, -1)  # neighbouring segments need each other's codes
            vectors[chosen] = self.quantizer.scoring_vectors(
                cells_of(self._packed_cells[needed], len(self.quantizer.cells)),
                self.packs[place].codes[needed - self._pack_segment[place]],
                np.where(is_first[chosen], -1, found[0]),
                np.where(is_last[chosen], -1, found[2]),
                found[1],
            )
        return vectors

    def similarities(self, queries: FloatArray, segments: IntArray) -> FloatArray:
        """Return products of queries and scoring vectors, less the segments' hubness, ``(m, n)``."""
        products: FloatArray = queries @ self.vectors(segments).T
        products -= penalties_of(self._packed_cells[segments], len(self.quantizer.cells))
        return products

    def _by_pack(self, segments: IntArray) -> Iterator[tuple[int, IntArray, npt.NDArray[np.bool_]]]:
        """Yield each pack that holds some of the segments, their numbers in it, and which they are."""
        packed_cells = np.searchsorted(self._pack_segment, segments, side="right") - 1
        for place in np.unique(packed_cells):
            chosen = packed_cells == place
            yield int(place), segments[chosen] - self._pack_segment[place], chosen

    def candidates(self, queries: FloatArray, without: Collection[int] = ()) -> Candidates:
        """Propose the nearest segments of each query embedding ``(n, dim)``, by probed cells and codes.

        Parameters
        ----------
        without : tracks that are passed over, as if they were not in the catalogue
        """
        segments = np.full((len(queries), N_CANDIDATES), -1, dtype=np.int64)
        similarities = np.zeros((len(queries), N_CANDIDATES), dtype=np.float32)
        impostors = np.zeros((len(queries), N_IMPOSTORS), dtype=np.float32)
        passed_over = [(int(self.first_segment[t]), int(self.first_segment[t + 1])) for t in without]
        for row, query in enumerate(queries):
            cells = self.quantizer.nearest_cells(query, self.n_probed)
            found = self._short_list(query, cells, passed_over)
            found, scores = top(found, self.similarities(query[None], found)[0], N_CANDIDATES)
            segments[row, : len(found)] = found
            similarities[row, : len(found)] = scores
            found, _ = self._impostor_lists.of(cells)
            scores = self._impostors[found] @ query - self._impostor_penalties[found]
            _, scores = top(found, scores, N_IMPOSTORS)
            impostors[row, : len(scores)] = scores
        return Candidates(segments, similarities, impostors)

    def _short_list(
        self, query: FloatArray, cells: IntArray, without: Collection[tuple[int, int]]
    ) -> IntArray:
        """Return the segments in these cells whose own codes are most like a query.

        Parameters
        ----------
        without : ranges of segments that are passed over
        """
        segments, sizes = self._lists.of(cells)
        if not len(segments):
            return segments
        likeness = np.repeat(self.quantizer.cells[cells] @ query, sizes)
        codes, table = self.codes(segments), self.quantizer.table(query)
        if codes.dtype != np.uint8:
            table = np.pad(table, ((0, 0), (0, 1)))  # NONE adds nothing
        for words, chosen in zip(table, codes.T, strict=False):  # a compact code has fewer than the table
            likeness += words.take(chosen)  # column by column: half the time of one gather of all
        for first, end in without:
            others = (segments < first) | (segments >= end)
            segments, likeness = segments[others], likeness[others]
        return top(segments, likeness, SHORT_LIST * N_CANDIDATES)[0]
