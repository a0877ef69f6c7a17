"""`overheard listen` for real: PulseAudio plays into a null sink whose monitor is recorded through PortAudio.

A PulseAudio of its own runs for these tests, so that nobody's sound is touched.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from overheard.demo.synth import synthesize, write_wav
from overheard.errors import ModelError
from overheard.fingerprint.model import load_model
from overheard.sinks.history import read_plays

pytestmark = pytest.mark.slow

SINK = "overheard_test"
LOAD = ("load-module", "module-null-sink", f"sink_name={SINK}", "rate=44100", "channels=2")
PATIENCE_S = 90.0  # for a busy machine; nothing waits so long otherwise
PIECE_S = 60.0


@dataclasses.dataclass
class Listening:
    """A running `overheard listen` and what it said so far."""

    process: subprocess.Popen[str]
    events: list[dict]
    errors: list[str]
    news: queue.Queue[str | None]

    def wait_for(self, found: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not found():
            try:
                self.news.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no {what}; heard {self.events}, said {self.errors}")

    def said(self, words: str) -> bool:
        return any(words in line for line in self.errors)

    def started(self, title: str) -> dict | None:
        for event in self.events:
            if event["event"] == "play_started" and event["play"]["track"]["title"] == title:
                return event["play"]
        return None

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a PulseAudio with one null sink; yield the environment to reach it."""
    for tool in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt install pulseaudio pulseaudio-utils)")
    home = tmp_path_factory.mktemp("pulse")
    home.chmod(0o700)
    (home / ".asoundrc").write_text("pcm.!default { type pulse }\n")  # whatever the machine's own default is
    socket = home / "native"
    env = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PULSE_SERVER": f"unix:{socket}"}
    env.pop("PULSE_SOURCE", None)
    server_env = {name: value for name, value in env.items() if name != "PULSE_SERVER"}
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    command += ["--disable-shm=yes", "-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=server_env, stdout=log, stderr=log)
    try:
        end = time.monotonic() + PATIENCE_S
        while subprocess.run(["pactl", "info"], env=env, capture_output=True).returncode:
            if server.poll() is not None or time.monotonic() > end:
                pytest.skip(f"PulseAudio does not start here: {(home / 'log').read_text()[-300:]}")
            time.sleep(0.1)
        pactl(env, *LOAD)
        yield env
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list]:
    """Synthesize and index a small collection; return the data folder and the pieces."""
    try:
        load_model()
    except ModelError as error:
        pytest.skip(f"no model: {error}")
    folder = tmp_path_factory.mktemp("music")
    pieces = [synthesize(seed, PIECE_S) for seed in range(900, 904)]
    for piece in pieces:
        write_wav(folder / f"{piece.title}.wav", piece.waveform)
    data = tmp_path_factory.mktemp("data")
    index = [*overheard(data), "index", str(folder), "--jobs", "1", "--json"]
    subprocess.run(index, env=os.environ | python_path(), check=True, capture_output=True)
    return data, pieces


def overheard(data: Path) -> list[str]:
    return [sys.executable, "-m", "overheard", "--data-dir", str(data)]


def python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def pactl(env: dict[str, str], *args: str) -> str:
    return subprocess.run(["pactl", *args], env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def listening(pulse: dict[str, str], music: tuple[Path, list]) -> Iterator[Callable[..., Listening]]:
    """Start `overheard listen` and follow what it writes."""
    running: list[Listening] = []

    def start(*args: str) -> Listening:
        devices = subprocess.run(
            [*overheard(music[0]), "devices", "--json"],
            env=pulse | python_path(),
            capture_output=True,
            text=True,
        )
        if devices.returncode == 2:
            pytest.skip(devices.stderr.strip())
        if '"name": "pulse"' not in devices.stdout:
            pytest.skip("ALSA does not know PulseAudio (apt install libasound2-plugins)")
        process = subprocess.Popen(
            [*overheard(music[0]), "listen", "--pack", "music", "--json", *args],
            env=pulse | python_path(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        heard = Listening(process, [], [], queue.Queue())
        running.append(heard)

        def follow(stream, take: Callable[[str], None]) -> None:
            for line in stream:
                take(line)
                heard.news.put(line)
            heard.news.put(None)

        takers = [
            (process.stdout, lambda line: heard.events.append(json.loads(line))),
            (process.stderr, heard.errors.append),
        ]
        for stream, take in takers:
            threading.Thread(target=follow, args=(stream, take), daemon=True).start()
        heard.wait_for(lambda: heard.said("listening to"), "start")
        return heard

    yield start
    for heard in running:
        if heard.process.poll() is None:
            heard.process.kill()
            heard.process.wait(30)


def play_into_sink(env: dict[str, str], piece, offset_s: float, folder: Path) -> subprocess.Popen[bytes]:
    """Play a piece from an offset to its end; at 44.1 kHz by PulseAudio's own resampler."""
    path = folder / "played.wav"
    write_wav(path, (piece.waveform[round(offset_s * 8000) :] * np.float32(0.5)).astype(np.float32))
    return subprocess.Popen(["paplay", f"--device={SINK}", str(path)], env=env, stderr=subprocess.DEVNULL)


def await_recording(env: dict[str, str]) -> None:
    """Wait until the monitor is being recorded."""
    end = time.monotonic() + PATIENCE_S
    while not pactl(env, "list", "short", "source-outputs").strip():
        assert time.monotonic() < end, "nobody records"
        time.sleep(0.1)


@pytest.mark.parametrize("source", ["monitor", "default", f"pulse:{SINK}.monitor"])
def test_what_plays_is_named_and_sigterm_closes_the_play(pulse, music, listening, tmp_path, source):
    data, pieces = music
    before = read_plays(data / "history.sqlite")[1]
    heard = listening("--input", source)
    await_recording(pulse)
    player = play_into_sink(pulse, pieces[1], 20.0, tmp_path)
    try:
        heard.wait_for(lambda: heard.started(pieces[1].title) is not None, "play")
    finally:
        player.kill()
        player.wait()
    play = heard.started(pieces[1].title)
    assert play is not None
    assert 15 < play["offset_s"] < 45
    assert heard.stop() == 0
    assert not heard.said("Traceback")
    assert not heard.said("ALSA")
    assert not heard.said("Expression")
    rows, count = read_plays(data / "history.sqlite")
    assert count == before + 1
    assert rows[-1].title == pieces[1].title
    assert rows[-1].ended_at > rows[-1].started_at
    heard.wait_for(lambda: heard.events[-1]["event"] == "play_ended", "end of the play")


def test_an_unplugged_source_is_told_once_and_found_again(pulse, music, listening, tmp_path):
    _, pieces = music
    heard = listening("--input", f"pulse:{SINK}.monitor")
    await_recording(pulse)
    pactl(pulse, "unload-module", "module-null-sink")
    try:
        heard.wait_for(lambda: heard.said("waiting until it is back"), "word of the loss")
        time.sleep(4)  # a few tries in vain
    finally:
        pactl(pulse, *LOAD)
    await_recording(pulse)
    player = play_into_sink(pulse, pieces[2], 10.0, tmp_path)
    try:
        heard.wait_for(lambda: heard.started(pieces[2].title) is not None, "play after the return")
    finally:
        player.kill()
        player.wait()
    assert heard.stop(signal.SIGINT) == 0
    assert [line.strip() for line in heard.errors] == [
        f"overheard: listening to pulse:{SINK}.monitor",
        f"overheard: pulse:{SINK}.monitor delivers nothing any more; waiting until it is back",
        f"overheard: pulse:{SINK}.monitor is back",
    ]


def test_silence_wakes_nothing_and_stops_at_once(pulse, listening):
    heard = listening("--input", "monitor")
    await_recording(pulse)
    time.sleep(3)
    assert heard.stop() == 0
    assert heard.events == []


def test_a_source_that_is_not_there_is_one_line(pulse, music):
    command = [*overheard(music[0]), "listen", "--pack", "music", "--input", "Theremin"]
    done = subprocess.run(command, env=pulse | python_path(), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "overheard: no sound input Theremin; `overheard devices` lists them\n"


def test_a_pipe_is_named_as_it_comes(music, tmp_path):
    data, pieces = music
    path = tmp_path / "piece.wav"
    write_wav(path, pieces[3].waveform)
    command = [*overheard(data), "listen", "--pack", "music", "--input", "-", "--no-history"]
    with path.open("rb") as file:
        done = subprocess.run(
            command, env=os.environ | python_path(), stdin=file, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    started, ended = done.stdout.splitlines()
    assert pieces[3].title in started
    assert "(at 0:0" in started
    assert pieces[3].title in ended
    assert "ended after" in ended
