"""A long quiet is taken in large blocks, and what may open the gate is not held back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from overheard.hear.gate import LevelGate
from overheard.recognize.silence import HELD_S, LONG_S, SilentBlocks
from overheard.settings import GateSettings

RATE = 8000
BLOCK = RATE // 4
OPEN_DB = GateSettings().open_db


def hiss(level_db: float, n_samples: int, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal(n_samples, dtype=np.float32)
    return samples * np.float32(10 ** (level_db / 20))


def test_a_long_quiet_is_passed_on_once_in_two_seconds():
    quiet = SilentBlocks(OPEN_DB, RATE)
    lengths = [len(quiet.hold(hiss(-80, BLOCK, i), True)) for i in range(4 * 60)]
    assert set(lengths[: int(4 * LONG_S) - 1]) == {BLOCK}
    assert set(lengths[int(4 * LONG_S) :]) == {0, int(HELD_S * RATE)}
    assert sum(lengths) + quiet.n_held == 60 * RATE


def test_sound_is_passed_on_at_once_with_the_quiet_before_it():
    quiet = SilentBlocks(OPEN_DB, RATE)
    for i in range(4 * 30 + 1):
        quiet.hold(hiss(-80, BLOCK, i), True)
    n_held = quiet.n_held
    assert n_held > 0
    sound = hiss(-40, BLOCK)
    passed = quiet.hold(sound, True)
    assert len(passed) == n_held + BLOCK
    assert np.array_equal(passed[-BLOCK:], sound)
    assert quiet.n_held == 0


def test_nothing_is_held_while_something_is_heard():
    quiet = SilentBlocks(OPEN_DB, RATE)
    for i in range(4 * 60):
        assert len(quiet.hold(hiss(-80, BLOCK, i), False)) == BLOCK


@settings(deadline=None, max_examples=20)
@given(
    levels=st.lists(st.floats(-90, -55), min_size=1, max_size=12),
    lengths=st.lists(st.integers(100, 9000), min_size=1, max_size=40),
)
def test_the_gate_opens_with_the_same_block_as_if_nothing_were_held_back(
    levels: list[float], lengths: list[int]
):
    start = hiss(-85, int((LONG_S + 5) * RATE))
    sound = np.concatenate([hiss(level, 3000, i) for i, level in enumerate(levels)])
    plain, behind, quiet = LevelGate(), LevelGate(), SilentBlocks(OPEN_DB, RATE)
    blocks = np.split(np.concatenate([start, sound]), range(BLOCK, len(start), BLOCK))
    rest = blocks.pop()
    blocks += np.split(rest, np.cumsum(lengths)[np.cumsum(lengths) < len(rest)])
    for block in blocks:
        passed = quiet.hold(block, not behind.is_open)
        opened = behind.process(passed) if len(passed) else False
        assert plain.process(block) == opened
