"""A muted and an overdriven input are reported, once; music that is only loud is not."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from test_daemon import SECOND, SETTINGS, FakeListener, FakeSource, ListSink

from overheard.daemon import run_listen
from overheard.demo.synth import synthesize
from overheard.hear.input_health import InputHealth
from overheard.hear.resampler import to_int16

SILENCE = np.zeros(8000, np.int16)
HISS = np.random.default_rng(0).integers(-3, 4, 8000).astype(np.int16)
MUTED = "delivers digital silence: it is muted, or its volume is zero"


def reports(seconds: list[np.ndarray], can_be_silent: bool = False) -> list[tuple[int, str]]:
    health = InputHealth()
    found = [(number, health.process(block, can_be_silent)) for number, block in enumerate(seconds, start=1)]
    return [(number, text) for number, text in found if text]


def music(gain: float) -> list[np.ndarray]:
    loud = to_int16(np.clip(gain * synthesize(5, 30.0).waveform, -1, 1).astype(np.float32))
    return [loud[start : start + 8000] for start in range(0, len(loud), 8000)]


def test_a_microphone_that_is_muted_and_not_any_more_is_reported_once_each():
    seconds = [HISS] * 5 + [SILENCE] * 60 + [HISS] * 5
    assert reports(seconds) == [(35, MUTED), (66, "delivers sound again")]
    assert len(reports(seconds * 5)) == 2  # within an hour


def test_pauses_in_music_and_outputs_that_play_nothing_are_not_reported():
    assert reports(([HISS] + [SILENCE] * 29) * 4) == []
    assert reports([SILENCE] * 600, can_be_silent=True) == []


def test_an_overdriven_input_is_reported_once_an_hour():
    seconds = music(20.0)
    (found,) = reports(seconds)
    assert found[0] == 10
    assert found[1].startswith("is overdriven (")
    assert len(reports(seconds * 241)) == 3  # in two hours


@pytest.mark.parametrize("gain", [0.01, 1.0])
def test_loud_music_is_not_overdriven(gain: float):
    peak = float(np.abs(synthesize(5, 30.0).waveform).max())
    assert reports(music(gain / peak)) == []


def test_listen_reports_it(caplog: pytest.LogCaptureFixture):
    source = FakeSource([SECOND, *[SILENCE] * 40], live=True)
    run_listen(SETTINGS, source, [ListSink()], threading.Event(), FakeListener, lambda: 0.0, lambda: 0.0)
    assert f"fake {MUTED}" in caplog.messages
    caplog.clear()
    source = FakeSource([SECOND, *[SILENCE] * 40])  # a file
    run_listen(SETTINGS, source, [ListSink()], threading.Event(), FakeListener)
    assert not [text for text in caplog.messages if "muted" in text]
