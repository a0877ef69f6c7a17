"""How often a training uses each pair; :mod:`overheard_train.blocks` makes the batches."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Reuse:
    """How often a training uses each pair.

    Attributes
    ----------
    times : number of times
    pool : pairs that a block mixes. A network learns a small pool by heart before it is used up. A process
        holds the pool in memory, 50 kB for each pair.
    """

    times: int = 1
    pool: int = 8192

    def n_made(self, n_pairs: int) -> int:
        """Return the number of batches that are made for a block."""
        return 1 if self.times == 1 else max(1, self.pool // n_pairs)

    def block_steps(self, n_pairs: int) -> int:
        """Return the number of steps in a block."""
        return self.times * self.n_made(n_pairs)
