"""How near a segment is to any music: what much resembles is often found, and seldom rightly.

A similarity to it proves less. It is kept beside the cell, in bits that a cell's number leaves of two bytes:
together they are a segment's place. Sources: Radovanovic et al., Hubs in Space, JMLR 2010; the correction is
half of CSLS, Conneau et al. (1710.04087), section 2.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.frontend import FloatArray

PackedCellArray = npt.NDArray[np.uint16]

PACKED_CELLS = 65536  # that two bytes tell apart
N_NEAREST = 8
WEIGHT = 0.3  # docs/experiments.md
COMPARED_AT_ONCE = 512  # embeddings


def hubness(embeddings: FloatArray, references: FloatArray, among_them: bool = False) -> FloatArray:
    """Return the mean cosine ``(n,)`` of embeddings ``(n, dim)`` to their nearest references.

    Parameters
    ----------
    references : (m, dim) float32, unit norm; of the model's cohort
    among_them : the embeddings are the references, and not compared with themselves
    """
    found = np.zeros(len(embeddings), dtype=np.float32)
    n = min(N_NEAREST, len(references) - among_them)
    if n == 0:
        return found
    for first in range(0, len(embeddings), COMPARED_AT_ONCE):
        cosines = embeddings[first : first + COMPARED_AT_ONCE] @ references.T
        if among_them:
            rows = np.arange(len(cosines))
            cosines[rows, rows + first] = -1
        cosines.partition(cosines.shape[1] - n, axis=1)
        found[first : first + len(cosines)] = cosines[:, -n:].mean(axis=1)
    return found


def join(cells: PackedCellArray, hubs: FloatArray, n_cells: int) -> PackedCellArray:
    """Return the packed_cells ``(n,)`` of cells and hubness; it is kept from 0 to 1, in steps."""
    n_levels = PACKED_CELLS // n_cells
    levels = np.clip(np.rint(hubs * n_levels), 0, n_levels - 1).astype(np.int64)
    return (cells.astype(np.int64) * n_levels + levels).astype(np.uint16)


def cells_of(packed_cells: PackedCellArray, n_cells: int) -> PackedCellArray:
    """Return the cells ``(n,)`` of packed_cells."""
    return (packed_cells // np.uint32(PACKED_CELLS // n_cells)).astype(np.uint16)


def penalties_of(packed_cells: PackedCellArray, n_cells: int) -> FloatArray:
    """Return what similarities to segments in these packed_cells lose, ``(n,)``."""
    n_levels = PACKED_CELLS // n_cells
    penalties: FloatArray = (packed_cells % np.uint32(n_levels)).astype(np.float32) * np.float32(
        WEIGHT / n_levels
    )
    return penalties
