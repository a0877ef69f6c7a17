"""`overheard listen` with real audio: PulseAudio plays into a null sink, and PortAudio records its monitor.

These tests start a PulseAudio of their own, so that they do not use the audio devices of the user.
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
from overheard.history.writer import read_plays

pytestmark = pytest.mark.slow

SINK = "overheard_test"
LOAD = ("load-module", "module-null-sink", f"sink_name={SINK}", "rate=44100", "channels=2")
TIMEOUT_S = 90.0  # for a busy machine
PIECE_S = 60.0


@dataclasses.dataclass
class Listening:
    """A running `overheard listen` and its output so far."""

    process: subprocess.Popen[str]
    events: list[dict]
    errors: list[str]
    new_output: queue.Queue[str | None]

    def wait_for(self, condition: Callable[[], bool], description: str) -> None:
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            try:
                self.new_output.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"no {description}; events: {self.events}, standard error: {self.errors}")

    def logged(self, text: str) -> bool:
        return any(text in line for line in self.errors)

    def started(self, title: str) -> dict | None:
        for event in self.events:
            if event["event"] == "play_started" and event["play"]["track"]["title"] == title:
                return event["play"]
        return None

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)


@pytest.fixture(scope="module")
def pulse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a PulseAudio with one null sink; yield the environment of its clients."""
    for tool in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (apt install pulseaudio pulseaudio-utils)")
    home = tmp_path_factory.mktemp("pulse")
    home.chmod(0o700)
    (home / ".asoundrc").write_text("pcm.!default { type pulse }\n")  # overrides the system's default
    socket = home / "native"
    env = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "PULSE_SERVER": f"unix:{socket}"}
    env.pop("PULSE_SOURCE", None)
    server_env = {name: value for name, value in env.items() if name != "PULSE_SERVER"}
    command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
    command += ["--disable-shm=yes", "-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=server_env, stdout=log, stderr=log)
    try:
        end = time.monotonic() + TIMEOUT_S
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


# Background jobs of a shell inherit an ignored SIGINT, which `overheard listen` would leave ignored.
START = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("overheard", run_name="__main__", alter_sys=True)
"""


def overheard(data: Path) -> list[str]:
    return [sys.executable, "-c", START, "--data-dir", str(data)]


def python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def pactl(env: dict[str, str], *args: str) -> str:
    return subprocess.run(["pactl", *args], env=env, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def listening(pulse: dict[str, str], music: tuple[Path, list]) -> Iterator[Callable[..., Listening]]:
    """Return a function that starts `overheard listen` and collects its output."""
    started: list[Listening] = []

    def start(*args: str, config: Path | None = None) -> Listening:
        options = [] if config is None else ["--config", str(config)]
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
            [*overheard(music[0]), *options, "listen", "--pack", "music", "--json", *args],
            env=pulse | python_path(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running = Listening(process, [], [], queue.Queue())
        started.append(running)

        def read(stream, collect: Callable[[str], object]) -> None:
            for line in stream:
                collect(line)
                running.new_output.put(line)
            running.new_output.put(None)

        collectors = [
            (process.stdout, lambda line: running.events.append(json.loads(line))),
            (process.stderr, running.errors.append),
        ]
        for stream, collect in collectors:
            threading.Thread(target=read, args=(stream, collect), daemon=True).start()
        running.wait_for(lambda: running.logged("listening to"), "start")
        return running

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait(30)


def play_into_sink(
    env: dict[str, str], piece, offset_s: float, folder: Path, sink: str = SINK
) -> subprocess.Popen[bytes]:
    """Play a piece from an offset to its end; PulseAudio resamples it to 44.1 kHz."""
    path = folder / "played.wav"
    write_wav(path, (piece.waveform[round(offset_s * 8000) :] * np.float32(0.5)).astype(np.float32))
    return subprocess.Popen(["paplay", f"--device={sink}", str(path)], env=env, stderr=subprocess.DEVNULL)


def wait_for_recording(env: dict[str, str]) -> None:
    """Wait until the monitor is being recorded."""
    end = time.monotonic() + TIMEOUT_S
    while not pactl(env, "list", "short", "source-outputs").strip():
        assert time.monotonic() < end, "nothing records the monitor"
        time.sleep(0.1)


@pytest.mark.parametrize("source", ["monitor", "default", f"pulse:{SINK}.monitor"])
def test_a_track_is_recognized_and_sigterm_ends_the_play(pulse, music, listening, tmp_path, source):
    data, pieces = music
    before = read_plays(data / "history.sqlite")[1]
    listen = listening("--input", source)
    wait_for_recording(pulse)
    player = play_into_sink(pulse, pieces[1], 20.0, tmp_path)
    try:
        listen.wait_for(lambda: listen.started(pieces[1].title) is not None, "play")
    finally:
        player.kill()
        player.wait()
    play = listen.started(pieces[1].title)
    assert play is not None
    assert 15 < play["offset_s"] < 45
    assert listen.stop() == 0
    assert not listen.logged("Traceback")
    assert not listen.logged("ALSA")
    assert not listen.logged("Expression")
    rows, count = read_plays(data / "history.sqlite")
    assert count == before + 1
    assert rows[-1].title == pieces[1].title
    assert rows[-1].ended_at > rows[-1].started_at
    listen.wait_for(lambda: listen.events[-1]["event"] == "play_ended", "end of the play")


def test_a_process_that_was_stopped_goes_on_with_the_play_and_counts_what_it_lost(
    pulse, music, listening, tmp_path
):
    """As with Ctrl-Z: the queue holds one second, so most of the sound meanwhile is dropped, not queued."""
    config = tmp_path / "config.toml"
    config.write_text("[listen]\nqueue_s = 1\n")
    title = music[1][2].title
    listen = listening("--input", "monitor", config=config)
    wait_for_recording(pulse)
    player = play_into_sink(pulse, music[1][2], 5.0, tmp_path)
    try:
        listen.wait_for(lambda: listen.started(title) is not None, "play")
        listen.process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        listen.process.send_signal(signal.SIGCONT)
        listen.wait_for(lambda: listen.logged("s of audio lost"), "report of the lost audio")
        n_events = len(listen.events)
        listen.wait_for(lambda: len(listen.events) > n_events + 2, "updates of the play")
    finally:
        player.kill()
        player.wait()
    assert listen.stop() == 0
    listen.wait_for(lambda: listen.events[-1]["event"] == "play_ended", "end of the play")
    titles = [event["play"]["track"]["title"] for event in listen.events if "play" in event]
    assert set(titles) == {title}
    starts = [event["play"]["start_s"] for event in listen.events if event["event"] == "play_started"]
    assert len(set(starts)) == 1
    ended = listen.events[-1]["play"]
    assert ended["end_s"] - ended["start_s"] > 4


def test_an_unplugged_source_is_reported_once_and_reopened(pulse, music, listening, tmp_path):
    _, pieces = music
    listen = listening("--input", f"pulse:{SINK}.monitor")
    wait_for_recording(pulse)
    pactl(pulse, "unload-module", "module-null-sink")
    try:
        listen.wait_for(lambda: listen.logged("waiting for it to return"), "report of the loss")
        time.sleep(4)  # some attempts to reopen it fail
    finally:
        pactl(pulse, *LOAD)
    wait_for_recording(pulse)
    player = play_into_sink(pulse, pieces[2], 10.0, tmp_path)
    try:
        listen.wait_for(lambda: listen.started(pieces[2].title) is not None, "play after the return")
    finally:
        player.kill()
        player.wait()
    assert listen.stop(signal.SIGINT) == 0
    assert [line.strip() for line in listen.errors] == [
        f"overheard: listening to pulse:{SINK}.monitor",
        f"overheard: pulse:{SINK}.monitor no longer delivers audio; waiting for it to return",
        f"overheard: pulse:{SINK}.monitor is connected again",
    ]


# The source of the stream changes


@pytest.fixture
def other_sink(pulse: dict[str, str]) -> Iterator[str]:
    """Add a sink, to whose monitor PulseAudio moves the stream; yield its name."""
    module = pactl(pulse, "load-module", "module-null-sink", "sink_name=other").strip()
    yield "other"
    pactl(pulse, "unload-module", module)


def unload_sink(env: dict[str, str], sink: str) -> None:
    modules = [line.split("\t") for line in pactl(env, "list", "short", "modules").splitlines()]
    pactl(env, "unload-module", *(m[0] for m in modules if f"sink_name={sink} " in f"{m[2]} "))


def play_until_recognized(env: dict[str, str], listen: Listening, piece, sink: str, folder: Path) -> None:
    player = play_into_sink(env, piece, 10.0, folder, sink)
    try:
        listen.wait_for(lambda: listen.started(piece.title) is not None, f"play of {piece.title}")
    finally:
        player.kill()
        player.wait()


def changes(listen: Listening) -> list[tuple[str, str]]:
    return [(event["source"], event["reason"]) for event in listen.events if "reason" in event]


def test_a_move_to_another_source_is_reported_and_recorded_and_undone(
    pulse, music, listening, other_sink, tmp_path
):
    data, pieces = music
    before = read_plays(data / "history.sqlite")[1]
    spec, other = f"pulse:{SINK}.monitor", f"pulse:{other_sink}.monitor"
    listen = listening("--input", spec)
    wait_for_recording(pulse)
    play_until_recognized(pulse, listen, pieces[0], SINK, tmp_path)
    unload_sink(pulse, SINK)
    try:
        listen.wait_for(lambda: changes(listen) == [(other, "gone")], "report of the move")
        play_until_recognized(pulse, listen, pieces[1], other_sink, tmp_path)
    finally:
        pactl(pulse, *LOAD)
    listen.wait_for(lambda: changes(listen)[1:] == [(spec, "returned")], "return")
    play_until_recognized(pulse, listen, pieces[2], SINK, tmp_path)
    assert listen.stop() == 0
    assert [line.strip() for line in listen.errors] == [
        f"overheard: listening to {spec}",
        f"overheard: source changed: {spec} is gone, hearing {other} instead",
        f"overheard: source changed: hearing {spec} again",
    ]
    rows, count = read_plays(data / "history.sqlite")
    assert [(row.title, row.source) for row in rows[-3:]] == [
        (pieces[0].title, spec),
        (pieces[1].title, other),
        (pieces[2].title, spec),
    ]
    assert count == before + 3


def test_a_stream_that_the_user_moves_stays_there(pulse, music, listening, other_sink, tmp_path):
    data, pieces = music
    spec, other = f"pulse:{SINK}.monitor", f"pulse:{other_sink}.monitor"
    listen = listening("--input", spec)
    wait_for_recording(pulse)
    stream = pactl(pulse, "list", "short", "source-outputs").split("\t")[0]
    play_until_recognized(pulse, listen, pieces[3], SINK, tmp_path)
    pactl(pulse, "move-source-output", stream, f"{other_sink}.monitor")
    listen.wait_for(lambda: changes(listen) == [(other, "moved")], "report of the move")
    unload_sink(pulse, SINK)
    pactl(pulse, *LOAD)
    play_until_recognized(pulse, listen, pieces[1], other_sink, tmp_path)
    assert listen.stop() == 0
    assert [line.strip() for line in listen.errors] == [
        f"overheard: listening to {spec}",
        f"overheard: source changed: hearing {other} instead of {spec}",
    ]
    assert [row.source for row in read_plays(data / "history.sqlite")[0][-2:]] == [spec, other]


def test_the_monitor_follows_the_default_output(pulse, music, listening, other_sink, tmp_path):
    data, pieces = music
    pactl(pulse, "set-default-sink", SINK)
    listen = listening("--input", "monitor")
    wait_for_recording(pulse)
    play_until_recognized(pulse, listen, pieces[0], SINK, tmp_path)
    pactl(pulse, "set-default-sink", other_sink)
    listen.wait_for(lambda: bool(changes(listen)), "report of the move")
    play_until_recognized(pulse, listen, pieces[1], other_sink, tmp_path)
    assert listen.stop() == 0
    assert changes(listen) == [(f"pulse:{other_sink}.monitor", "moved")]
    rows = read_plays(data / "history.sqlite")[0]
    assert [row.source for row in rows[-2:]] == ["monitor", f"pulse:{other_sink}.monitor"]


def test_what_watches_the_source_ends_even_if_listen_is_killed(pulse, listening):
    listen = listening("--input", f"pulse:{SINK}.monitor")
    wait_for_recording(pulse)

    def wait_for_clients(number: int) -> None:
        """Wait until so many `pactl` are connected, that of this function included."""
        end = time.monotonic() + TIMEOUT_S
        while pactl(pulse, "-f", "json", "list", "clients").count('"application.name":"pactl"') != number:
            assert time.monotonic() < end, f"not {number} clients"
            time.sleep(0.1)

    wait_for_clients(2)
    listen.process.kill()
    listen.process.wait(30)
    wait_for_clients(1)


def test_silence_produces_no_events(pulse, listening):
    listen = listening("--input", "monitor")
    wait_for_recording(pulse)
    time.sleep(3)
    assert listen.stop() == 0
    assert listen.events == []


def test_an_unknown_source_is_an_error_of_one_line(pulse, music):
    command = [*overheard(music[0]), "listen", "--pack", "music", "--input", "Theremin"]
    done = subprocess.run(command, env=pulse | python_path(), capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr
        == "overheard: no audio input matches Theremin; run `overheard devices` to list the inputs\n"
    )


def test_standard_input_is_recognized(music, tmp_path):
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
