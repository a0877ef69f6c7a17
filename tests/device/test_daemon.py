"""The daemon: from a source to a listener to sinks; lost devices, stops, and clocks."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from overheard.commands import listen
from overheard.daemon import run_listen
from overheard.errors import AudioError
from overheard.events import Event, Play, PlayEnded, PlayStarted, PlayUpdated, SourceChanged, Status, Track
from overheard.hear.source import AudioSource, DeviceLost, Gap, Rerouted
from overheard.history.writer import HistorySink, read_plays
from overheard.process import stop_on_signals
from overheard.settings import ListenSettings, Settings
from overheard.sinks.runner import Sink
from overheard.sinks.terminal import TerminalSink

TRACK = Track("a" * 12, "Alpha", "Ann", "", "/a.flac", "music", 200.0)
SECOND = np.full(8000, 1000, np.int16)
SETTINGS = Settings(listen=ListenSettings(queue_s=10, reconnect_max_s=0.001))


def play(end_s: float, start_s: float = 0.0) -> Play:
    return Play(TRACK, start_s, end_s, 62.0, 5.0, 0.93)


class FakeSource(AudioSource):
    """Yields the given items, calls functions among them, and raises exceptions; then `blocks` can go on."""

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
    """Reports one play from the first block until it is finished."""

    made: ClassVar[list[FakeListener]] = []

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

    def status(self) -> Status:
        return Status("playing", -20.0, -60.0, True, 1.0, play(self.now_s), {}, self.now_s, 0.0, None)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.daemon.run._FIRST_RETRY_S", 0.001)
    monkeypatch.setattr("overheard.sinks.runner._RETRY_DELAYS_S", (0.001, 0.001))
    FakeListener.made = []


class ListSink:
    name = "list"

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.starts: list[float] = []
        self.closed = False

    def handle(self, event: Event, started: float) -> None:
        if not isinstance(event, PlayUpdated):  # the queue may join updates
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


def listen_to(
    items: Iterable[object], live: bool = False, clock: Clock | None = None, stop=None, elapsed=None
) -> ListSink:
    sink = ListSink()
    source = FakeSource(items, live)
    clock = clock or Clock()
    run_listen(SETTINGS, source, [sink], stop or threading.Event(), FakeListener, clock, elapsed or clock)
    assert sink.closed
    return sink


def test_another_source_ends_the_play_and_starts_another_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    gone = Rerouted("pulse:b", "pulse:b", "pulse:a", "gone")
    back = Rerouted("monitor", "pulse:a", "pulse:b", "returned")
    items = [SECOND, SECOND, gone, SECOND, back, SECOND]
    assert listen_to(items).events == [
        PlayStarted(play(1)),
        PlayEnded(play(2)),
        SourceChanged(2.0, "pulse:b", "pulse:b", "pulse:a", "gone"),
        PlayStarted(play(1)),
        PlayEnded(play(1)),
        SourceChanged(1.0, "monitor", "pulse:a", "pulse:b", "returned"),
        PlayStarted(play(1)),
        PlayEnded(play(1)),
    ]
    assert [message for message in caplog.messages if "changed" in message] == [
        "source changed: pulse:a is gone, hearing pulse:b instead",
        "source changed: hearing pulse:a again",
    ]
    history = HistorySink(tmp_path / "history.sqlite", "monitor")
    clock = Clock()
    run_listen(
        SETTINGS,
        FakeSource([items[0], clock.step(9), *items[1:4], clock.step(9), *items[4:]], live=True),
        [history],
        threading.Event(),
        FakeListener,
        clock,
        lambda: 0.0,
    )
    sources = [row.source for row in read_plays(tmp_path / "history.sqlite")[0]]
    assert sources == ["monitor", "pulse:b", "monitor"]


def test_a_change_of_source_before_any_sound_has_a_time():
    sink = listen_to([Rerouted("pulse:b", "pulse:b", "pulse:a", "moved"), SECOND], live=True)
    assert sink.events[0] == SourceChanged(0.0, "pulse:b", "pulse:b", "pulse:a", "moved")
    assert sink.starts[0] == 1000


def test_the_play_ends_when_a_file_ends():
    sink = listen_to([SECOND] * 5)
    assert sink.events == [PlayStarted(play(1)), PlayEnded(play(5))]
    assert sink.starts == [1000, 1000]  # a file's clock starts when reading starts


def test_the_clock_of_a_live_source_starts_with_its_first_block():
    assert listen_to([SECOND] * 2, live=True).starts[0] == 999


def test_empty_blocks_are_ignored():
    sink = listen_to([SECOND[:0], SECOND[:0]])
    assert sink.events == []
    assert FakeListener.made == []


def test_the_stop_event_ends_the_play_and_closes_the_sinks():
    stop = threading.Event()
    sink = listen_to([SECOND, SECOND, stop.set, SECOND, AssertionError("read after the stop")], stop=stop)
    assert sink.events[-1] == PlayEnded(play(2))


def test_the_listener_gets_gaps():
    listen_to([Gap(5), SECOND, Gap(4000), SECOND])
    assert FakeListener.made[0].gaps == [4000]


def test_a_lost_device_is_logged_once_and_reopened(caplog: pytest.LogCaptureFixture):
    clock = Clock()
    lost = [DeviceLost("mic delivers nothing"), DeviceLost("gone"), DeviceLost("gone")]
    items = [SECOND, SECOND, *lost, clock.step(600), SECOND[:0], SECOND]
    sink = listen_to(items, live=True, clock=clock)
    kinds = [PlayStarted, PlayEnded, PlayStarted, PlayEnded]
    assert [type(event) for event in sink.events] == kinds
    assert sink.starts[1] == 999
    assert sink.starts[2] == 1599
    assert [r.message for r in caplog.records] == [
        "mic delivers nothing; waiting for it to return",
        "fake is connected again",
    ]


@pytest.mark.parametrize(("steady_s", "waits"), [(3600.0, [1, 2, 4, 8, 16]), (0.0, [1, 1, 1, 1, 1])])
def test_a_device_that_is_lost_at_once_each_time_is_opened_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch, steady_s: float, waits: list[int]
):
    """As a server that ends each connection; one that was connected for a while is opened again soon."""

    class Stop(threading.Event):
        waited: ClassVar[list[float]] = []

        def wait(self, timeout: float | None = None) -> bool:
            self.waited.append(timeout or 0.0)
            return False

    Stop.waited.clear()
    monkeypatch.setattr("overheard.daemon.run._FIRST_RETRY_S", 1.0)
    monkeypatch.setattr("overheard.daemon.run._STEADY_S", steady_s)
    source = FakeSource([SECOND, DeviceLost("gone")] * 5, live=True)
    run_listen(Settings(), source, [ListSink()], Stop(), FakeListener)
    assert Stop.waited == waits


HISS = np.random.default_rng(0).integers(-10, 10, 8000).astype(np.int16)  # -75 dBFS
MUSIC = np.random.default_rng(0).integers(-10000, 10000, 8000).astype(np.int16)


@pytest.mark.parametrize(
    ("items", "live", "reports"),
    [
        ([HISS] * 200, True, ["at most -75 dBFS, and gate.open_db is"]),
        ([HISS] * 5, False, ["at most -75 dBFS, and gate.open_db is"]),
        ([0 * HISS] * 200, True, ["digital silence, and gate.open_db is"]),
        ([HISS] * 20, True, []),
        ([*[HISS] * 50, MUSIC, *[HISS] * 200], True, []),
        ([], False, []),
    ],
)
def test_a_level_that_never_opens_the_gate_is_reported_once(
    items: list[np.ndarray], live: bool, reports: list[str], caplog: pytest.LogCaptureFixture
):
    listen_to(items, live)
    logged = [record.message for record in caplog.records if "too quiet" in record.message]
    assert len(logged) == len(reports)
    assert all(report in message for report, message in zip(reports, logged, strict=True))


def test_sinks_are_closed_if_the_source_cannot_be_opened():
    sink = ListSink()
    source = FakeSource([AudioError("no microphone")])
    with pytest.raises(AudioError):
        run_listen(SETTINGS, source, [sink], threading.Event(), FakeListener)
    assert sink.closed


def test_sleep_of_the_computer_ends_the_play():
    clock = Clock()
    items = [SECOND, clock.step(1), SECOND, clock.step(1 + 3600), SECOND]
    sink = listen_to(items, live=True, clock=clock)
    assert [type(e) for e in sink.events] == [PlayStarted, PlayEnded, PlayStarted, PlayEnded]
    assert sink.starts[1] == 999
    assert sink.starts[2] == 1000 + 3600 + 1
    assert sink.events[1] == PlayEnded(play(2))


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_clock_that_is_set_does_not_end_the_play(jump_s: float):
    clock, elapsed = Clock(), Clock()
    tick = [clock.step(1), elapsed.step(1)]
    items = [SECOND, *tick, SECOND, clock.step(jump_s), *tick, SECOND, *tick, SECOND]
    sink = listen_to(items, live=True, clock=clock, elapsed=elapsed)
    assert sink.events == [PlayStarted(play(1)), PlayEnded(play(4))]
    assert sink.starts == [999, 999 + jump_s]


def test_lost_audio_is_reported_at_once_and_in_total(caplog: pytest.LogCaptureFixture):
    listen_to([SECOND, Gap(13600), SECOND, Gap(80000), Gap(132000), SECOND], live=True)
    assert [record.message for record in caplog.records] == [
        "recognition is too slow: 1.7 s of audio lost so far",
        "recognition is too slow: 28.2 s of audio lost in total",
    ]


def test_a_play_is_in_the_history_before_it_is_printed(tmp_path: Path):
    path = tmp_path / "history.sqlite"
    in_history: list[int] = []

    class EventList(ListSink):
        def handle(self, event: Event, started: float) -> None:
            super().handle(event, started)
            if isinstance(event, PlayStarted):
                in_history.append(read_plays(path)[1])

    class SlowHistory(HistorySink):
        def handle(self, event: Event, started: float) -> None:
            threading.Event().wait(0.2)
            super().handle(event, started)

    heard = EventList()
    sinks: list[Sink] = [heard, SlowHistory(path, "fake")]  # in any order
    run_listen(SETTINGS, FakeSource([SECOND] * 3), sinks, threading.Event(), FakeListener)
    assert in_history == [1]
    assert [type(event) for event in heard.events] == [PlayStarted, PlayEnded]


def test_the_clock_follows_a_slow_sound_card():
    clock = Clock()
    items = [item for _ in range(100) for item in (SECOND, clock.step(1.1))]
    sink = listen_to(items, live=True, clock=clock)
    assert [type(e) for e in sink.events] == [PlayStarted, PlayEnded]
    ended = sink.events[1]
    assert isinstance(ended, PlayEnded)
    ended_at = sink.starts[1] + ended.play.end_s
    assert ended_at == pytest.approx(clock.now, abs=3.5)


def test_listening_ends_when_the_reader_of_the_output_is_gone():
    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    stop = threading.Event()
    source = FakeSource(itertools.cycle([lambda: stop.wait(0.001), SECOND]))
    run_listen(SETTINGS, source, [TerminalSink(Pipe())], stop, FakeListener)
    assert stop.is_set()


# The command, without a device


def arguments(*args: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    listen.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["listen", *args])
    parsed.verbose = False
    return parsed


def test_listen_prints_events_and_writes_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Recognizer:
        listener = FakeListener

    monkeypatch.setattr("overheard.recognize.open.open_recognizer", lambda settings, packs: Recognizer())
    monkeypatch.setattr("overheard.recognize.reload.watching_packs", lambda *_: contextlib.nullcontext())
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


def test_a_handler_that_python_does_not_know_is_replaced_by_the_default(monkeypatch):
    monkeypatch.setattr(signal, "getsignal", lambda number: None)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with stop_on_signals(threading.Event()):
            pass
        monkeypatch.undo()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before[0])
        signal.signal(signal.SIGTERM, before[1])
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_signal_sets_the_event_and_the_previous_handlers_are_restored():
    before = signal.getsignal(signal.SIGTERM)
    stop = threading.Event()
    with stop_on_signals(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.wait(10)
    assert signal.getsignal(signal.SIGTERM) == before


LISTEN_UNTIL_SIGNAL = """
import signal, sys, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell inherit SIG_IGN
sys.path[:0] = [{tests!r}, *{paths!r}]
from overheard.history.writer import HistorySink
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
def test_a_signal_writes_the_end_of_the_open_play(tmp_path: Path, number: signal.Signals):
    path = tmp_path / "history.sqlite"
    code = LISTEN_UNTIL_SIGNAL.format(tests=str(Path(__file__).parent), paths=sys.path, path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(30) == 0
    (row,), _ = read_plays(path)
    assert row.ended_at > row.started_at


MANY_PLAYS = """
import itertools, sys, threading
sys.path[:0] = [{tests!r}, *{paths!r}]
from overheard.history.writer import HistorySink
from overheard.sinks.jsonl import JsonLinesSink
from test_daemon import *
class Busy(FakeListener):
    def process(self, block):
        self.now_s += 1
        a_play = play(self.now_s, self.now_s - 0.5)
        return [PlayStarted(a_play), PlayEnded(a_play)]
source = FakeSource(itertools.cycle([SECOND, lambda: threading.Event().wait(0.001)]))
sinks = [JsonLinesSink(sys.stdout), HistorySink(Path({path!r}), "fake")]
stop = threading.Event()
with stop_on_signals(stop):
    run_listen(SETTINGS, source, sinks, stop, Busy)
"""


def many_plays(path: Path) -> subprocess.Popen[str]:
    code = MANY_PLAYS.format(tests=str(Path(__file__).parent), paths=sys.path, path=str(path))
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("n_lines", [1, 30, 101])
def test_after_a_kill_every_printed_play_is_in_the_history(tmp_path: Path, n_lines: int):
    path = tmp_path / "history.sqlite"
    process = many_plays(path)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(n_lines)]
    process.kill()
    lines += process.stdout.read().splitlines()
    process.wait(30)
    process.communicate()
    printed = set()
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):  # the last line may be incomplete
            event = json.loads(line)
            if event["event"] == "play_started":
                printed.add(event["started_at"])
    assert printed
    assert printed <= {row.started_at for row in read_plays(path)[0]}


def test_sigterm_ends_listening_though_the_reader_does_not_read(tmp_path: Path):
    path = tmp_path / "history.sqlite"
    process = many_plays(path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    while not path.exists() or read_plays(path)[1] < 300:  # 64 kB of pipe are full
        threading.Event().wait(0.1)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert time.monotonic() - began < 5
    errors = process.stderr.read().splitlines()
    assert "json: events lost in total:" in errors[-1]
    assert "were not taken in time" in errors[-1]
    process.communicate()


def test_freed_memory_is_returned_now_and_then(monkeypatch: pytest.MonkeyPatch):
    returned: list[int] = []
    monkeypatch.setattr("overheard.daemon.session.return_freed_memory", lambda: returned.append(1))
    listen_to([np.zeros(8000 * 10, np.int16)] * 13)
    assert len(returned) == 2, "once a minute"


def test_memory_is_returned_also_without_glibc(monkeypatch: pytest.MonkeyPatch):
    from overheard import process

    process.return_freed_memory()
    process.keep_large_arrays_apart()
    monkeypatch.setattr(process.ctypes, "CDLL", lambda _name: object())
    process.return_freed_memory()
    process.keep_large_arrays_apart()
