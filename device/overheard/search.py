"""Candidates for query embeddings: Annoy proposes cells, codes in those cells are scored.

Source: Jegou et al., PAMI 2011, section IV (inverted file with asymmetric distance computation).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from overheard.cohort import Cohort
from overheard.events import Track
from overheard.pack import Pack
from overheard.quantizer import FloatArray, Quantizer

IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.uint8]

N_CANDIDATES = 24  # per query embedding
N_IMPOSTORS = 4
MIN_PROBED_CELLS = 24
PROBED_SHARE = 0.10  # of the cells: a query heard through noise lies far from its own cell


@dataclasses.dataclass(frozen=True)
class Candidates:
    """What the index proposes for query embeddings.

    Attributes
    ----------
    segments : (n, N_CANDIDATES) int64, numbers within the catalogue; -1 where there are fewer
    similarities : (n, N_CANDIDATES) float32, about cosine
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

    def project(self, queries: FloatArray) -> FloatArray:
        """Bring queries ``(n, dim)`` into the space of :meth:`vectors`."""

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return unit-norm vectors ``(n, dim)`` of these segments."""

    def candidates(self, queries: FloatArray) -> Candidates:
        """Propose segments for queries ``(n, dim)``."""

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""


def _top(segments: IntArray, similarities: FloatArray, n: int) -> tuple[IntArray, FloatArray]:
    if len(segments) > n:
        best = np.argpartition(-similarities, n)[:n]
        segments, similarities = segments[best], similarities[best]
    order = np.argsort(-similarities, kind="stable")
    return segments[order], similarities[order]


class _CodedSegments:
    """Codes in inverted lists, searched cell by cell.

    Parameters
    ----------
    cells : (n,) uint16
    codes : from segment numbers to their codes
    """

    def __init__(
        self, quantizer: Quantizer, cells: npt.NDArray[np.uint16], codes: Callable[[IntArray], CodeArray]
    ) -> None:
        self._quantizer, self._codes = quantizer, codes
        # Inverted lists cost no byte in a file: a stable sort of 16-bit keys is a radix sort.
        self._order: npt.NDArray[np.uint32] = np.argsort(cells, kind="stable").astype(np.uint32)
        sizes = np.bincount(cells, minlength=len(quantizer.cells))
        self._bounds: IntArray = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def probe(self, query: FloatArray, cells: IntArray) -> tuple[IntArray, FloatArray]:
        """Return the segments in these cells and their similarities to the query ``(dim,)``."""
        quantizer = self._quantizer
        starts, sizes = self._bounds[cells], self._bounds[cells + 1] - self._bounds[cells]
        total = int(sizes.sum())
        if total == 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        ends = np.cumsum(sizes)
        positions = np.arange(total) + np.repeat(starts - (ends - sizes), sizes)
        segments = self._order[positions].astype(np.int64)
        parts = (query @ quantizer.rotation).reshape(quantizer.code_bytes, -1, 1)
        table = (quantizer.codebooks @ parts)[..., 0].ravel()  # (code_bytes * 256,)
        places = np.arange(quantizer.code_bytes, dtype=np.int32) * quantizer.codebooks.shape[1]
        scores = np.repeat(quantizer.cells[cells] @ query, sizes)
        scores += table[self._codes(segments) + places].sum(axis=1)
        return segments, scores.astype(np.float32)


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
        self._pack_segment = np.concatenate([[0], np.cumsum([len(p.cells) for p in packs])]).astype(np.int64)
        cells = np.concatenate([p.cells for p in packs]) if packs else np.zeros(0, dtype=np.uint16)
        self._cells: npt.NDArray[np.uint16] = cells.astype(np.uint16)
        self._segments = _CodedSegments(quantizer, self._cells, self.codes)
        self._cohort = _CodedSegments(quantizer, cohort.cells, lambda numbers: cohort.codes[numbers])
        self.n_probed = min(
            len(quantizer.cells), max(MIN_PROBED_CELLS, int(PROBED_SHARE * len(quantizer.cells)))
        )

    @property
    def n_segments(self) -> int:
        """Segments in all packs."""
        return len(self._cells)

    @property
    def n_tracks(self) -> int:
        """Tracks in all packs."""
        return len(self.first_segment) - 1

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""
        place = int(np.searchsorted(self._pack_track, number, side="right")) - 1
        pack = self.packs[place]
        found = pack.tracks[number - int(self._pack_track[place])]
        return Track(
            found.id, found.title, found.artist, found.album, found.path, pack.name, found.duration_s
        )

    def project(self, queries: FloatArray) -> FloatArray:
        """Rotate queries ``(n, dim)`` into the codes' space."""
        return np.asarray(queries @ self.quantizer.rotation, dtype=np.float32)

    def codes(self, segments: IntArray) -> CodeArray:
        """Return the codes ``(n, code_bytes)`` of these segments."""
        if len(self.packs) == 1:
            return np.asarray(self.packs[0].codes[segments])
        codes = np.empty((len(segments), self.quantizer.code_bytes), dtype=np.uint8)
        places = np.searchsorted(self._pack_segment, segments, side="right") - 1
        for place, pack in enumerate(self.packs):
            chosen = places == place
            codes[chosen] = pack.codes[segments[chosen] - self._pack_segment[place]]
        return codes

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return the decoded vectors ``(n, dim)`` of these segments, in the space of :meth:`project`."""
        return self.quantizer.decode_rotated(self._cells[segments], self.codes(segments))

    def candidates(self, queries: FloatArray) -> Candidates:
        """Propose the nearest segments of each query embedding ``(n, dim)``, by probed cells and codes."""
        segments = np.full((len(queries), N_CANDIDATES), -1, dtype=np.int64)
        similarities = np.zeros((len(queries), N_CANDIDATES), dtype=np.float32)
        impostors = np.zeros((len(queries), N_IMPOSTORS), dtype=np.float32)
        for row, query in enumerate(queries):
            cells = self.quantizer.nearest_cells(query, self.n_probed)
            found, scores = _top(*self._segments.probe(query, cells), N_CANDIDATES)
            segments[row, : len(found)] = found
            similarities[row, : len(found)] = scores
            _, scores = _top(*self._cohort.probe(query, cells), N_IMPOSTORS)
            impostors[row, : len(scores)] = scores
        return Candidates(segments, similarities, impostors)


class ExhaustiveCatalogue:
    """Every segment's float embedding, compared one by one: the yardstick for codes and index.

    Parameters
    ----------
    tracks : the tracks, in order
    embeddings : one (n_segments, dim) float32 array a track
    cohort : (n, dim) float32
    """

    def __init__(self, tracks: Sequence[Track], embeddings: Sequence[FloatArray], cohort: FloatArray) -> None:
        self._tracks, self._cohort = tuple(tracks), cohort
        self.first_segment: IntArray = np.concatenate([[0], np.cumsum([len(e) for e in embeddings])]).astype(
            np.int64
        )
        self._embeddings: FloatArray = np.concatenate(list(embeddings))

    def track(self, number: int) -> Track:
        """Return a track by its number."""
        return self._tracks[number]

    def project(self, queries: FloatArray) -> FloatArray:
        """Return the queries as they are."""
        return queries

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return embeddings as they are."""
        return self._embeddings[segments]

    def candidates(self, queries: FloatArray) -> Candidates:
        """Return the nearest segments of all."""
        scores = queries @ self._embeddings.T
        everything = np.arange(len(self._embeddings))
        pairs = [_top(everything, row, N_CANDIDATES) for row in scores]
        impostors = -np.sort(-(queries @ self._cohort.T), axis=1)[:, :N_IMPOSTORS]
        return Candidates(np.stack([s for s, _ in pairs]), np.stack([v for _, v in pairs]), impostors)
