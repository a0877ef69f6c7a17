"""Blocks of batches that use each pair several times."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from overheard_train.blocks import rest_of_block
from overheard_train.pairs import Batch
from overheard_train.reuse import Reuse

N_PAIRS, N_MADE = 3, 8
POOL = 26  # pairs: 8 batches


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


@pytest.mark.parametrize("times", [2, 5])
def test_a_block_uses_each_pair_so_often_and_among_others(times: int) -> None:
    reuse = Reuse(times, POOL)
    batches = list(rest_of_block(CountedPairs(), 0, 0, N_PAIRS, reuse))
    assert len(batches) == reuse.block_steps(N_PAIRS) == N_MADE * times
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
    assert used == dict.fromkeys(range(N_MADE * N_PAIRS), times)
    assert len(together) > N_MADE


def test_a_block_continues_at_any_step() -> None:
    reuse = Reuse(2, POOL)
    begin = reuse.block_steps(N_PAIRS)
    whole = list(rest_of_block(CountedPairs(), 0, begin, N_PAIRS, reuse))
    rest = list(rest_of_block(CountedPairs(), 0, begin + 5, N_PAIRS, reuse))
    for one, other in zip(itertools.islice(whole, 5, None), rest, strict=True):
        for part, other_part in zip(one, other, strict=True):
            np.testing.assert_array_equal(part, other_part)


def test_without_reuse_a_block_is_a_batch() -> None:
    (batch,) = rest_of_block(CountedPairs(), 0, 4, N_PAIRS, Reuse())
    np.testing.assert_array_equal(batch[0], CountedPairs().batch(np.random.default_rng(0), N_PAIRS)[0])
