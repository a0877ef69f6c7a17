"""Find the segments of the model's cohort that are most similar to a query."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from overheard.catalogue.lists import IntArray
from overheard.catalogue.scan import top
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, penalties_of
from overheard.fingerprint.quantizer import Quantizer


@dataclasses.dataclass(frozen=True, eq=False)
class CohortIndex:
    """The cohort's segments by their cells, which all catalogues of a model share.

    Attributes
    ----------
    vectors : (n, dim) float32, scoring vectors
    penalties : (n,) float32, for hubness
    order : (n,) int64, numbers of the segments in the order of their cells
    bounds : (n_cells + 1,) int64, where each cell begins in `order`, then n
    """

    vectors: FloatArray
    penalties: FloatArray
    order: IntArray
    bounds: IntArray

    def nearest(self, query: FloatArray, cells: IntArray, n: int) -> FloatArray:
        """Return the similarities of the most similar segments in some cells, at most `n`."""
        near = self.order[spans(self.bounds, cells)]
        return top(near, self.vectors[near] @ query - self.penalties[near], n)[1]


@functools.lru_cache(maxsize=2)  # models; unknown music is a catalogue that changes often
def cohort_index_of(quantizer: Quantizer, cohort: Cohort) -> CohortIndex:
    """Return the cohort of a model, with what a search needs."""
    n_cells = len(quantizer.cells)
    cells = cells_of(cohort.packed_cells, n_cells)
    order = np.argsort(cells, kind="stable")
    return CohortIndex(
        quantizer.scoring_vectors(cells, cohort.codes),
        penalties_of(cohort.packed_cells, n_cells),
        order,
        np.searchsorted(cells[order], np.arange(n_cells + 1)),
    )


def spans(bounds: IntArray, numbers: IntArray) -> IntArray:
    """Return the positions of the ranges with these numbers, one range after the other."""
    starts, sizes = bounds[numbers], bounds[numbers + 1] - bounds[numbers]
    ends = np.cumsum(sizes)
    positions: IntArray = np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
    return positions
