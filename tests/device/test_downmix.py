"""Mixing of channels to mono."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import audio_files
from overheard.hear.downmix import Downmixer
from overheard.hear.resampler import Resampler, to_float

RATE = 8000


def mix(channels: np.ndarray, block: int) -> np.ndarray:
    mixer = Downmixer(RATE)
    n = channels.shape[1]
    return np.concatenate([mixer.process(channels[:, i : i + block], 1.0) for i in range(0, n, block)])


def pairs() -> dict[str, np.ndarray]:
    """Stereo as it is: equal, unrelated and panned channels, one silent channel, some opposite sound."""
    one, two = audio_files.music(20.0, seed=1)[0], audio_files.music(20.0, seed=2)[0]
    hiss = 1e-5 * np.random.default_rng(0).standard_normal((2, len(one))).astype(np.float32)
    return {
        "equal": np.stack([one, one]),
        "unrelated": np.stack([one, two]),
        "panned": np.stack([one + 0.2 * two, 0.2 * one + two]),
        "left": np.stack([one, 0 * one]),
        "wide": np.stack([one + two, one - two]),
        "mostly opposite": np.stack([one, -0.5 * one]),
        "hiss": hiss,
        "silence": 0 * hiss,
        "six": np.stack([one, *[0 * one] * 5]),
    }


@pytest.mark.parametrize("name", list(pairs()))
@pytest.mark.parametrize("block", [80, 2000, 40_000])
def test_ordinary_stereo_is_the_mean(name: str, block: int) -> None:
    channels = pairs()[name]
    np.testing.assert_array_equal(mix(channels, block), mix(channels, channels.shape[1]))
    np.testing.assert_allclose(mix(channels, block), channels.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("block", [80, 2000, 40_000])
def test_opposite_channels_give_one_of_them(block: int) -> None:
    one = audio_files.music(20.0)[0]
    np.testing.assert_array_equal(mix(np.stack([one, -one]), block), one)
    with_offset = mix(np.stack([one + 0.1, 0.1 - one]), block)
    assert np.abs(np.corrcoef(with_offset, one)[0, 1]) > 0.99


def test_the_mean_returns_after_opposite_channels() -> None:
    one, two = audio_files.music(10.0, seed=1)[0], audio_files.music(10.0, seed=2)[0]
    mixed = mix(np.concatenate([np.stack([one, -one]), np.stack([two, 0.9 * two])], axis=1), 2000)
    np.testing.assert_array_equal(mixed[: len(one)], one)
    np.testing.assert_allclose(mixed[len(one) + RATE :], 0.95 * two[RATE:], atol=1e-6)


def test_a_stream_of_opposite_channels_is_not_silence() -> None:
    one = audio_files.music(5.0, rate=48000)[0]
    stream = np.rint(np.stack([one, -one], axis=1) * 32767).astype(np.int16)
    mono = to_float(Resampler(48000, 2).process(stream.ravel(), last=True))
    assert np.corrcoef(mono[800:-800], audio_files.music(5.0)[0][800:-800])[0, 1] > 0.99


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_values_that_are_not_audio_cause_no_warning(value: float) -> None:
    stream = np.full(2 * RATE, value, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(Resampler(RATE, 2).process(stream, last=True)) == RATE
        assert len(Resampler(44100, 1).process(stream, last=True))


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("left", 0.5), ("right", -0.25), ("mix", 0.125), ("difference", 0.375), ("auto", 0.125)],
)
def test_the_user_chooses_the_channel(channel: str, expected: float):
    steps = np.stack([np.full(RATE, 16384, np.int16), np.full(RATE, -8192, np.int16)])
    mono = Downmixer(RATE, channel).process(steps, 32768)
    np.testing.assert_allclose(mono, expected, atol=1e-6)
    alone = Downmixer(RATE, channel).process(steps[:1], 32768)
    np.testing.assert_allclose(alone, 0.5, atol=1e-6)


def test_a_reversed_channel_is_heard_as_the_difference_and_not_as_the_mix():
    rng = np.random.default_rng(1)
    left = rng.normal(0, 3000, RATE).astype(np.int16)
    hum = (3000 * np.sin(np.arange(RATE) / 20)).astype(np.int16)
    stereo = np.stack([left + hum, hum - left])  # the music is opposite, the hum is not
    music = left / 32768
    difference = Downmixer(RATE, "difference").process(stereo, 32768)
    assert np.corrcoef(difference, music)[0, 1] > 0.999
    assert abs(np.corrcoef(Downmixer(RATE, "mix").process(stereo, 32768), music)[0, 1]) < 0.1
    unsigned = (stereo.astype(np.int32) // 256 + 128).astype(np.uint8)  # silence is 128
    assert abs(float(Downmixer(RATE, "difference").process(unsigned, 128, 128).mean())) < 0.01
