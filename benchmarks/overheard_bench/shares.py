"""A job in shares, one for each core."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def on_every_core(share: Callable[[int, int], Sequence[Result]]) -> list[Result]:
    """Call `share(jobs, job)` in one process for each core; return what all give, share by share.

    `share` does every `jobs`-th piece of the work, the first of them number `job`. It and its results pass
    through pickle, so it is a function of a module or a partial of one.
    """
    return list(itertools.chain.from_iterable(_shares(share)))


def on_every_core_in_order(share: Callable[[int, int], Sequence[Result]]) -> list[Result]:
    """Do the same where each piece gives one result; return these in the order of the pieces."""
    done = _shares(share)
    return [done[piece % len(done)][piece // len(done)] for piece in range(sum(map(len, done)))]


def _shares(share: Callable[[int, int], Sequence[Result]]) -> list[Sequence[Result]]:
    jobs = os.cpu_count() or 1
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(functools.partial(share, jobs), range(jobs)))
