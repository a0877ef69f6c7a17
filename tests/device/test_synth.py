"""The synthesizer is deterministic and bounded, and no two parts of its music are alike."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from overheard.demo.composition import compose
from overheard.demo.synth import synthesize, write_wav


def spectra(waveform: np.ndarray, length: int = 12800) -> np.ndarray:
    """Unit-norm log spectrograms of successive 1.6 s chunks, (n, d)."""
    chunks = waveform[: len(waveform) // length * length].reshape(-1, 25, length // 25)
    power = np.abs(np.fft.rfft(chunks * np.hanning(length // 25), axis=-1)) ** 2
    log = np.log(power + 1e-6).reshape(len(chunks), -1)
    log -= log.mean(axis=1, keepdims=True)
    return np.asarray(log / np.linalg.norm(log, axis=1, keepdims=True))


def test_the_same_seed_gives_the_same_samples() -> None:
    first, second = synthesize(7, 12.0), synthesize(7, 12.0)
    np.testing.assert_array_equal(first.waveform, second.waveform)
    assert (first.title, first.artist) == (second.title, second.artist)


@pytest.mark.parametrize("seed", range(6))
def test_bounds_and_level(seed: int) -> None:
    waveform = synthesize(seed, 20.0).waveform
    assert waveform.shape == (160_000,)
    assert waveform.dtype == np.float32
    assert np.isfinite(waveform).all()
    assert 0.5 <= np.abs(waveform).max() <= 0.95
    half_seconds = np.sqrt(np.mean(waveform[: 36 * 4000].reshape(-1, 4000) ** 2, axis=1))
    assert half_seconds.min() > 0.003, "the music must start at once"


@pytest.mark.parametrize(("duration_s", "sample_rate"), [(0.1, 8000), (1.0, 8000), (2, 44100), (3, 11025)])
def test_odd_lengths_and_rates(duration_s: float, sample_rate: int) -> None:
    piece = synthesize(3, duration_s, sample_rate)
    assert len(piece.waveform) == round(duration_s * sample_rate)
    assert np.isfinite(piece.waveform).all()


def test_pieces_differ_and_do_not_repeat_themselves() -> None:
    chunks = [spectra(synthesize(seed, 60.0).waveform) for seed in range(4)]
    for i, one in enumerate(chunks):
        similarity = one @ one.T
        assert np.max(similarity - np.eye(len(one))) < 0.9, "a piece repeats itself"
        for other in chunks[i + 1 :]:
            assert np.max(one @ other.T) < 0.9


def test_notes_differ_by_seed_and_cover_the_piece() -> None:
    notes = compose(np.random.default_rng(1), 60.0)
    assert notes != compose(np.random.default_rng(2), 60.0)
    starts = np.sort([note.start_s for note in notes])
    assert starts[0] < 1.0
    assert starts[-1] < 60.5
    assert np.diff(starts).max() < 4.0


@pytest.mark.parametrize(("duration_s", "sample_rate"), [(0.0, 8000), (-1.0, 8000), (1.0, 0)])
def test_invalid_arguments(duration_s: float, sample_rate: int) -> None:
    with pytest.raises(ValueError, match="positive"):
        synthesize(0, duration_s, sample_rate)


def test_write_wav(tmp_path: Path) -> None:
    samples = np.array([0.0, 0.5, -0.5, 1.5, -1.5], np.float32)
    write_wav(tmp_path / "x.wav", samples, 8000)
    with wave.open(str(tmp_path / "x.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        pcm = np.frombuffer(file.readframes(10), "<i2")
    np.testing.assert_array_equal(pcm, [0, 16384, -16384, 32767, -32768])
