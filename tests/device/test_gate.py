"""The level gate: when it opens and closes, at any block size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overheard.hear.gate import LevelGate, MusicDetector
from overheard.settings import GateSettings

RATE = 8000


def noise(level_db: float, seconds: float, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (samples * 10 ** (level_db / 20)).astype(np.float32)


def test_digital_silence_never_opens_the_gate():
    gate = LevelGate(GateSettings(open_db=-120, close_db=-120))
    assert not gate.process(np.zeros(RATE, np.float32))
    assert gate.level_db == -math.inf


def test_music_opens_the_gate_and_the_hiss_of_a_muted_microphone_does_not():
    gate = LevelGate()
    assert not gate.process(noise(-75, 5))
    assert gate.process(noise(-30, 0.5))
    assert gate.is_open


def test_a_dc_offset_does_not_open_the_gate():
    gate = LevelGate()
    assert not gate.process(noise(-80, 2) + np.float32(0.1))


def test_the_gate_stays_open_during_the_hang_over_and_then_closes():
    gate = LevelGate(GateSettings(hang_s=2.0))
    gate.process(noise(-30, 1))
    assert gate.process(np.zeros(2 * RATE, np.float32))
    assert gate.is_open
    assert gate.process(np.zeros(RATE, np.float32))  # the gate was open at the start of the block
    assert not gate.is_open
    assert not gate.process(np.zeros(RATE, np.float32))


def test_a_level_between_the_thresholds_keeps_the_gate_open_but_does_not_open_it():
    between = noise(-66.5, 30)
    gate = LevelGate()
    assert not gate.process(between)
    gate.process(noise(-30, 0.2))
    gate.process(between)
    assert gate.is_open


def test_reset_closes_the_gate():
    gate = LevelGate()
    gate.process(noise(-30, 1))
    gate.reset()
    assert not gate.is_open
    assert not gate.process(np.zeros(800, np.float32))


@settings(deadline=None, max_examples=40)
@given(cuts=st.lists(st.integers(0, 5 * RATE), max_size=30))
def test_the_state_does_not_depend_on_the_block_size(cuts: list[int]):
    sound = np.concatenate([noise(-80, 1), noise(-40, 1), np.zeros(3 * RATE, np.float32)])
    at_once, in_blocks = LevelGate(), LevelGate()
    at_once.process(sound)
    states = [in_blocks.process(part) for part in np.split(sound, sorted(cuts))]
    assert in_blocks.is_open == at_once.is_open
    assert in_blocks.level_db == pytest.approx(at_once.level_db)
    assert any(states)


def test_the_placeholder_music_detector_accepts_everything():
    detector = MusicDetector()
    detector.reset()
    assert detector.process(np.zeros((10, 96), np.float32))
    assert detector.probability == 1.0
