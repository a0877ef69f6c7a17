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
    made = (maker.batch(np.random.default_rng([seed, block, number]), n_pairs) for number in range(n_made))
    segments, labels = _pool(made, n_pairs, n_made)
    rng = np.random.default_rng([seed, block, n_made])
    orders = np.concatenate([rng.permutation(n_made * n_pairs) for _ in range(reuse.times)])
    for numbers in orders.reshape(-1, n_pairs)[first:]:
        batch_labels = labels[:, numbers]
        batch_labels[..., 0] = np.arange(n_pairs)  # pairs have other numbers in each batch
        yield _rows(segments[:, numbers]), _rows(batch_labels)


def _pool(batches: Iterator[Batch], n_pairs: int, n_batches: int) -> list[np.ndarray]:
    """Return segments and labels of several batches as ``(views, all pairs, ...)``.

    The arrays are filled batch by batch: to join all batches in the end would take twice the memory.
    """
    arrays: list[np.ndarray] = []
    for number, batch in enumerate(batches):
        parts = [part.reshape(-1, n_pairs, *part.shape[1:]) for part in batch]
        if not arrays:
            arrays = [np.empty((len(p), n_batches * n_pairs, *p.shape[2:]), p.dtype) for p in parts]
        for array, part in zip(arrays, parts, strict=True):
            array[:, number * n_pairs : (number + 1) * n_pairs] = part
    return arrays


def _rows(by_pair: np.ndarray) -> np.ndarray:
    return by_pair.reshape(-1, *by_pair.shape[2:])
