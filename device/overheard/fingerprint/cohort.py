"""Impostors that come with a model: segments that sound like music, speech and noise, and are no track's.

How alike a window is to the nearest of them tells how much its likeness to a track proves, however few tracks
a catalogue holds. Source: Auckenthaler, Carey and Lloyd-Thomas, Score Normalization for Text-Independent
Speaker Verification Systems, Digital Signal Processing 10, 2000 (cohort and test normalization).
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import numpy.typing as npt

from overheard.errors import REINSTALL, ModelError
from overheard.fingerprint.tables import TablesError, read_tables, table


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Segments in the model's codes.

    Attributes
    ----------
    packed_cells : (n,) uint16, see :mod:`overheard.fingerprint.hubness`
    codes : (n, code_bytes) uint8
    """

    packed_cells: npt.NDArray[np.uint16]
    codes: npt.NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        """Return the codes as an ``.npz``."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, places=self.packed_cells, codes=self.codes)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Cohort:
        """Read :meth:`to_bytes`; raise ModelError where it is something else."""
        try:
            tables = read_tables(stored)
            packed_cells, codes = table(tables, "places", 1), table(tables, "codes", 2)
        except TablesError as error:
            raise ModelError(f"the model's cohort is unreadable ({error})", REINSTALL) from error
        fit = (
            packed_cells.dtype == np.uint16
            and codes.dtype == np.uint8
            and codes.shape[:1] == packed_cells.shape
        )
        if not fit or not len(packed_cells):
            raise ModelError("the model's cohort is inconsistent", REINSTALL)
        return cls(packed_cells, codes)
