"""Find the segments of the model's cohort that are most similar to a query."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from overheard.catalogue.lists import IntArray
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, penalties_of
from overheard.fingerprint.quantizer import Quantizer


@dataclasses.dataclass(frozen=True, eq=False)
class CohortIndex:
    """The cohort's segments in the order of their cells, which all catalogues of a model share.

    Attributes
    ----------
    vectors : (n, dim) float32, scoring vectors
    penalties : (n,) float32, for hubness
    bounds : (n_cells + 1,) int64, where each cell begins, then n
    """

    vectors: FloatArray
    penalties: FloatArray
    bounds: IntArray

    def nearest(self, query: FloatArray, cells: IntArray, n: int) -> FloatArray:
        """Return the similarities of the most similar segments in some cells, at most `n`."""
        near = spans(self.bounds, np.sort(cells))  # in the order of memory
        similarities = self.vectors.take(near, axis=0) @ query - self.penalties.take(near)
        if len(near) > n:
            similarities = np.partition(similarities, len(near) - n)[len(near) - n :]
        return np.sort(similarities)[::-1]


@functools.lru_cache(maxsize=2)  # models; unknown music is a catalogue that changes often
def cohort_index_of(quantizer: Quantizer, cohort: Cohort) -> CohortIndex:
    """Return the cohort of a model, with what a search needs."""
    n_cells = len(quantizer.cells)
    cells = cells_of(cohort.packed_cells, n_cells)
    order = np.argsort(cells, kind="stable")
    return CohortIndex(
        quantizer.scoring_vectors(cells[order], cohort.codes[order]),
        penalties_of(cohort.packed_cells[order], n_cells),
        np.searchsorted(cells[order], np.arange(n_cells + 1)),
    )


def spans(bounds: IntArray, numbers: IntArray) -> IntArray:
    """Return the positions of the ranges with these numbers, one range after the other."""
    starts, sizes = bounds[numbers], bounds[numbers + 1] - bounds[numbers]
    ends = np.cumsum(sizes)
    positions: IntArray = np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
    return positions
