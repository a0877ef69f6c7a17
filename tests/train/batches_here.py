"""Make batches in the test process: forking is unsafe once TensorFlow has threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from overheard_train.blocks import rest_of_block
from overheard_train.pairs import Batch, PairMaker
from overheard_train.reuse import Reuse


class BatchesHere:
    """Make batches like the workers, and record the steps; ``change`` can modify batches."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.change: Callable[[int, Batch], Batch] = lambda step, batch: batch
        self.cpu_s = self.waited_s = 0.0

    def __call__(
        self, maker: PairMaker, seed: int, first_step: int, n_pairs: int, _: int, reuse: Reuse | None = None
    ) -> BatchesHere:
        self._next = (maker, seed, first_step, n_pairs, reuse or Reuse())
        self.steps = []
        return self

    def __iter__(self) -> Iterator[Batch]:
        maker, seed, step, n_pairs, reuse = self._next
        while True:
            for batch in rest_of_block(maker, seed, step, n_pairs, reuse):
                self.steps.append(step)
                yield self.change(step, batch)
                step += 1

    def check(self) -> None:
        """Do nothing: there are no workers that can die."""

    def close(self) -> None:
        """Do nothing."""
