"""Source to listener to sinks: losses, stops, clocks, and sinks that fail."""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from overheard.commands import identify, listen
from overheard.daemon import run_listen
from overheard.errors import AudioError
from overheard.events import Event, MusicUnknown, Play, PlayEnded, PlayStarted, PlayUpdated, Silence, Track
from overheard.hear.source import AudioSource, DeviceLost, Gap
from overheard.process import stop_on_signals
from overheard.recognize.pipeline import Identification
from overheard.settings import ListenSettings, Settings
from overheard.sinks import SinkClosed, SinkRunner
from overheard.sinks.history import read_plays
from overheard.sinks.jsonl import JsonLinesSink, to_json
from overheard.sinks.terminal import TerminalSink, to_line

TRACK = Track("a" * 12, "Alpha", "Ann", "", "/a.flac", "music", 200.0)
SECOND = np.full(8000, 1000, np.int16)
SETTINGS = Settings(listen=ListenSettings(queue_s=10, reconnect_max_s=0.001))


def play(end_s: float, start_s: float = 0.0) -> Play:
    return Play(TRACK, start_s, end_s, 62.0, 5.0, 0.93)


class FakeSource(AudioSource):
    """Yields what it is given; an exception among it is raised, and the next call goes on behind it."""

    name = "fake"

    def __init__(self, items: Iterable[object], live: bool = False) -> None:
        super().__init__()
        self.live = live
        self._items = iter(items)

    def blocks(self):
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            if callable(item):
                item()
            else:
                yield item


class FakeListener:
    """Hears one play from its first block until it is finished."""

    made: list[FakeListener] = []

    def __init__(self) -> None:
        self.now_s = 0.0
        self.gaps: list[int] = []
        self.made.append(self)

    def process(self, block: np.ndarray) -> list[Event]:
        assert block.dtype == np.float32
        assert abs(float(block.max())) <= 1
        first = self.now_s == 0
        self.now_s += len(block) / 8000
        return [PlayStarted(play(self.now_s))] if first else [PlayUpdated(play(self.now_s))]

    def gap(self, n_samples: int) -> list[Event]:
        self.gaps.append(n_samples)
        self.now_s += n_samples / 8000
        return []

    def finish(self) -> list[Event]:
        return [PlayEnded(play(self.now_s))]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.daemon._FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("overheard.sinks._RETRIES_S", (0.001, 0.001))
    FakeListener.made = []


class ListSink:
    name = "list"

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.starts: list[float] = []
        self.closed = False

    def handle(self, event: Event, started: float) -> None:
        if not isinstance(event, PlayUpdated):  # some of those may be left out
            self.events.append(event)
            self.starts.append(started)

    def close(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def step(self, by_s: float):
        return lambda: setattr(self, "now", self.now + by_s)


def hear(items: Iterable[object], live: bool = False, clock: Clock | None = None, stop=None) -> ListSink:
    sink = ListSink()
    source = FakeSource(items, live)
    run_listen(SETTINGS, source, [sink], stop or threading.Event(), FakeListener, clock or Clock())
    assert sink.closed
    return sink


def test_a_file_runs_to_its_end_and_the_play_is_closed():
    sink = hear([SECOND] * 5)
    assert sink.events == [PlayStarted(play(1)), PlayEnded(play(5))]
    assert sink.starts == [1000, 1000]  # second 0 is when it began, however fast it is read


def test_a_live_source_counts_from_the_end_of_its_first_block():
    assert hear([SECOND] * 2, live=True).starts[0] == 999


def test_an_empty_block_is_no_sound():
    sink = hear([SECOND[:0], SECOND[:0]])
    assert sink.events == []
    assert FakeListener.made == []


def test_the_stop_event_ends_the_play_and_the_sinks():
    stop = threading.Event()
    sink = hear([SECOND, SECOND, stop.set, SECOND, AssertionError("read on")], stop=stop)
    assert sink.events[-1] == PlayEnded(play(2))


def test_a_gap_is_handed_on():
    hear([Gap(5), SECOND, Gap(4000), SECOND])
    assert FakeListener.made[0].gaps == [4000]


def test_a_lost_device_is_said_once_and_a_new_session_begins(caplog: pytest.LogCaptureFixture):
    clock = Clock()
    lost = [DeviceLost("mic delivers nothing"), DeviceLost("gone"), DeviceLost("gone")]
    items = [SECOND, SECOND, *lost, clock.step(600), SECOND[:0], SECOND]
    sink = hear(items, live=True, clock=clock)
    kinds = [PlayStarted, PlayEnded, PlayStarted, PlayEnded]
    assert [type(event) for event in sink.events] == kinds
    assert sink.starts[1] == 999
    assert sink.starts[2] == 1599
    assert [r.message for r in caplog.records] == [
        "mic delivers nothing; waiting until it is back",
        "fake is back",
    ]


def test_a_source_that_cannot_be_opened_is_an_error_and_sinks_are_closed():
    sink = ListSink()
    source = FakeSource([AudioError("no microphone")])
    with pytest.raises(AudioError):
        run_listen(SETTINGS, source, [sink], threading.Event(), FakeListener)
    assert sink.closed


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_jump_of_the_clock_begins_anew(jump_s: float):
    clock = Clock()
    items = [SECOND, clock.step(1), SECOND, clock.step(1 + jump_s), SECOND]
    sink = hear(items, live=True, clock=clock)
    assert [type(e) for e in sink.events] == [PlayStarted, PlayEnded, PlayStarted, PlayEnded]
    assert sink.starts[1] == 999
    assert sink.starts[2] == 1000 + jump_s + 1
    assert sink.events[1] == PlayEnded(play(2))


def test_a_sound_card_that_is_slow_is_followed():
    clock = Clock()
    items = [item for _ in range(100) for item in (SECOND, clock.step(1.1))]
    sink = hear(items, live=True, clock=clock)
    assert [type(e) for e in sink.events] == [PlayStarted, PlayEnded]
    ended_at = sink.starts[1] + sink.events[1].play.end_s
    assert ended_at == pytest.approx(clock.now, abs=3.5)


# Sinks


def test_updates_are_joined_and_a_full_queue_drops_its_oldest():
    entered, go = threading.Event(), threading.Event()

    class Slow(ListSink):
        def handle(self, event: Event, started: float) -> None:
            entered.set()
            go.wait(10)
            self.events.append(event)

    sink = Slow()
    runner = SinkRunner(sink, max_events=3)
    runner.put(Silence(0), 0)
    entered.wait(10)
    for end in range(100):
        runner.put(PlayUpdated(play(end)), 0)
    for at in range(1, 5):
        runner.put(Silence(at), 0)
    go.set()
    assert runner.close(10)
    assert sink.events == [Silence(0), Silence(2), Silence(3), Silence(4)]
    assert runner.dropped == 2


def test_updates_that_wait_become_one():
    sink = ListSink()
    entered, go = threading.Event(), threading.Event()
    seen = []

    def handle(event: Event, started: float) -> None:
        entered.set()
        go.wait(10)
        seen.append(event)

    sink.handle = handle
    runner = SinkRunner(sink)
    runner.put(PlayStarted(play(1)), 0)
    entered.wait(10)
    for end in range(2, 50):
        runner.put(PlayUpdated(play(end)), 0)
    go.set()
    runner.close(10)
    assert seen == [PlayStarted(play(1)), PlayUpdated(play(49))]


def test_a_failing_sink_is_tried_again_and_hurts_no_other(caplog: pytest.LogCaptureFixture):
    class Failing(ListSink):
        name = "failing"
        calls = 0

        def handle(self, event: Event, started: float) -> None:
            self.calls += 1
            if self.calls <= 4:  # the first event thrice, and so lost; the second once
                raise OSError("disk full")
            super().handle(event, started)

    failing, good = Failing(), ListSink()
    runners = [SinkRunner(failing), SinkRunner(good)]
    for at in range(3):
        for runner in runners:
            runner.put(Silence(at), 0)
    while len(failing.events) < 2:
        threading.Event().wait(0.001)
    assert all(runner.close(10) for runner in runners)
    assert good.events == [Silence(0), Silence(1), Silence(2)]
    assert failing.events == [Silence(1), Silence(2)]
    messages = [record.message for record in caplog.records]
    assert messages == ["failing: disk full; trying again", "failing works again; events lost so far: 1"]


def test_a_reader_that_leaves_ends_listening():
    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    stop = threading.Event()
    source = FakeSource(itertools.cycle([lambda: stop.wait(0.001), SECOND]))
    run_listen(SETTINGS, source, [TerminalSink(Pipe())], stop, FakeListener)
    assert stop.is_set()
    with pytest.raises(SinkClosed):
        JsonLinesSink(Pipe()).handle(Silence(0), 0)


def test_lines_for_people(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.sinks.terminal.local_clock", lambda t: f"<{t:.0f}>")
    assert to_line(PlayStarted(play(9, 3)), 100) == "<103>  Ann - Alpha  (at 1:02, 93%)"
    assert to_line(PlayEnded(play(193, 3)), 100) == "<293>  Ann - Alpha  ended after 3:10"
    assert to_line(MusicUnknown(20, 35), 100) == "<120>  unknown music"
    assert to_line(PlayUpdated(play(9)), 100) is None
    assert to_line(Silence(9), 100) is None


def test_titles_cannot_write_terminal_codes():
    evil = Play(Track("a", "x\x1b[2J\nfake", "", "", "", "", 0), 0, 1, 0, 5, 0.9)
    line = to_line(PlayStarted(evil), 0)
    assert line is not None
    assert "\x1b" not in line
    assert "\n" not in line


def test_lines_for_programs():
    out = io.StringIO()
    for event in (PlayStarted(play(9, 3)), MusicUnknown(20, 35), Silence(40)):
        JsonLinesSink(out).handle(event, 0)
    started, unknown, silence = map(json.loads, out.getvalue().splitlines())
    assert started["event"] == "play_started"
    assert started["started_at"] == "1970-01-01T00:00:03.000Z"
    assert started["play"]["track"]["title"] == "Alpha"
    assert unknown == {
        "event": "music_unknown",
        "started_at": "1970-01-01T00:00:20.000Z",
        "ended_at": "1970-01-01T00:00:35.000Z",
        "start_s": 20,
        "end_s": 35,
    }
    assert silence == {"event": "silence", "started_at": "1970-01-01T00:00:40.000Z", "start_s": 40}
    assert to_json(PlayEnded(play(9)), 0)["event"] == "play_ended"


def test_listen_and_identify_print_plays_alike():
    found = Identification("recognized", 9.0, (play(9, 3),), None)
    assert identify.to_json("a.wav", found)["plays"] == [to_json(PlayEnded(play(9, 3)), 0)["play"]]


# The command, without a device


def arguments(*args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    listen.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["listen", *args])
    parsed.verbose = False
    return parsed


def test_listen_to_a_pipe_prints_and_writes_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Recognizer:
        listener = FakeListener

    monkeypatch.setattr("overheard.recognize.open.open_recognizer", lambda settings, packs: Recognizer())
    monkeypatch.setattr("overheard.hear.open.open_source", lambda *_: FakeSource([SECOND] * 3))
    settings = Settings(data_dir=tmp_path)
    assert listen.run(arguments("--json"), settings) == 0
    events = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert events[0] == "play_started"
    assert events[-1] == "play_ended"
    (row,), _ = read_plays(settings.history_path)
    assert row.title == "Alpha"
    assert row.source == "fake"
    assert listen.run(arguments("--no-history"), settings) == 0
    assert "Ann - Alpha  ended after 0:03" in capsys.readouterr().out
    assert read_plays(settings.history_path)[1] == 1


def test_a_signal_sets_the_event_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    stop = threading.Event()
    with stop_on_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
    assert signal.getsignal(signal.SIGTERM) == before


STOPPED = """
import sys, threading
sys.path[:0] = [{tests!r}, *{paths!r}]
from overheard.sinks.history import HistorySink
from test_daemon import *
def sound():
    for _ in range(3):
        yield SECOND
    print("ready", flush=True)
    while True:
        threading.Event().wait(0.05)
        yield SECOND[:0]
stop = threading.Event()
with stop_on_signals(stop):
    run_listen(SETTINGS, FakeSource(sound()), [HistorySink(Path({path!r}), "fake")], stop, FakeListener)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_the_open_play_in_the_history(tmp_path: Path, number: signal.Signals):
    path = tmp_path / "history.sqlite"
    code = STOPPED.format(tests=str(Path(__file__).parent), paths=sys.path, path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(30) == 0
    (row,), _ = read_plays(path)
    assert row.started_at[:17] != ""
    assert row.ended_at > row.started_at
