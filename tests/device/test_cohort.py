from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest

from overheard.errors import ModelError
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.quality import QualityEstimator
from overheard.fingerprint.quantizer import Quantizer

buffer = io.BytesIO()
np.save(buffer, np.zeros(3))
NO_ARCHIVE = buffer.getvalue()


@pytest.mark.parametrize("read", [Cohort.from_bytes, Quantizer.from_bytes, QualityEstimator.from_bytes])
@pytest.mark.parametrize("stored", [b"", b"no archive", b"PK\x03\x04 cut off", NO_ARCHIVE])
def test_bytes_without_tables_are_refused(read: Callable[[bytes], object], stored: bytes) -> None:
    with pytest.raises(ModelError, match="reinstall overheard"):
        read(stored)


@pytest.mark.parametrize(("packed_cells", "codes"), [(0, 0), (3, 2)])
def test_a_cohort_without_segments_or_with_too_few_codes_is_refused(packed_cells: int, codes: int) -> None:
    cohort = Cohort(np.zeros(packed_cells, dtype=np.uint16), np.zeros((codes, 22), dtype=np.uint8))
    with pytest.raises(ModelError, match="reinstall overheard"):
        Cohort.from_bytes(cohort.to_bytes())
