"""The comparison of waveforms that finds the same recorded sound in two pieces."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from overheard_bench.corpus import SAMPLE_RATE
from overheard_bench.shared import Recording, shared_s

Int16 = npt.NDArray[np.int16]


def tones(seconds: int, seed: int) -> npt.NDArray[np.float64]:
    """Return random notes of a quarter of a second."""
    rng = np.random.default_rng(seed)
    hertz = 220 * 2 ** (rng.integers(0, 24, 4 * seconds) / 12)
    time = np.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    return np.concatenate([np.sin(2 * np.pi * each * time + rng.uniform(0, 6)) for each in hertz])


def recorded(sound: npt.NDArray[np.float64]) -> Recording:
    samples: Int16 = np.rint(8000 * sound).astype(np.int16)
    return Recording(samples)


@pytest.mark.parametrize("begins_s", [3, 7])
def test_a_stem_that_two_pieces_contain_is_found_under_their_own_melodies(begins_s: int) -> None:
    stem = tones(40, 1)
    longer = np.concatenate([tones(begins_s, 2), stem, tones(20, 3)])
    shorter = np.concatenate([stem, tones(10, 4)])
    one, other = (
        recorded(sound + tones(len(sound) // SAMPLE_RATE, i)) for i, sound in enumerate((longer, shorter), 5)
    )
    assert shared_s(one, other) == shared_s(other, one) == 40


def test_pieces_in_one_key_and_steady_chords_share_nothing() -> None:
    assert shared_s(recorded(tones(60, 1)), recorded(tones(50, 2))) == 0
    time = np.arange(60 * SAMPLE_RATE) / SAMPLE_RATE
    chords = []
    for wobble in (1e-3, 1.3e-3):
        notes = [np.sin(2 * np.pi * hz * time * (1 + wobble * np.sin(0.3 * time))) for hz in (110, 165, 220)]
        chords.append(np.sum(notes, axis=0))
    assert shared_s(*(recorded(chord / 3) for chord in chords)) < 30


def test_silence_and_short_recordings_share_nothing() -> None:
    piece = recorded(tones(30, 1))
    assert shared_s(piece, recorded(np.zeros(30 * SAMPLE_RATE))) == 0
    assert shared_s(piece, recorded(tones(5, 1))) == 0
