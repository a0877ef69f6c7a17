from __future__ import annotations

import numpy as np
import pytest

from overheard.cohort import Cohort
from overheard.errors import ModelError


@pytest.mark.parametrize(("places", "codes"), [(0, 0), (3, 2)])
def test_a_cohort_without_segments_or_with_too_few_codes_is_refused(places: int, codes: int) -> None:
    cohort = Cohort(np.zeros(places, dtype=np.uint16), np.zeros((codes, 22), dtype=np.uint8))
    with pytest.raises(ModelError, match="install overheard anew"):
        Cohort.from_bytes(cohort.to_bytes())
