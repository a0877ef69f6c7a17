"""Several rooms at once: settings, threads that take turns, sources that come and go, and sinks."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from test_daemon import SECOND, SETTINGS, FakeListener, FakeSource, ListSink, arguments, play

from overheard.cli import main
from overheard.commands.inputs import chosen_rooms, open_inputs
from overheard.daemon import Pause, run_rooms
from overheard.errors import AudioError, SettingsError
from overheard.events import (
    Event,
    MusicUnknown,
    PlayEnded,
    PlayStarted,
    PlayUpdated,
    SourceChanged,
    Status,
)
from overheard.hear.awaited import AwaitedSource
from overheard.hear.portaudio import SharedPortAudio
from overheard.hear.source import AudioSource, DeviceLost, Gap, Rerouted
from overheard.history.writer import HistorySink, read_plays
from overheard.settings import load
from overheard.settings.rooms import MAX_ROOMS, Room, parse_rooms
from overheard.sinks.live_view import LiveView
from overheard.sinks.messages import Messages
from overheard.sinks.metrics import Metrics
from overheard.sinks.runner import SinkRunner
from overheard.sinks.scrobbler import Scrobbler
from overheard.sinks.terminal import TerminalSink

KITCHEN, BATH = "kitchen", "bath"
TIMEOUT_S = 30.0


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.daemon.run._FIRST_RETRY_S", 0.001)
    monkeypatch.setattr("overheard.daemon.rooms._WAIT_S", 0.01)


# Settings and flags


def test_rooms_are_validated(tmp_path: Path):
    assert parse_rooms(["Küche = default", "living room=stream:http://a/?b=c"]) == (
        Room("Küche", "default"),
        Room("living room", "stream:http://a/?b=c"),
    )
    both = parse_rooms(["kitchen=left@pulse:usb", "bath=right@pulse:usb", "hall=a@b.wav"])
    assert [(room.input, room.channel) for room in both] == [
        *(("pulse:usb", "left"), ("pulse:usb", "right"), ("a@b.wav", "")),
    ]
    for texts in (
        ["a=left@pulse:usb", "b=left@pulse:usb"],
        ["kitchen"],
        ["kitchen="],
        ["=default"],
        ["a\nb=default"],
        ["a, b=default"],
        ["a=default", "A=monitor"],
        ["a=default", "b=default"],
        ["x" * 41 + "=default"],
        [f"r{i}=pulse:{i}" for i in range(MAX_ROOMS + 1)],
    ):
        with pytest.raises(SettingsError):
            parse_rooms(texts)
    config = tmp_path / "config.toml"
    config.write_text('[listen]\nrooms = ["kitchen=default", "bath=pulse:a"]\n')
    settings, _ = load(config, env={})
    assert settings.listen.inputs == ("default", "pulse:a")
    config.write_text('[listen]\nrooms = ["kitchen"]\n')
    with pytest.raises(SettingsError, match=r"listen\.rooms: 'kitchen' must be NAME=INPUT"):
        load(config, env={})


def test_flags_override_the_rooms_of_the_settings(tmp_path: Path):
    settings, _ = load(env={}, overrides={"data_dir": tmp_path, "listen.rooms": ["kitchen=default"]})
    assert chosen_rooms(arguments(), settings) == (Room("kitchen", "default"),)
    assert chosen_rooms(arguments("--input", "a=b.wav"), settings) == ()
    assert chosen_rooms(arguments("--room", "bath=a=b.wav"), settings) == (Room("bath", "a=b.wav"),)
    with pytest.raises(SettingsError, match="--input and --room"):
        chosen_rooms(arguments("--input", "default", "--room", "a=b"), settings)


def test_an_input_that_is_missing_is_awaited_unless_all_are(tmp_path: Path):
    sound = tmp_path / "a.wav"
    sound.write_bytes(b"RIFF")
    settings, _ = load(env={}, overrides={"data_dir": tmp_path})
    here = arguments("--room", f"kitchen={sound}", "--room", "bath=/missing.wav")
    assert open_inputs(here, settings).announcements() == [
        "listening to kitchen: a.wav",
        "listening to bath: /missing.wav",
    ]
    with pytest.raises(AudioError, match="no such audio file"):
        open_inputs(arguments("--room", "bath=/missing.wav"), settings)


# Running


class Monitor:
    def __init__(self) -> None:
        self.statuses: list[Status] = []

    def publish_status(self, status: Status) -> None:
        self.statuses.append(status)

    def states(self, room: str) -> set[str]:
        return {status.state for status in self.statuses if status.room == room}


def run(sources: dict[str, AudioSource], **options: Any) -> ListSink:
    sink = ListSink()
    stop = options.pop("stop", threading.Event())
    make = options.pop("make", lambda _room: FakeListener())
    run_rooms(SETTINGS, sources, [sink, *options.pop("sinks", [])], stop, make, **options)
    assert sink.closed
    return sink


def of(events: Iterable[Event], room: str) -> list[Event]:
    return [dataclasses.replace(event, room="") for event in events if event.room == room]


def test_each_room_has_its_own_plays_and_status():
    monitor = Monitor()
    sources: dict[str, AudioSource] = {KITCHEN: FakeSource([SECOND] * 3), BATH: FakeSource([SECOND])}
    events = run(sources, monitors=[monitor]).events
    assert of(events, KITCHEN) == [PlayStarted(play(1)), PlayEnded(play(3))]
    assert of(events, BATH) == [PlayStarted(play(1)), PlayEnded(play(1))]
    assert {status.room for status in monitor.statuses} == {KITCHEN, BATH}


class Awaiting(AudioSource):
    """Lost all the time, until the other room has ended."""

    live = True
    name = "unplugged"

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self.attempts, self._other = 0, other

    def blocks(self):
        self.attempts += 1
        if self._other.is_set():
            return
        raise DeviceLost("unplugged is gone")
        yield


def test_a_room_without_its_microphone_does_not_stop_the_others(caplog: pytest.LogCaptureFixture):
    over, monitor = threading.Event(), Monitor()
    lost = Awaiting(over)

    def wait_for_attempts() -> None:
        wait_for(lambda: lost.attempts > 3)

    kitchen = FakeSource([SECOND, wait_for_attempts, SECOND, over.set])
    events = run({KITCHEN: kitchen, BATH: lost}, monitors=[monitor]).events
    assert of(events, KITCHEN) == [PlayStarted(play(1)), PlayEnded(play(2))]
    assert of(events, BATH) == []
    assert monitor.states(BATH) == {"disconnected"}
    messages = [message for message in caplog.messages if "waiting" in message]
    assert messages == ["bath: unplugged is gone; waiting for it to return"], "reported once, with its room"


def test_a_source_that_cannot_be_read_ends_its_room_alone(caplog: pytest.LogCaptureFixture):
    sources: dict[str, AudioSource] = {
        KITCHEN: FakeSource([AudioError("a.wav: not audio")]),
        BATH: FakeSource([SECOND]),
    }
    assert of(run(sources).events, BATH) == [PlayStarted(play(1)), PlayEnded(play(1))]
    assert "kitchen: a.wav: not audio" in caplog.messages
    with pytest.raises(AudioError, match="not audio"):
        run({KITCHEN: FakeSource([AudioError("a.wav: not audio")])})


def test_a_bug_in_one_room_ends_the_program_and_is_seen():
    forever = itertools.repeat(SECOND)
    with pytest.raises(ZeroDivisionError):
        run({KITCHEN: FakeSource([SECOND, lambda: 1 // 0]), BATH: FakeSource(forever)})


class Alone(FakeListener):
    """Notices if two listeners work at the same time."""

    at_work: ClassVar[int] = 0
    most: ClassVar[int] = 0

    def process(self, block: np.ndarray) -> list[Event]:
        Alone.at_work += 1
        Alone.most = max(Alone.most, Alone.at_work)
        time.sleep(0.001)
        events = super().process(block)
        Alone.at_work -= 1
        return events


def test_the_listeners_take_turns_with_the_model():
    Alone.at_work = Alone.most = 0
    sources: dict[str, AudioSource] = {f"room {i}": FakeSource([SECOND] * 20) for i in range(4)}
    events = run(sources, make=lambda _room: Alone()).events
    assert Alone.most == 1
    assert len(events) == 8


def test_a_stop_and_a_pause_reach_all_rooms():
    stop, pause, monitor = threading.Event(), Pause(), Monitor()
    pause.pause()
    forever = [FakeSource(itertools.repeat(SECOND), live=True) for _ in range(2)]
    thread = threading.Thread(
        target=run,
        args=({KITCHEN: forever[0], BATH: forever[1]},),
        kwargs={"stop": stop, "pause": pause, "monitors": [monitor]},
    )
    thread.start()
    wait_for(lambda: monitor.states(KITCHEN) == monitor.states(BATH) == {"paused"})
    pause.resume()
    wait_for(lambda: "playing" in monitor.states(KITCHEN) & monitor.states(BATH))
    stop.set()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


def test_a_driver_that_hangs_does_not_keep_the_program_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("overheard.daemon.rooms._STOP_S", 0.2)
    stop, hangs = threading.Event(), threading.Event()
    sources: dict[str, AudioSource] = {
        KITCHEN: FakeSource([lambda: hangs.wait(TIMEOUT_S)], live=True),
        BATH: FakeSource([SECOND, stop.set], live=True),
    }
    assert of(run(sources, stop=stop).events, BATH) == [PlayStarted(play(1)), PlayEnded(play(1))]
    assert "kitchen: its input does not stop" in caplog.messages
    hangs.set()


def test_a_room_hears_no_other_source_while_its_own_is_gone(caplog: pytest.LogCaptureFixture):
    gone = Rerouted("pulse:b", "pulse:b", "pulse:a", "gone", away=True)
    back = Rerouted("pulse:a", "pulse:a", "pulse:b", "returned")
    monitor = Monitor()
    source = FakeSource([SECOND, gone, SECOND, SECOND, back, SECOND])
    events = of(run({KITCHEN: source}, monitors=[monitor]).events, KITCHEN)
    assert events == [
        PlayStarted(play(1)),
        PlayEnded(play(1)),
        SourceChanged(1.0, "pulse:b", "pulse:b", "pulse:a", "gone"),
        SourceChanged(0.0, "pulse:a", "pulse:a", "pulse:b", "returned"),
        PlayStarted(play(1)),
        PlayEnded(play(1)),
    ]
    assert "disconnected" in monitor.states(KITCHEN)
    assert "kitchen: pulse:a is gone; waiting for it to return" in caplog.messages


# A PortAudio that several sources share


class Devices:
    """What PortAudio and the system know."""

    def __init__(self) -> None:
        self.there, self.restarts, self.fails = "card 0", 0, False

    def shared(self) -> SharedPortAudio:
        return SharedPortAudio(self.restart, lambda: self.there)

    def restart(self) -> None:
        self.restarts += 1
        if self.fails:
            raise AudioError("PortAudio does not restart")


def test_portaudio_restarts_only_between_streams_and_only_if_devices_changed():
    system = Devices()
    shared = system.shared()
    with shared.opening():
        pass
    shared.refresh()  # nothing was plugged in: the stream of the other room goes on
    assert system.restarts == 0
    system.there = "cards 0 and 1"
    done = threading.Event()

    def refresh() -> None:
        shared.refresh()
        done.set()

    thread = threading.Thread(target=refresh)
    thread.start()
    wait_for(lambda: shared.restarting)
    assert not done.is_set(), "it waits for the open stream"
    with shared.closing():
        assert system.restarts == 0
    assert done.wait(TIMEOUT_S)
    assert (system.restarts, shared.restarting) == (1, False)
    with shared.opening():
        pass
    shared.refresh()
    assert system.restarts == 1
    with shared.closing():
        pass
    shared.refresh()  # alone, as always
    assert system.restarts == 2


def test_a_stream_that_does_not_close_costs_no_restart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.hear.portaudio._CLOSE_TIMEOUT_S", 0.01)
    system = Devices()
    shared = system.shared()
    with shared.opening():
        pass
    system.there = "other cards"
    shared.refresh()
    assert (system.restarts, shared.restarting) == (0, False)
    system.fails = True
    with shared.closing():
        pass
    with pytest.raises(AudioError):
        shared.refresh()
    assert not shared.restarting, "others are not blocked for ever"


def test_a_source_that_is_missing_at_first_is_found_later():
    found: list[AudioSource] = []

    def open_it() -> AudioSource:
        if not found:
            raise AudioError("no audio input matches USB")
        return found[0]

    source = AwaitedSource("USB", open_it)
    assert (source.name, source.live) == ("USB", True)
    assert source.failure is not None
    for _ in range(2):
        with pytest.raises(DeviceLost, match="no audio input"):
            next(source.blocks())
    found.append(FakeSource([SECOND], live=True))
    assert len(list(source.blocks())) == 1
    assert source.name == "fake"


def test_a_gap_of_a_device_that_was_closed_for_a_moment_is_not_slowness(caplog: pytest.LogCaptureFixture):
    run({KITCHEN: FakeSource([SECOND, Gap(4000, slow=False), SECOND, Gap(800), SECOND])})
    assert [text for text in caplog.messages if "too slow" in text] == [
        "kitchen: recognition is too slow: 0.1 s of audio lost so far"
    ]
    assert [gap for listener in FakeListener.made for gap in listener.gaps] == [4000, 800]


# Sinks


def start(room: str, end_s: float = 5.0, start_s: float = 0.0) -> PlayStarted:
    return PlayStarted(play(end_s, start_s), room=room)


def test_the_history_has_the_room_as_the_source(tmp_path: Path):
    sink = HistorySink(tmp_path / "history.sqlite", "")
    for event in (
        start(KITCHEN),
        start(BATH, 6.0),
        PlayUpdated(play(9), room=KITCHEN),
        PlayUpdated(play(8), room=BATH),
        PlayEnded(play(10), room=KITCHEN),
        SourceChanged(10, "pulse:b", "pulse:b", "pulse:a", "moved", room=KITCHEN),
        start(KITCHEN, 20.0, 15.0),
        SourceChanged(20, "pulse:a", "pulse:a", "pulse:b", "returned", room=KITCHEN),
        MusicUnknown(30, 40, 7, room=KITCHEN),
        PlayEnded(play(12), room=BATH),
    ):
        sink.handle(event, 1000.0)
    sink.close()
    rows = read_plays(tmp_path / "history.sqlite", hidden=True)[0]
    assert sorted((row.source, row.started_at[17:19], row.ended_at[17:19]) for row in rows) == [
        ("bath", "40", "52"),
        ("kitchen", "10", "20"),
        ("kitchen", "40", "50"),
        ("kitchen, pulse:b", "55", "00"),
    ]


def test_the_history_of_a_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    sink = HistorySink(tmp_path / "history.sqlite", "")
    for number, room in enumerate((KITCHEN, BATH, KITCHEN)):
        sink.handle(start(room, 100.0 * number + 50, 100.0 * number), 1000.0)
        sink.handle(PlayEnded(play(100.0 * number + 60, 100.0 * number), room=room), 1000.0)
    sink.handle(SourceChanged(300, "pulse:b", "pulse:b", "pulse:a", "moved", room=KITCHEN), 1000.0)
    sink.handle(start(KITCHEN, 350.0, 310.0), 1000.0)
    sink.close()
    ids = []
    for words in ((), ("--limit", "1")):
        assert main(["--data-dir", str(tmp_path), "history", "--room", KITCHEN, "--json", *words]) == 0
        ids.append([json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()])
    assert ids == [[1, 3, 4], [4]]


def test_the_end_of_each_open_play_is_written_as_often_as_that_of_the_others(tmp_path: Path):
    """After a kill, no play ends much too early, although another room writes all the time."""
    sink = HistorySink(tmp_path / "history.sqlite", "")
    sink.handle(start(BATH), 1000.0)
    sink.handle(PlayUpdated(play(15), room=BATH), 1000.0)
    sink.handle(start(KITCHEN), 1000.0)
    rows = read_plays(tmp_path / "history.sqlite")[0]
    assert {row.source: row.ended_at[17:19] for row in rows} == {"bath": "55", "kitchen": "45"}
    sink.close()


def test_messages_of_two_rooms_differ_and_are_not_merged():
    messages = Messages("x", ("play_started", "play_ended", "music_unknown"))
    made = [messages.make(start(room), 1000.0) for room in (KITCHEN, BATH, KITCHEN)]
    assert all(made)
    keys = [one[0] for one in made if one]
    assert keys[0] == keys[2] != keys[1]
    assert [one[1]["room"] for one in made if one] == [KITCHEN, BATH, KITCHEN]
    assert "room" not in (messages.make(start(""), 1000.0) or ("", {}))[1]

    release, taken = threading.Event(), list[Event]()

    class Slow:
        name = "slow"

        def handle(self, event: Event, started: float) -> None:
            release.wait(TIMEOUT_S)
            taken.append(event)

        def close(self) -> None:
            pass

    runner = SinkRunner(Slow())
    for room in (KITCHEN, BATH, KITCHEN, BATH):
        runner.put(PlayUpdated(play(9), room=room), 0.0)
    release.set()
    runner.close()
    assert [event.room for event in taken] == [KITCHEN, BATH, KITCHEN, BATH]


def test_the_terminal_names_the_room():
    out = io.StringIO()
    sink = TerminalSink(out)
    for event in (
        start(KITCHEN),
        start(BATH),
        PlayEnded(play(9), room=KITCHEN),
        MusicUnknown(9, 20, room=BATH),
    ):
        sink.handle(event, 1000.0)
    lines = [line[10:] for line in out.getvalue().splitlines()]
    assert [line.split(": ")[0] for line in lines] == [KITCHEN, BATH, KITCHEN, BATH]
    assert lines[0] == "kitchen: Ann - Alpha  (at 1:02, 93%)"
    assert lines[3] == "bath: unknown music"


def test_the_panel_has_two_lines_for_each_room(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.sinks.live_view._REDRAW_S", 3600.0)
    view = LiveView(io.StringIO(), "", rooms=(KITCHEN, BATH), now=lambda: 1030.0)
    view.handle(start(KITCHEN), 1000.0)
    view.publish_status(Status("no music", -30.0, -60.0, True, 0.1, None, {}, 9.0, 0.0, None, room=BATH))
    lines = view._panel()
    assert lines[0] == "kitchen: 1:32 / 3:20   93%  Ann - Alpha"
    assert lines[1:3] == ["kitchen", "bath: no music"]
    assert lines[3].endswith("-30 dBFS  processor 0.0%  bath")
    view.handle(PlayEnded(play(9), room=BATH), 1000.0)
    assert view._panel()[0].startswith("kitchen: 1:32"), "the end in another room changes nothing"
    view.close()


def test_a_song_that_two_rooms_hear_counts_once_and_two_songs_count_each(tmp_path: Path):
    sent: list[dict] = []

    def send(body: dict) -> float:
        sent.append(body)
        return 0.0

    sink = Scrobbler("test", tmp_path, send, now_playing=False)
    for length_s in (5.0, 120.0):
        for room, late_s in ((KITCHEN, 0.0), (BATH, 20.0)):  # the bath hears it later, at its later position
            heard = dataclasses.replace(play(late_s + length_s, late_s), offset_s=late_s)
            sink.handle((PlayStarted if length_s < 9 else PlayUpdated)(heard, room=room), 1000.0)
    again = dataclasses.replace(play(620.0, 500.0), offset_s=0.0)
    sink.handle(PlayStarted(again, room=BATH), 1000.0)
    # The second playing counts too. What is being sent is in the queue until the server has answered.
    wait_for(lambda: sent and len(sent) + len(sink.outbox.queue) == 2)
    sink.close()


def test_metrics_have_a_label_for_the_room():
    metrics = Metrics({}, (KITCHEN, 'living "room"'))
    metrics.count(PlayEnded(play(9), room=KITCHEN))
    metrics.update(
        Status("playing", -30.0, -60.0, True, 0.9, play(9), {"network": 2.0}, 9.0, 0.0, None, room=KITCHEN),
        5.0,
    )
    metrics.lost = lambda: {"mqtt": 3}
    lines = metrics.text().splitlines()
    assert 'overheard_plays_total{room="kitchen"} 1' in lines
    assert 'overheard_plays_total{room="living \\"room\\""} 0' in lines
    assert 'overheard_cpu_seconds_total{room="kitchen",stage="network"} 2' in lines
    assert 'overheard_lost_events_total{sink="mqtt"} 3' in lines
    assert len([line for line in lines if line.startswith("# TYPE overheard_plays_total")]) == 1
    assert "overheard_plays_total 0" in Metrics({}).text()
