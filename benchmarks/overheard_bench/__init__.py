"""Helpers of the benchmark scripts. Importing this makes `overheard` importable from a bare checkout."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
CHECKOUT = BENCHMARKS.parent
RESULTS = BENCHMARKS / "results"

# Before numpy loads: BLAS threads make small products many times slower (DESIGN.md).
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

if importlib.util.find_spec("overheard") is None:
    sys.path.insert(0, str(CHECKOUT / "device"))
