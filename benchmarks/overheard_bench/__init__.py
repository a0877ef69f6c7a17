"""Helpers of the benchmark scripts. Importing this makes `overheard` importable from a bare checkout."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent
CHECKOUT = BENCHMARKS.parent
RESULTS = BENCHMARKS / "results"

if importlib.util.find_spec("overheard") is None:
    sys.path.insert(0, str(CHECKOUT / "device"))
