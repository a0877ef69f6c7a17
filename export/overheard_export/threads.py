"""Run a function on every core with threads: NumPy and the runtime release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")


def map_on_every_core(function: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Return the function's result for each piece, in order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, pieces))
