"""A week of listening, faster than time: nothing grows. And a stop in each phase, and faults of devices."""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_daemon import SETTINGS, Clock, FakeSource

from overheard.daemon import Pause, run_listen
from overheard.events import (
    Event,
    MusicUnknown,
    Play,
    PlayEnded,
    PlayStarted,
    PlayUpdated,
    Silence,
    Status,
    Track,
)
from overheard.hear.source import DeviceLost, Gap, Rerouted
from overheard.history.retention import RetentionSink
from overheard.history.writer import HistorySink, read_plays
from overheard.live.client import LiveClient
from overheard.live.server import LiveServer
from overheard.service.notify import Notifier, NotifySink
from overheard.sinks.jsonl import JsonLinesSink
from overheard.sinks.runner import Sink
from overheard.sinks.terminal import TerminalSink
from sink_fakes import wait_for

HOUR_S = 3600
BLOCK_S = 50
BLOCK = np.full(8000 * BLOCK_S // 10, 1000, np.int16)  # a tenth of the samples: they take most of the time
PLAY_S = 200.0
KEEP_DAYS = 2


class CountingHistory(HistorySink):
    """A history that counts the plays that have ended."""

    n_ended = 0

    def handle(self, event: Event, started: float) -> None:
        super().handle(event, started)
        self.n_ended += isinstance(event, PlayEnded)


class WeekListener:
    """Reports a play of 200 s, unknown music and silence in turn; each play is of another track."""

    n_blocks = n_ended = 0  # blocks that have been processed, and plays that have ended, by all listeners

    def __init__(self) -> None:
        self._now_s = 0.0
        self._play: Play | None = None
        self._number = 0

    def process(self, block: np.ndarray) -> list[Event]:
        self._now_s += BLOCK_S
        WeekListener.n_blocks += 1
        play = self._play
        if play is not None and self._now_s - play.start_s < PLAY_S:
            self._play = Play(play.track, play.start_s, self._now_s, 0.0, 5.0, 0.9)
            return [PlayUpdated(self._play)]
        events: list[Event] = []
        if play is not None:
            WeekListener.n_ended += 1
            events += [
                PlayEnded(play),
                MusicUnknown(self._now_s - 20, self._now_s - 10),
                Silence(self._now_s),
            ]
        self._number += 1
        title = f"{os.getpid()}-{self._number} " + "t" * 40
        track = Track(f"{self._number:012d}", title, "Ann", "Album", f"/{title}.flac", "music", 200.0)
        self._play = Play(track, self._now_s, self._now_s, 0.0, 5.0, 0.9)
        return [*events, PlayStarted(self._play)]

    def gap(self, n_samples: int) -> list[Event]:
        self._now_s += n_samples / 8000
        return []

    def finish(self) -> list[Event]:
        WeekListener.n_ended += self._play is not None
        return [] if self._play is None else [PlayEnded(self._play)]

    def status(self) -> Status:
        return Status("playing", -20.0, -60.0, True, 1.0, self._play, {"gate": 1.0}, self._now_s, 0.0, None)


def memory_kb() -> int:
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_in_a_week_neither_memory_nor_descriptors_nor_files_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Once a day, the device is lost, audio is lost, the source changes, and listening is paused."""
    monkeypatch.setattr("overheard.daemon.run._FIRST_RETRY_S", 0.001)
    monkeypatch.setattr("overheard.daemon.run._PAUSE_POLL_S", 0.001)
    monkeypatch.setattr("overheard.daemon.status._INTERVAL_S", 0.0)
    # The tests' own heap is large, so that returning freed memory takes long.
    monkeypatch.setattr("overheard.daemon.session._TRIM_SAMPLES", 6 * HOUR_S // BLOCK_S * len(BLOCK))
    clock = Clock()
    clock.now = 1.8e9
    pause, stop = Pause(now=clock, elapsed=clock), threading.Event()
    monkeypatch.setattr(WeekListener, "n_blocks", 0)
    monkeypatch.setattr(WeekListener, "n_ended", 0)
    path = tmp_path / "history.sqlite"
    history, server = CountingHistory(path, "mic"), LiveServer(tmp_path / "live.sock", "1", pause)
    retention = RetentionSink(path, KEEP_DAYS, None, clock, clock)
    notifier = Notifier(str(tmp_path / "notify"), 60.0, clock)
    measured: list[tuple[int, int, int]] = []

    def measure() -> None:
        with LiveClient(tmp_path / "live.sock") as client:  # somebody opens the page
            client.first("status", 5.0)
        retention.idle()
        size = sum(file.stat().st_size for file in tmp_path.glob("history.sqlite*"))
        measured.append((memory_kb(), len(os.listdir("/proc/self/fd")), size))

    def alive() -> None:
        notifier.audio()
        clock.now += 10 if pause.is_paused else 0

    def take_up(n_blocks: int) -> None:
        """Wait until the blocks are processed, and the history has the plays in them."""
        wait_for(lambda: WeekListener.n_blocks >= n_blocks and history.n_ended >= WeekListener.n_ended)

    def week() -> Iterator[object]:
        n_blocks = 0
        for hour in range(7 * 24):
            for _ in range(HOUR_S // BLOCK_S):
                clock.now += BLOCK_S
                n_blocks += 1
                yield BLOCK
            yield functools.partial(take_up, n_blocks - 8)  # the source is read ahead
            if hour % 24 == 12:
                yield from (DeviceLost("gone"), BLOCK, Gap(8000), Rerouted("b", "pulse:b", "pulse:a", "gone"))
                yield lambda: pause.pause(60)
                yield BLOCK
            if hour % 24 == 23:
                yield lambda: threading.Event().wait(0.3)
                yield measure

    sinks: list[Sink] = [TerminalSink(io.StringIO()), history, server, NotifySink(notifier)]
    with (tmp_path / "out").open("w") as out:
        run_listen(
            *(SETTINGS, FakeSource(week(), live=True), [*sinks, JsonLinesSink(out)], stop, WeekListener),
            *(clock, clock),
            pause=pause,
            monitors=[server],
            on_audio=alive,
        )
    first, last = measured[KEEP_DAYS], measured[-1]  # from then on, old plays are deleted
    assert len(measured) == 7
    assert last[0] <= 1.05 * first[0], measured
    assert last[1] <= first[1], measured
    assert last[2] <= 1.1 * first[2], measured
    plays, count = read_plays(path)
    assert count > 0.9 * KEEP_DAYS * 86400 / (PLAY_S + BLOCK_S)
    assert {row.source for row in plays} == {"b"}


STOP_IN_PHASE = """
import sys, threading
sys.path[:0] = [{tests!r}, *{paths!r}]
from overheard.daemon import Pause
from overheard.hear.source import DeviceLost
from overheard.history.writer import HistorySink
from test_daemon import *
pause = Pause()
def ready():
    print("ready", flush=True)
def wait():
    while True:
        threading.Event().wait(0.05)
        yield SECOND[:0]
def silence():
    ready()
    yield from wait()
def playing():
    yield from (SECOND, SECOND, ready)
    yield from wait()
def paused():
    yield from (SECOND, SECOND, pause.pause, ready, SECOND)
    yield from wait()
def lost():
    yield from (SECOND, SECOND, DeviceLost("gone"), ready)
    while True:
        yield DeviceLost("gone")
stop = threading.Event()
with stop_on_signals(stop):
    history = HistorySink(Path({path!r}), "fake")
    source = FakeSource({phase}(), live=True)
    run_listen(Settings(), source, [history], stop, FakeListener, pause=pause)
print("ended", flush=True)
"""


@pytest.mark.parametrize(("phase", "n_plays"), [("silence", 0), ("playing", 1), ("paused", 1), ("lost", 1)])
def test_sigterm_in_each_phase_ends_listening_and_keeps_the_play(tmp_path: Path, phase: str, n_plays: int):
    path = tmp_path / "history.sqlite"
    tests = str(Path(__file__).parent)
    code = STOP_IN_PHASE.format(tests=tests, paths=sys.path, path=str(path), phase=phase)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "ended\n"
    assert process.wait(60) == 0
    plays, count = read_plays(path)
    assert count == n_plays
    assert all(row.ended_at > row.started_at for row in plays)


def test_sigterm_while_the_packs_are_opened_ends_the_program(tmp_path: Path):
    """Nothing is heard yet, so nothing is lost; the default handler of the signal may end it."""
    command = [
        sys.executable,
        "-m",
        "overheard",
        "--data-dir",
        str(tmp_path),
        "listen",
        "--input",
        "-",
        "--raw",
    ]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "device")}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(OSError):
        process.communicate(timeout=120)
    assert process.returncode in (0, -signal.SIGTERM)
    assert not list(tmp_path.glob("*.tmp"))
