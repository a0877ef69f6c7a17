"""`overheard listen` with a microphone that is muted, seized by another program, or replugged."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import test_listen
from test_listen import (
    LOAD,
    SINK,
    Listening,
    listening,
    music,
    pactl,
    play_into_sink,
    pulse,
)

__all__ = ["listening", "music", "pulse"]  # fixtures

pytestmark = pytest.mark.slow
Start = Callable[..., Listening]
MICROPHONE = "overheard_test_microphone"
REMAP = ("load-module", "module-remap-source", f"master={SINK}.monitor", f"source_name={MICROPHONE}")


@pytest.fixture
def microphone(pulse: dict[str, str]) -> Iterator[str]:
    """A source that is no monitor, so that digital silence is not normal; it hears the null sink."""
    pactl(pulse, *REMAP)
    yield MICROPHONE
    with contextlib.suppress(subprocess.CalledProcessError):
        pactl(pulse, "unload-module", "module-remap-source")


def hears(listen: Listening, pulse: dict[str, str], piece, folder: Path) -> None:
    """Play a piece until it is recognized."""
    player = play_into_sink(pulse, piece, 10.0, folder)
    try:
        listen.wait_for(lambda: listen.started(piece.title) is not None, f"play of {piece.title}")
    finally:
        player.kill()
        player.wait()


def times_logged(listen: Listening, text: str) -> int:
    return sum(text in line for line in listen.errors)


def test_a_muted_microphone_is_reported_once_and_heard_when_it_is_not_muted(
    pulse: dict[str, str],
    music: tuple[Path, list],
    listening: Start,
    microphone: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    patience = "import overheard.hear.input_health as health\nhealth._MUTED_S = 2.0\n"
    monkeypatch.setattr(test_listen, "START", patience + test_listen.START)
    listen = listening("--input", f"pulse:{microphone}")
    pactl(pulse, "set-source-mute", microphone, "1")
    listen.wait_for(lambda: listen.logged("delivers digital silence: it is muted"), "report")
    player = play_into_sink(pulse, music[1][0], 10.0, tmp_path)
    try:
        pactl(pulse, "set-source-mute", microphone, "0")
        listen.wait_for(lambda: listen.started(music[1][0].title) is not None, "play")
    finally:
        player.kill()
        player.wait()
    assert times_logged(listen, "digital silence") == 1
    assert times_logged(listen, "delivers sound again") == 1
    assert listen.stop() == 0


def test_a_microphone_that_another_program_seizes_is_awaited(
    pulse: dict[str, str], music: tuple[Path, list], listening: Start, microphone: str, tmp_path: Path
):
    """A program that takes the sound card for itself, such as JACK, lets the sound server suspend it."""
    _, pieces = music

    def suspend(word: str) -> None:
        for kind, name in (("source", microphone), ("sink", SINK)):
            pactl(pulse, f"suspend-{kind}", name, word)

    listen = listening("--input", f"pulse:{microphone}")
    hears(listen, pulse, pieces[0], tmp_path)
    suspend("1")
    try:
        listen.wait_for(lambda: listen.logged("waiting for it to return"), "report of the loss")
    finally:
        suspend("0")
    listen.wait_for(lambda: listen.logged("is connected again"), "report of the return")
    hears(listen, pulse, pieces[1], tmp_path)
    assert times_logged(listen, "waiting for it to return") == 1
    assert listen.stop() == 0


@pytest.mark.parametrize("form", [("rate=16000", "channels=1"), ("rate=96000", "channels=2")])
def test_a_microphone_that_returns_with_another_sample_rate_is_heard(
    pulse: dict[str, str],
    music: tuple[Path, list],
    listening: Start,
    microphone: str,
    tmp_path: Path,
    form: tuple[str, str],
):
    """Another sound card may have the same name, and a driver may have been updated."""
    _, pieces = music
    listen = listening("--input", f"pulse:{microphone}")
    hears(listen, pulse, pieces[0], tmp_path)
    pactl(pulse, "unload-module", "module-null-sink")  # and the microphone, which depends on it
    try:
        listen.wait_for(lambda: listen.logged("waiting for it to return"), "report of the loss")
        pactl(pulse, *LOAD[:3], *form)
        pactl(pulse, *REMAP)
        listen.wait_for(lambda: listen.logged("is connected again"), "report of the return")
        hears(listen, pulse, pieces[2], tmp_path)
        assert listen.stop() == 0
    finally:
        for module in ("module-remap-source", "module-null-sink"):
            with contextlib.suppress(subprocess.CalledProcessError):
                pactl(pulse, "unload-module", module)
        pactl(pulse, *LOAD)
