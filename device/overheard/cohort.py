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

from overheard.errors import NO_TABLES, ModelError


@dataclasses.dataclass(frozen=True)
class Cohort:
    """Segments in the model's codes.

    Attributes
    ----------
    places : (n,) uint16, see :mod:`overheard.hubness`
    codes : (n, code_bytes) uint8
    """

    places: npt.NDArray[np.uint16]
    codes: npt.NDArray[np.uint8]

    def to_bytes(self) -> bytes:
        """Return the codes as an ``.npz``."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, places=self.places, codes=self.codes)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Cohort:
        """Read :meth:`to_bytes`; raise ModelError where it is something else."""
        try:
            with np.load(io.BytesIO(stored), allow_pickle=False) as tables:
                places, codes = tables["places"], tables["codes"]
        except NO_TABLES as error:
            raise ModelError(f"the model's cohort is unreadable ({error}): install overheard anew") from error
        fit = places.dtype == np.uint16 and codes.dtype == np.uint8 and codes.shape[:1] == places.shape
        if not fit or not len(places):
            raise ModelError("the model's cohort does not fit together: install overheard anew")
        return cls(places, codes)
