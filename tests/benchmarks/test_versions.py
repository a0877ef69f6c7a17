"""Versions of a piece are found by their harmony."""

from __future__ import annotations

import numpy as np
import pytest

from overheard.demo.synth import synthesize
from overheard_bench.versions import Features, chroma, common_share, states

RATE = 8000


def played(seed: int, from_s: float = 0.0, noise: float = 0.0, filtered: bool = False) -> Features:
    waveform = synthesize(seed, 40.0).waveform[int(from_s * RATE) :]
    if filtered:
        waveform = waveform - np.float32(0.9) * np.roll(waveform, 1)  # another timbre
    hiss = np.random.default_rng(seed).standard_normal(len(waveform), dtype=np.float32)
    waveform = waveform + np.float32(noise) * hiss
    samples = np.clip(waveform / np.abs(waveform).max(), -1, 1) * 32767
    return states(chroma(samples.astype(np.int16)))


def test_a_version_with_another_timbre_noise_and_beginning_has_the_same_harmony():
    assert common_share(played(11), played(11, from_s=5.3, noise=0.02, filtered=True)) > 0.8


@pytest.mark.parametrize(("first", "second"), [(11, 12), (12, 13), (11, 13)])
def test_different_pieces_do_not(first: int, second: int):
    assert common_share(played(first), played(second)) < 0.6


def test_recordings_that_are_too_short_have_nothing_in_common():
    assert common_share(states(np.zeros((5, 12), np.float32)), played(11)) == 0.0
