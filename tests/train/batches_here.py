"""Batches without processes: those are not to be forked once TensorFlow has threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from overheard_train.pairs import Batch, PairMaker


class BatchesHere:
    """Makes batches as the workers do, and remembers the steps; ``change`` may spoil some of them."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.change: Callable[[int, Batch], Batch] = lambda step, batch: batch
        self.cpu_s = self.waited_s = 0.0

    def __call__(self, maker: PairMaker, seed: int, first_step: int, n_pairs: int, _: int) -> BatchesHere:
        self._next = (maker, seed, first_step, n_pairs)
        self.steps = []
        return self

    def __iter__(self) -> Iterator[Batch]:
        maker, seed, step, n_pairs = self._next
        while True:
            self.steps.append(step)
            yield self.change(step, maker.batch(np.random.default_rng([seed, step]), n_pairs))
            step += 1

    def check(self) -> None:
        """Nothing of its own goes wrong."""

    def close(self) -> None:
        """There is nothing to close."""
