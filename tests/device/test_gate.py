"""The level gate: when it opens and closes, at any block size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overheard.demo.synth import synthesize
from overheard.hear.gate import LevelGate, NoDetector
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


def test_without_a_detector_all_sound_is_music():
    detector = NoDetector()
    detector.reset()
    assert detector.process(np.zeros((10, 96), np.float32))
    assert detector.probability == 1.0


def add(*sounds: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(sounds, axis=0, dtype=np.float32))


def piece(level_db: float, seconds: float, seed: int = 7) -> np.ndarray:
    waveform = synthesize(seed, seconds).waveform[: round(seconds * RATE)]
    return waveform / np.float32(np.sqrt(np.mean(waveform**2))) * np.float32(10 ** (level_db / 20))


def hear(gate: LevelGate, sound: np.ndarray, is_music: bool = False) -> list[bool]:
    """Process a sound in blocks of a quarter of a second; return whether the gate is open after each."""
    opened = []
    for begin in range(0, len(sound), RATE // 4):
        gate.process(sound[begin : begin + RATE // 4], is_music)
        opened.append(gate.is_open)
    return opened


def test_steady_noise_above_the_absolute_level_closes_the_gate_after_a_minute():
    gate = LevelGate()
    opened = hear(gate, noise(-50, 120))
    assert all(opened[: 50 * 4])
    assert not any(opened[75 * 4 :])
    assert gate.floor_db == pytest.approx(-50, abs=0.5)


@pytest.mark.parametrize("above_db", [-3, 0, 3, 6])
def test_music_in_steady_noise_opens_the_gate_at_once(above_db: float):
    gate = LevelGate()
    hear(gate, noise(-50, 120))
    music = piece(-50 + above_db, 20)
    opened = hear(gate, add(noise(-50, 20, seed=1), music))
    assert any(opened[:8])
    assert np.mean(opened) > 0.9  # long enough for the detector to hear it


def test_music_that_fades_in_slowly_from_steady_noise_opens_the_gate():
    gate = LevelGate()
    hear(gate, noise(-50, 120))
    music = piece(-44, 120)
    fade = 10 ** np.linspace(-1.5, 0, len(music), dtype=np.float32)  # 15 dB a minute
    opened = hear(gate, add(noise(-50, 120, seed=1), music * fade))
    assert any(opened[: 80 * 4])


def test_an_hour_of_steady_music_is_never_taken_for_noise():
    gate = LevelGate()
    drone = np.sin(2 * np.pi * 220 / RATE * np.arange(60 * RATE)).astype(np.float32) * np.float32(0.01)
    for _ in range(60):
        assert gate.process(drone, is_music=True)
        assert gate.is_open
    assert gate.floor_db == -math.inf


def test_music_that_the_detector_hears_in_steady_noise_keeps_the_gate_open():
    gate = LevelGate()
    hear(gate, noise(-50, 120))
    assert gate.process(noise(-20, 0.5), False)
    weak = add(noise(-50, 120, seed=1), piece(-58, 120))
    assert all(hear(gate, weak, is_music=True))


def test_talk_and_passages_of_changing_level_are_not_taken_for_noise():
    gate = LevelGate()
    turns = np.repeat(np.random.default_rng(3).uniform(-45, -30, 600), RATE // 5)
    sound = np.random.default_rng(4).standard_normal(len(turns)) * 10 ** (turns / 20)
    assert all(hear(gate, sound.astype(np.float32)))


def test_the_floor_falls_when_the_noise_stops():
    gate = LevelGate()
    hear(gate, noise(-40, 90))
    assert not gate.is_open
    assert not any(hear(gate, noise(-55, 20)))
    assert gate.floor_db == pytest.approx(-55, abs=2)
    assert any(hear(gate, add(noise(-55, 5), piece(-52, 5))))


def test_without_a_detector_only_the_absolute_levels_count():
    gate = LevelGate()
    for _ in range(5):
        assert gate.process(noise(-50, 60))
    assert gate.is_open
