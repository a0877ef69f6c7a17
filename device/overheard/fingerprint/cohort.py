"""Store the model's cohort: segments of music, speech and noise that belong to no track (impostors).

A match proves little if the query is almost as similar to these. The cohort makes this comparison possible
even in a catalogue of one track. Source: Auckenthaler, Carey and Lloyd-Thomas, Score Normalization for
Text-Independent Speaker Verification Systems, Digital Signal Processing 10, 2000 (cohort and test
normalization).
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import numpy.typing as npt

from overheard.errors import REINSTALL, ModelError
from overheard.fingerprint.tables import TablesError, read_tables, table


@dataclasses.dataclass(frozen=True, eq=False)  # found by its identity where something is derived from it
class Cohort:
    """Segments of a cohort, coded by the model's quantizer.

    Attributes
    ----------
    packed_cells : (n,) uint16
        Cell and hubness, see :mod:`overheard.fingerprint.hubness`.
    codes : (n, code_bytes) uint8
    """

    packed_cells: npt.NDArray[np.uint16]
    codes: npt.NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        """Return the contents of an ``.npz`` file."""
        buffer = io.BytesIO()
        # Existing models call the packed cells "places".
        np.savez_compressed(buffer, places=self.packed_cells, codes=self.codes)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Cohort:
        """Read the result of :meth:`to_bytes`. Raises ModelError if it is invalid."""
        try:
            tables = read_tables(stored)
            packed_cells, codes = table(tables, "places", 1), table(tables, "codes", 2)
        except TablesError as error:
            raise ModelError(f"the model's cohort is invalid ({error})", REINSTALL) from error
        types_match = packed_cells.dtype == np.uint16 and codes.dtype == np.uint8
        if not types_match or not len(packed_cells) == len(codes) > 0:
            raise ModelError("the model's cohort has tables of the wrong type or length", REINSTALL)
        return cls(packed_cells, codes)
