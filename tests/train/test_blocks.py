"""Blocks of batches that use each pair several times."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from overheard_train.blocks import MIXED, block_steps, rest_of_block
from overheard_train.pairs import Batch

N_PAIRS = 3


class CountedPairs:
    """Make pairs whose rows hold the pair's number, and 1,000 more if degraded; the track is 7 more."""

    def __init__(self) -> None:
        self.made = 0

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        numbers = np.arange(self.made, self.made + n_pairs)
        self.made += n_pairs
        one_view = np.stack([np.arange(n_pairs), numbers + 7], axis=1).astype(np.int32)
        rows = np.concatenate([numbers, numbers + 1000])
        segments = np.broadcast_to(rows[:, None, None], (len(rows), 4, 5)).astype(np.float32)
        return segments, np.tile(one_view, (2, 1))


@pytest.mark.parametrize("reuse", [2, 5])
def test_a_block_uses_each_pair_so_often_and_among_others(reuse: int) -> None:
    batches = list(rest_of_block(CountedPairs(), 0, 0, N_PAIRS, reuse))
    assert len(batches) == block_steps(reuse) == MIXED * reuse
    used: Counter[int] = Counter()
    together = set()
    for segments, labels in batches:
        assert segments.shape == (2 * N_PAIRS, 4, 5)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels[:, 0], [0, 1, 2, 0, 1, 2])
        clean, degraded = np.split(segments[:, 0, 0], 2)
        np.testing.assert_array_equal(degraded, clean + 1000)
        np.testing.assert_array_equal(labels[:, 1], np.tile(clean + 7, 2))
        used.update(clean.astype(int).tolist())
        together.add(frozenset(clean.tolist()))
    assert used == dict.fromkeys(range(MIXED * N_PAIRS), reuse)
    assert len(together) > MIXED


def test_a_block_continues_at_any_step() -> None:
    whole = list(rest_of_block(CountedPairs(), 0, block_steps(2), N_PAIRS, 2))
    rest = list(rest_of_block(CountedPairs(), 0, block_steps(2) + 5, N_PAIRS, 2))
    for one, other in zip(itertools.islice(whole, 5, None), rest, strict=True):
        for part, other_part in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


def test_without_reuse_a_block_is_a_batch() -> None:
    (batch,) = rest_of_block(CountedPairs(), 0, 4, N_PAIRS, 1)
    np.testing.assert_array_equal(batch[0], CountedPairs().batch(np.random.default_rng(0), N_PAIRS)[0])
