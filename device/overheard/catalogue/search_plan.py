"""Decide how much of a catalogue a search visits, by how many segments there are, and in which lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from overheard.catalogue.lists import IntArray, best_lists, list_factors
from overheard.fingerprint.codebooks import CODEWORDS
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.quantizer import Quantizer

MIN_PROBED_CELLS = 24
PROBED_SHARE = 0.10  # of all cells; large, because noise moves a query far from its clean cell
SMALL_CATALOGUE = 1 << 17  # segments; in catalogues up to this size, whole cells are searched
MIN_VISITED, VISITED_SHARE = 28_000, 0.011  # segments per query in larger catalogues: at least, and of all
RANKED_SHARE = 0.15  # of all cells, whose lists are ranked


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much of a catalogue is searched. The parts of a catalogue are searched by the plan of the whole.

    Attributes
    ----------
    is_small : whether all segments of the nearest cells are scored
    n_ranked : number of cells per query
    depths : for each query, how many lists to rank, and how many of these to visit; empty if `is_small`
    """

    is_small: bool
    n_ranked: int
    depths: tuple[tuple[int, int], ...] = ()


class Planner:
    """Plans the searches of a catalogue.

    Parameters
    ----------
    quantizer : of its model
    n_segments : of the catalogue
    sizes_of : returns how many segments are in so many lists from each of some numbers on
    """

    def __init__(
        self, quantizer: Quantizer, n_segments: int, sizes_of: Callable[[IntArray, int], IntArray]
    ) -> None:
        self._quantizer, self._sizes_of = quantizer, sizes_of
        n_cells = len(quantizer.cells)
        self.n_probed = min(n_cells, max(MIN_PROBED_CELLS, int(PROBED_SHARE * n_cells)))
        self.n_visited = max(MIN_VISITED, int(VISITED_SHARE * n_segments))
        self.is_small = n_segments <= SMALL_CATALOGUE
        self.n_ranked = self.n_probed if self.is_small else max(self.n_probed, int(RANKED_SHARE * n_cells))

    @classmethod
    def of_lists(cls, quantizer: Quantizer, sizes: IntArray) -> Planner:
        """Return the planner of a catalogue whose lists have these sizes ``(n_cells * 256,)``."""
        bounds: IntArray = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        return cls(
            quantizer, int(bounds[-1]), lambda numbers, width: bounds[numbers + width] - bounds[numbers]
        )

    def plan(self, queries: FloatArray, share: float = 1.0) -> Plan:
        """Return how to search for queries ``(n, dim)``, for parts of the catalogue; share as in `best`."""
        depths: list[tuple[int, int]] = []
        for query in () if self.is_small else queries:
            cells = self._quantizer.nearest_cells(query, self.n_ranked)
            numbers, _, n = self.best(query, cells, self._quantizer.table(query)[0], share)
            depths.append((n, len(numbers)))
        return Plan(self.is_small, self.n_ranked, tuple(depths))

    def best(
        self, query: FloatArray, cells: IntArray, word_products: FloatArray, share: float = 1.0
    ) -> tuple[IntArray, FloatArray, int]:
        """Return the best lists, which hold a share of :attr:`n_visited` segments, and their similarities.

        The last value is how many lists were ranked.

        Parameters
        ----------
        query : (dim,) float32
        cells : (n_ranked,) int64
        word_products : (256,) float32, products of the query with the words of the first codebook
        """
        n_visited = max(1, int(share * self.n_visited))
        n_all = len(cells) * CODEWORDS
        n_segments = max(1, int(self._sizes_of(cells * CODEWORDS, CODEWORDS).sum()))
        n = n_all * n_visited // n_segments + 1  # if all lists had the same size
        while True:
            numbers, sums = self.ranked(query, cells, word_products, n)
            ends = np.cumsum(self._sizes_of(numbers, 1))
            if ends[-1] >= n_visited or n >= n_all:
                break
            n *= 1 + max(1, n_visited // (int(ends[-1]) + 1))
        end = int(np.searchsorted(ends, n_visited)) + 1
        return numbers[:end], sums[:end], n

    def ranked(
        self, query: FloatArray, cells: IntArray, word_products: FloatArray, n: int
    ) -> tuple[IntArray, FloatArray]:
        """Return about the `n` best lists of some cells, best first, and their similarities; see `best`."""
        products = self._quantizer.cells[cells] @ query
        return best_lists(cells, products, word_products, n, list_factors(self._quantizer))
