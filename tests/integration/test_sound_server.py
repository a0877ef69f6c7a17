"""`overheard listen` while the sound server restarts, and while listening is paused."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_listen import (
    LOAD,
    SINK,
    TIMEOUT_S,
    Listening,
    listening,
    music,
    overheard,
    pactl,
    play_into_sink,
    pulse,
    python_path,
    wait_for_recording,
)

__all__ = ["listening", "music", "pulse"]  # fixtures

pytestmark = pytest.mark.slow
Start = Callable[..., Listening]


def until(condition: Callable[[], object], description: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, description
        time.sleep(0.1)


def answers(env: dict[str, str]) -> bool:
    return not subprocess.run(["pactl", "info"], env=env, capture_output=True).returncode


def test_a_pause_closes_the_microphone(pulse: dict[str, str], music: tuple[Path, list], listening: Start):
    def control(*words: str) -> None:
        subprocess.run(
            [*overheard(music[0]), *words], env=pulse | python_path(), check=True, timeout=TIMEOUT_S
        )

    listen = listening("--input", f"pulse:{SINK}.monitor")
    wait_for_recording(pulse)
    control("pause", "--for", "1h")
    until(lambda: not pactl(pulse, "list", "short", "source-outputs").strip(), "it still records")
    control("resume")
    wait_for_recording(pulse)
    assert listen.logged("paused")
    assert listen.stop() == 0
    assert not listen.logged("waiting for it to return")


def test_a_sound_server_that_restarts_is_awaited(
    pulse: dict[str, str], music: tuple[Path, list], listening: Start, tmp_path: Path
):
    _, pieces = music
    listen = listening("--input", f"pulse:{SINK}.monitor")
    wait_for_recording(pulse)
    pactl(pulse, "exit")
    listen.wait_for(lambda: listen.logged("waiting for it to return"), "report of the loss")
    socket = pulse["PULSE_SERVER"].removeprefix("unix:")
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    command += ["--disable-shm=yes", "-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]
    env = {name: value for name, value in pulse.items() if name != "PULSE_SERVER"}
    server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    player = None
    try:
        until(
            lambda: not subprocess.run(["pactl", "info"], env=pulse, capture_output=True).returncode,
            "no server",
        )
        pactl(pulse, *LOAD)
        wait_for_recording(pulse)
        player = play_into_sink(pulse, pieces[2], 10.0, tmp_path)
        listen.wait_for(lambda: listen.started(pieces[2].title) is not None, "play after the restart")
        assert sum("waiting for it to return" in line for line in listen.errors) == 1
        assert sum("is connected again" in line for line in listen.errors) == 1
        assert listen.stop() == 0
    finally:
        for process in (player, server):
            if process is not None:
                process.kill()
                process.wait(30)
