"""Sinks: the queue and retries of their threads, and the lines that they write."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from typing import TextIO

import pytest

from overheard.commands import identify
from overheard.event_json import to_json
from overheard.events import (
    Alternative,
    Event,
    MusicUnknown,
    Play,
    PlayEnded,
    PlayStarted,
    PlayUpdated,
    Silence,
    SourceChanged,
    Track,
)
from overheard.recognize.recognizer import Identification
from overheard.sinks.jsonl import JsonLinesSink
from overheard.sinks.lines import LineWriter
from overheard.sinks.runner import SinkClosed, SinkRunner
from overheard.sinks.terminal import TerminalSink, to_line

TRACK = Track("a" * 12, "Alpha", "Ann", "", "/a.flac", "music", 200.0)


def play(end_s: float, start_s: float = 0.0) -> Play:
    return Play(TRACK, start_s, end_s, 62.0, 5.0, 0.93)


@pytest.fixture(autouse=True)
def short_retry_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.sinks.runner._RETRY_DELAYS_S", (0.001, 0.001))


class ListSink:
    name = "list"

    def __init__(self) -> None:
        self.events: list[Event] = []

    def handle(self, event: Event, started: float) -> None:
        self.events.append(event)

    def close(self) -> None:
        pass


def test_a_full_queue_drops_its_oldest_events():
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


def test_queued_updates_of_a_play_become_one():
    entered, go = threading.Event(), threading.Event()

    class Slow(ListSink):
        def handle(self, event: Event, started: float) -> None:
            entered.set()
            go.wait(10)
            super().handle(event, started)

    sink = Slow()
    runner = SinkRunner(sink)
    runner.put(PlayStarted(play(1)), 0)
    entered.wait(10)
    for end in range(2, 50):
        runner.put(PlayUpdated(play(end)), 0)
    go.set()
    runner.close(10)
    assert sink.events == [PlayStarted(play(1)), PlayUpdated(play(49))]


def test_a_failing_sink_is_retried_and_does_not_affect_others(caplog: pytest.LogCaptureFixture):
    class Failing(ListSink):
        name = "failing"
        calls = 0

        def handle(self, event: Event, started: float) -> None:
            self.calls += 1
            if self.calls <= 4:  # three times for the first event, which is then lost; once for the second
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
    assert messages == ["failing: disk full; retrying", "failing: works again; events lost so far: 1"]


def test_lines_for_people(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.sinks.terminal.local_clock", lambda t: f"<{t:.0f}>")
    assert to_line(PlayStarted(play(9, 3)), 100) == "<103>  Ann - Alpha  (at 1:02, 93%)"
    assert to_line(PlayEnded(play(193, 3)), 100) == "<293>  Ann - Alpha  ended after 3:10"
    assert to_line(MusicUnknown(20, 35), 100) == "<120>  unknown music"
    assert to_line(MusicUnknown(20, 35, 7), 100) == "<120>  unknown music 7"
    may = datetime.datetime(2026, 5, 3, 12).timestamp()
    again = "<120>  unknown music 7, heard 4 times, first on 3 May 2026"
    assert to_line(MusicUnknown(20, 35, 7, 4, may), 100) == again
    assert to_line(PlayUpdated(play(9)), 100) is None
    assert to_line(Silence(9), 100) is None


def test_terminal_codes_in_titles_are_escaped():
    malicious = Play(Track("a", "x\x1b[2J\nfake", "", "", "", "", 0), 0, 1, 0, 5, 0.9)
    line = to_line(PlayStarted(malicious), 0)
    assert line is not None
    assert "\x1b" not in line
    assert "\n" not in line


def test_json_lines():
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
        "unknown_id": None,
        "times_heard": 1,
        "first_heard_at": None,
    }
    assert silence == {"event": "silence", "started_at": "1970-01-01T00:00:40.000Z", "start_s": 40}
    assert to_json(PlayEnded(play(9)), 0)["event"] == "play_ended"
    assert to_json(SourceChanged(4, "monitor", "pulse:a", "pulse:b", "returned"), 0) == {
        "event": "source_changed",
        "started_at": "1970-01-01T00:00:04.000Z",
        "start_s": 4,
        "source": "pulse:a",
        "before": "pulse:b",
        "reason": "returned",
    }


def test_listen_and_identify_print_plays_alike():
    identification = Identification("recognized", 9.0, (play(9, 3),), None)
    assert identify.to_json("a.wav", identification)["plays"] == [to_json(PlayEnded(play(9, 3)), 0)["play"]]


def test_a_sink_whose_reader_is_gone_raises_sink_closed():
    class Pipe(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with pytest.raises(SinkClosed):
        JsonLinesSink(Pipe()).handle(Silence(0), 0)


# Readers that do not read


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, TextIO]]:
    """Return the two ends of a pipe that nobody reads, which is full but for a few kilobytes."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        stream.flush()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"\n" * 4096)
        os.set_blocking(writer, True)
        yield reader, stream
        with contextlib.suppress(OSError):
            os.close(reader)


def test_a_blocked_reader_delays_the_end_briefly_and_is_reported(full_pipe, caplog):
    _, stream = full_pipe
    runner = SinkRunner(JsonLinesSink(stream), max_events=10)
    for at in range(30):
        runner.put(Silence(at), 0)
    began = time.monotonic()
    assert not runner.close(0.5)
    assert time.monotonic() - began < 2
    assert runner.dropped == 30
    first, last = [record.message for record in caplog.records]
    assert first.startswith("json: too slow; events lost so far: ")
    assert last == "json: events lost in total: 30; the last were not taken in time"
    runner._thread.join(5)
    assert not runner._thread.is_alive()  # else the flush of standard output at exit would wait for ever


def test_a_file_waits_for_a_slow_reader_but_only_once_for_one_that_stopped(full_pipe):
    reader, stream = full_pipe
    runner = SinkRunner(JsonLinesSink(stream), max_events=5)
    began = time.monotonic()
    for at in range(50):
        runner.put(Silence(at), 0, wait_s=0.5)
    assert 0.4 < time.monotonic() - began < 3
    assert runner.dropped >= 40
    lines: list[dict] = []

    def read() -> None:
        with os.fdopen(reader) as slow:
            for line in slow:
                if line.strip():
                    lines.append(json.loads(line))
                    time.sleep(0.01)

    thread = threading.Thread(target=read)
    thread.start()
    for at in range(50, 90):
        runner.put(Silence(at), 0, wait_s=2)
        time.sleep(0.02)
    assert runner.close(10)
    stream.close()
    thread.join(10)
    assert len(lines) == 90 - runner.dropped
    assert [line["start_s"] for line in lines][-39:] == list(range(51, 90))


def test_the_stop_event_ends_the_wait_for_a_reader(full_pipe):
    _, stream = full_pipe
    stop = threading.Event()
    runner = SinkRunner(JsonLinesSink(stream), max_events=2, stop=stop)
    threading.Timer(0.3, stop.set).start()
    began = time.monotonic()
    for at in range(10):
        runner.put(Silence(at), 0, wait_s=60)
    assert time.monotonic() - began < 5
    runner.close(0.1)


def test_lines_longer_than_a_pipe_piece_arrive_whole():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream, os.fdopen(reader, encoding="utf-8") as source:
        lines = LineWriter(stream)
        for line in ("é" * 20000, "x\udce9"):
            lines.write(line)
        assert source.readline() == "é" * 20000 + "\n"
        assert source.readline() == "x\\udce9\n"


def test_a_full_disk_does_not_mix_lines():
    class Disk:
        encoding = "utf-8"

        def fileno(self) -> int:
            return os.open("/dev/full", os.O_WRONLY)

    lines = LineWriter(Disk())  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(OSError, match="No space"):
            lines.write("a")


# Ambiguous plays

OTHERS = tuple(Alternative(Track(name, name, "", "", "", "music", 9.0), 1.0) for name in ("B", "C"))


def test_an_ambiguous_play_is_shown_as_such_until_it_settles(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.sinks.terminal.local_clock", lambda t: f"<{t:.0f}>")
    out = io.StringIO()
    sink = TerminalSink(out)
    one = dataclasses.replace(play(9, 3), alternatives=OTHERS, confidence=0.3)
    sink.handle(PlayStarted(one), 100)
    sink.handle(PlayUpdated(dataclasses.replace(one, end_s=11, alternatives=OTHERS[:1])), 100)
    sink.handle(PlayUpdated(play(13, 3)), 100)
    sink.handle(PlayUpdated(play(14, 3)), 100)
    sink.handle(PlayEnded(play(63, 3)), 100)
    sink.handle(PlayStarted(one), 200)
    sink.handle(PlayEnded(dataclasses.replace(one, alternatives=OTHERS[:1])), 200)
    assert out.getvalue().splitlines() == [
        "<103>  ambiguous: Ann - Alpha, or one of 2 others  (at 1:02, 30%)",
        "<113>  Ann - Alpha  (at 1:12, 93%)",
        "<163>  Ann - Alpha  ended after 1:00",
        "<203>  ambiguous: Ann - Alpha, or one of 2 others  (at 1:02, 30%)",
        "<209>  ambiguous: Ann - Alpha, or B  ended after 0:06",
    ]


def test_the_alternatives_of_a_play_are_in_its_json_object():
    found = dataclasses.replace(play(9, 3), alternatives=OTHERS)
    event = to_json(PlayStarted(found), 0)
    assert [other["track"]["id"] for other in event["play"]["alternatives"]] == ["B", "C"]
    assert to_json(PlayStarted(play(9, 3)), 0)["play"]["alternatives"] == []
    assert "ambiguous: Ann - Alpha, or one of 2 others" in identify.play_text(found)
