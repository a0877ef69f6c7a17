"""Divide a job into shares, one process per core."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def on_every_core(share: Callable[[int, int], Sequence[Result]]) -> list[Result]:
    """Call `share(jobs, job)` in one process per core, and return the results, share by share.

    `share` does every `jobs`-th piece of the work, beginning with piece `job`. It and its results must be
    picklable: use a function of a module, or a `functools.partial` of one.
    """
    return list(itertools.chain.from_iterable(_shares(share)))


def on_every_core_in_order(share: Callable[[int, int], Sequence[Result]]) -> list[Result]:
    """Call `share` as :func:`on_every_core` does; return one result per piece, in the order of the pieces."""
    results = _shares(share)
    return [results[piece % len(results)][piece // len(results)] for piece in range(sum(map(len, results)))]


def _shares(share: Callable[[int, int], Sequence[Result]]) -> list[Sequence[Result]]:
    jobs = os.cpu_count() or 1
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(functools.partial(share, jobs), range(jobs)))
