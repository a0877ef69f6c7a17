"""A fixed job, whose processor time is the unit in which a run states its own on a machine under any load."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

SIZE, PRODUCTS = 256, 20  # about 10 ms on one core of a PC
REPEATS = 5  # each time that the job runs


class ReferenceJob:
    """Runs now and then during a measurement; the median of its times counts.

    The job is :data:`PRODUCTS` products of two float32 matrices of :data:`SIZE` rows and columns, on one
    thread of BLAS.
    """

    def __init__(self) -> None:
        self._matrix = np.random.default_rng(1).standard_normal((SIZE, SIZE)).astype(np.float32)
        self._times_ms: list[float] = []

    def run(self) -> None:
        """Run the job a few times."""
        product = np.empty_like(self._matrix)
        for _ in range(REPEATS):
            began = time.process_time()
            for _ in range(PRODUCTS):
                np.matmul(self._matrix, self._matrix, out=product)
            self._times_ms.append(1e3 * (time.process_time() - began))

    def facts(self) -> dict[str, Any]:
        """Return the job, and its processor time in ms, for the result."""
        return {
            "job": f"{PRODUCTS} products of {SIZE} x {SIZE} float32 matrices",
            "cpu_ms": round(statistics.median(self._times_ms), 3),
        }
