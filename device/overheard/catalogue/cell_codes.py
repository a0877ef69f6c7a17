"""Codes by cell, for catalogues so small that a search scores all segments of some cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from overheard.catalogue.layer import Layer
from overheard.catalogue.lists import IntArray
from overheard.catalogue.scan import add_words
from overheard.fingerprint.codebooks import CodeArray
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of


@dataclasses.dataclass(frozen=True, eq=False)
class CellCodes:
    """The segments of layers with codes of one width, in the order of their cells, and these codes.

    Attributes
    ----------
    bounds : (n_cells + 1,) int64, where each cell begins, then n
    segments : (n,) int64, in the numbering of the catalogue
    words : (code_bytes, n) uint8, a row for each word of the codes: a search reads one row after the other
    """

    bounds: IntArray
    segments: IntArray
    words: CodeArray

    @classmethod
    def of(cls, layers: Sequence[tuple[Layer, int]], n_cells: int) -> CellCodes:
        """Return the codes of one or more layers, each with its first segment."""
        cells = np.concatenate(
            [cells_of(layer.packed_cells(0, layer.n_segments), n_cells) for layer, _ in layers]
        )
        segments = np.concatenate([np.arange(layer.n_segments) + start for layer, start in layers])
        codes = np.concatenate([layer.codes(0, layer.n_segments) for layer, _ in layers])
        order = np.argsort(cells, kind="stable")
        bounds = np.searchsorted(cells[order], np.arange(n_cells + 1))
        return cls(bounds, segments[order], np.ascontiguousarray(codes[order].T))

    def scored(self, cells: IntArray, sums: FloatArray, table: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return all segments of some cells, and their similarities to a query by their own codes.

        Parameters
        ----------
        cells : (c,) int64
        sums : (c,) float32, products of the query with the cells' centroids
        table : (words, 256) float32, its products with the words
        """
        starts, ends = self.bounds[cells], self.bounds[cells + 1]
        similarities = np.repeat(sums, ends - starts)
        ranges = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        add_words(similarities, np.concatenate([self.words[:, cell] for cell in ranges], axis=1).T, table)
        return np.concatenate([self.segments[cell] for cell in ranges]), similarities
