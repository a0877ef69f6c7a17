"""Work of an export on every core, by threads: NumPy and the runtime let others run meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def map_on_every_core(function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Return what a function makes of each piece, in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, pieces))
