"""Make a training's batches in blocks of steps, whose pairs are used several times, each time among others.

Degrading a pair costs several times what a small network's training on it costs. Source: Choi et al., Faster
Neural Network Training with Data Echoing (1907.05550), which repeats examples from a buffer in another order.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from overheard_train.pairs.labels import Batch, PairMaker
from overheard_train.reuse import Reuse


def rest_of_block(maker: PairMaker, seed: int, step: int, n_pairs: int, reuse: Reuse) -> Iterator[Batch]:
    """Yield the batches of a block from one of its steps on. Seed and step determine a batch.

    Parameters
    ----------
    step : number of the first batch to yield
    n_pairs : pairs per batch
    """
    if reuse.times == 1:
        yield maker.batch(np.random.default_rng([seed, step]), n_pairs)
        return
    block, first = divmod(step, reuse.block_steps(n_pairs))
    n_made = reuse.n_made(n_pairs)
    made = [maker.batch(np.random.default_rng([seed, block, number]), n_pairs) for number in range(n_made)]
    segments, labels = (_by_pair(parts, n_pairs) for parts in zip(*made, strict=True))
    del made  # its memory
    rng = np.random.default_rng([seed, block, n_made])
    orders = np.concatenate([rng.permutation(n_made * n_pairs) for _ in range(reuse.times)])
    for numbers in orders.reshape(-1, n_pairs)[first:]:
        batch_labels = labels[:, numbers]
        batch_labels[..., 0] = np.arange(n_pairs)  # pairs have other numbers in each batch
        yield _rows(segments[:, numbers]), _rows(batch_labels)


def _by_pair(parts: tuple[np.ndarray, ...], n_pairs: int) -> np.ndarray:
    """Return rows of several batches as ``(views, all pairs, ...)``."""
    return np.concatenate([part.reshape(-1, n_pairs, *part.shape[1:]) for part in parts], axis=1)


def _rows(by_pair: np.ndarray) -> np.ndarray:
    return by_pair.reshape(-1, *by_pair.shape[2:])
