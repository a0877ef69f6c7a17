"""Library of the benchmark scripts. Importing it makes `overheard` importable in a bare checkout."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
CHECKOUT = BENCHMARKS.parent
RESULTS = BENCHMARKS / "results"

if importlib.util.find_spec("overheard") is None:
    sys.path.insert(0, str(CHECKOUT / "device"))

from overheard.process import limit_blas_threads  # noqa: E402 - the line above makes it importable

limit_blas_threads()  # before NumPy loads
