"""Library of the benchmark scripts. Importing it makes the project importable in a bare checkout."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
CHECKOUT = BENCHMARKS.parent
RESULTS = BENCHMARKS / "results"

for _root, _package in (
    ("device", "overheard"),
    ("train", "overheard_train"),
    ("export", "overheard_export"),
):
    if importlib.util.find_spec(_package) is None:
        sys.path.insert(0, str(CHECKOUT / _root))

from overheard.process import limit_blas_threads  # noqa: E402 - the loop above makes it importable

limit_blas_threads()  # before NumPy loads
