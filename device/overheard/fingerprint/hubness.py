"""Measure the hubness of segments and pack it together with their cells.

A hub is a segment that resembles much music. Hub segments match many queries, mostly incorrectly, so a
similarity to them is reduced by a penalty. Hubness is the mean cosine to the nearest segments of the model's
cohort. It is stored in the bits that the cell number leaves free in 16 bits: the *packed cell*.

Sources: Radovanovic et al., Hubs in Space, JMLR 2010; the penalty is the catalogue's half of CSLS, Conneau et
al. (1710.04087), section 2.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.frontend import FloatArray

PackedCellArray = npt.NDArray[np.uint16]

PACKED_CELLS = 65536  # values of 16 bits
N_NEAREST = 8  # cohort segments that the mean is taken over
WEIGHT = 0.3  # penalty per unit of hubness; chosen by trials, docs/experiments.md
COMPARED_AT_ONCE = 512  # embeddings; bounds the memory for cosines


def hubness(embeddings: FloatArray, references: FloatArray, among_them: bool = False) -> FloatArray:
    """Return the mean cosine ``(n,)`` float32 of embeddings to their nearest references.

    Parameters
    ----------
    embeddings : (n, dim) float32, unit norm
    references : (m, dim) float32, unit norm
        The model's cohort. The result is 0 if it is empty.
    among_them : bool
        True if the embeddings are the references; then none is compared with itself.
    """
    means = np.zeros(len(embeddings), dtype=np.float32)
    n_nearest = min(N_NEAREST, len(references) - among_them)
    if n_nearest == 0:
        return means
    for first in range(0, len(embeddings), COMPARED_AT_ONCE):
        cosines = embeddings[first : first + COMPARED_AT_ONCE] @ references.T
        if among_them:
            rows = np.arange(len(cosines))
            cosines[rows, rows + first] = -1
        cosines.partition(cosines.shape[1] - n_nearest, axis=1)
        means[first : first + len(cosines)] = cosines[:, -n_nearest:].mean(axis=1)
    return means


def pack_cells(cells: PackedCellArray, hubs: FloatArray, n_cells: int) -> PackedCellArray:
    """Pack cells and hubness into 16 bits.

    Parameters
    ----------
    cells : (n,) uint16, below `n_cells`
    hubs : (n,) float32
        Hubness; clipped to 0-1 and rounded to one of ``65536 // n_cells`` levels.
    n_cells : cells of the quantizer

    Returns
    -------
    (n,) uint16
    """
    n_levels = PACKED_CELLS // n_cells
    levels = np.clip(np.rint(hubs * n_levels), 0, n_levels - 1).astype(np.int64)
    return (cells.astype(np.int64) * n_levels + levels).astype(np.uint16)


def cells_of(packed_cells: PackedCellArray, n_cells: int) -> PackedCellArray:
    """Return the cell numbers ``(n,)`` uint16 of packed cells ``(n,)``."""
    return (packed_cells // np.uint32(PACKED_CELLS // n_cells)).astype(np.uint16)


def penalties_of(packed_cells: PackedCellArray, n_cells: int) -> FloatArray:
    """Return the hubness penalties ``(n,)`` float32 of packed cells ``(n,)``, in units of cosine."""
    n_levels = PACKED_CELLS // n_cells
    penalties: FloatArray = (packed_cells % np.uint32(n_levels)).astype(np.float32) * np.float32(
        WEIGHT / n_levels
    )
    return penalties
