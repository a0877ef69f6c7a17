"""Pause and quiet hours: what the switch says, and what listening does meanwhile."""

from __future__ import annotations

import dataclasses
import datetime
import math
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from test_daemon import SECOND, SETTINGS, Clock, FakeListener, FakeSource, ListSink, play

from overheard.daemon import Pause, run_listen
from overheard.errors import SettingsError
from overheard.events import PlayEnded, PlayStarted, Status
from overheard.hear.source import DeviceLost
from overheard.settings import Settings, load
from overheard.settings.quiet_hours import QuietHours

SILENT = Status("searching", -30.0, -math.inf, True, 0.0, None, {"gate": 0.5}, 1.0, 0.0, None)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.daemon.run._PAUSE_POLL_S", 0.001)
    monkeypatch.setattr("overheard.daemon.run._FIRST_RETRY_S", 0.001)
    FakeListener.made = []


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


def local(*parts: int, fold: int = 0) -> float:
    return datetime.datetime(*parts, fold=fold).timestamp()  # type: ignore[arg-type, misc]


# The switch


def test_a_pause_ends_after_its_time_or_when_it_is_resumed():
    elapsed = Clock()
    pause = Pause(now=Clock(), elapsed=elapsed)
    assert not pause.is_paused
    pause.pause(60)
    assert pause.until == 1060
    elapsed.now += 59
    assert (pause.is_paused, pause.reason) == (True, "user")
    elapsed.now += 1
    assert (pause.is_paused, pause.until) == (False, None)
    pause.pause()
    elapsed.now += 1e9
    assert (pause.is_paused, pause.until) == (True, None)
    pause.resume()
    assert not pause.is_paused


def test_a_pause_does_not_change_its_length_when_the_clock_is_set():
    now, elapsed = Clock(), Clock()
    pause = Pause(now=now, elapsed=elapsed)
    pause.pause(60)
    now.now += 3600
    assert pause.is_paused
    assert pause.until == 1000 + 3600 + 60


@pytest.mark.parametrize("for_s", [0, -1, math.nan])
def test_a_pause_has_a_positive_length(for_s: float):
    with pytest.raises(ValueError, match="positive"):
        Pause().pause(for_s)


@pytest.mark.usefixtures("berlin")
def test_quiet_hours_go_past_midnight():
    hours = QuietHours.parse("23:00-07:00, 12:30-13:00")
    quiet = [(22, 59), (23, 0), (0, 0), (6, 59), (7, 0), (12, 29), (12, 30), (12, 59), (13, 0)]
    found = [hours.contain(local(2026, 11, 28, *time_of_day)) for time_of_day in quiet]
    assert found == [False, True, True, True, False, False, True, True, False]
    assert hours.end(local(2026, 11, 28, 23, 30)) == local(2026, 11, 29, 7)
    assert hours.end(local(2026, 11, 28, 6)) == local(2026, 11, 28, 7)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 7), ((2026, 10, 25), 9), ((2026, 11, 28), 8)])
def test_quiet_hours_follow_the_clock_on_the_wall_when_daylight_saving_time_changes(day, hours: int):
    quiet = QuietHours.parse("23:00-07:00")
    start = local(*day) - 3600
    inside = [minute for minute in range(20 * 60) if quiet.contain(start + 60 * minute)]
    assert inside == list(range(60 * hours))
    assert quiet.end(start + 60) == start + 3600 * hours


@pytest.mark.usefixtures("berlin")
def test_resume_in_quiet_hours_holds_until_the_next_ones():
    now = Clock()
    now.now = local(2026, 11, 28, 22, 59)
    pause = Pause("23:00-07:00", now, lambda: now.now)
    assert not pause.is_paused
    now.now += 60
    assert (pause.reason, pause.until) == ("quiet hours", local(2026, 11, 29, 7))
    pause.resume()
    assert not pause.is_paused
    now.now += 8 * 3600
    assert not pause.is_paused
    now.now += 16 * 3600
    assert pause.is_paused


@pytest.mark.parametrize("text", ["23-7", "23:00", "24:00-07:00", "07:00-07:00", "23:00-07:00,", "x" * 1000])
def test_invalid_quiet_hours_are_an_error_that_shows_the_form(text: str):
    with pytest.raises(SettingsError, match="must be like 23:00-07:00"):
        load(env={}, overrides={"listen.quiet_hours": text})


# Listening


class CountingSource(FakeSource):
    """Counts how often it is opened and closed."""

    opened = closed = 0

    def blocks(self):
        self.opened += 1
        try:
            yield from super().blocks()
        finally:
            self.closed += 1


@pytest.mark.parametrize("live", [True, False])
def test_a_pause_ends_the_play_and_what_is_heard_meanwhile_is_not_analysed(
    live: bool, caplog: pytest.LogCaptureFixture
):
    clock, sink = Clock(), ListSink()
    pause = Pause(now=clock, elapsed=clock)
    heard = [SECOND, SECOND, lambda: pause.pause(100), SECOND, clock.step(0 if live else 100), SECOND]
    source = CountingSource(heard, live)

    def alive() -> None:  # called during a pause too
        if pause.is_paused and live:
            clock.now += 1

    stop = threading.Event()
    run_listen(SETTINGS, source, [sink], stop, FakeListener, clock, clock, pause=pause, on_audio=alive)
    kinds = [PlayStarted, PlayEnded, PlayStarted, PlayEnded]
    assert [type(event) for event in sink.events] == kinds
    assert sink.events[1] == PlayEnded(play(2))
    assert source.opened == source.closed == (2 if live else 1)
    assert caplog.messages[:2] == ["paused", "listening again"]


@pytest.mark.usefixtures("berlin")
def test_a_microphone_is_not_opened_in_quiet_hours():
    clock = Clock()
    clock.now = local(2026, 11, 28, 23, 30)
    source = CountingSource([SECOND], live=True)
    opened = []

    def alive() -> None:
        opened.append(source.opened)
        clock.now += 600

    settings = Settings(listen=dataclasses.replace(SETTINGS.listen, quiet_hours="23:00-07:00"))
    pause = Pause(settings.listen.quiet_hours, clock, clock)
    stop = threading.Event()
    run_listen(settings, source, [ListSink()], stop, FakeListener, clock, clock, pause=pause, on_audio=alive)
    assert opened == [0] * 45 + [1]  # 7.5 hours of 600 s each, then the block


def test_a_stop_during_a_pause_ends_listening():
    pause, stop = Pause(), threading.Event()
    pause.pause()
    source = CountingSource([AssertionError("read during the pause")], live=True)
    run_listen(SETTINGS, source, [ListSink()], stop, FakeListener, pause=pause, on_audio=stop.set)
    assert source.opened == 0


def test_a_microphone_that_is_gone_after_a_pause_is_awaited(caplog: pytest.LogCaptureFixture):
    pause = Pause()
    sink = ListSink()
    items = [SECOND, pause.pause, SECOND, DeviceLost("mic is gone"), SECOND]
    source = CountingSource(items, live=True)
    run_listen(
        *(SETTINGS, source, [sink], threading.Event(), FakeListener),
        pause=pause,
        on_audio=lambda: pause.resume() if source.closed == 1 else None,
    )
    assert [type(event) for event in sink.events] == [PlayStarted, PlayEnded, PlayStarted, PlayEnded]
    messages = [
        "paused",
        "listening again",
        "mic is gone; waiting for it to return",
        "fake is connected again",
    ]
    assert caplog.messages == messages


# The status


class StatusListener(FakeListener):
    def status(self) -> Status:
        return dataclasses.replace(SILENT, audio_s=self.now_s, cpu_s={"gate": self.now_s / 100})


class ListMonitor:
    def __init__(self) -> None:
        self.reports: list[Status] = []

    def publish_status(self, status: Status) -> None:
        self.reports.append(status)


def test_the_status_goes_on_over_listeners_and_says_what_is_the_matter(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.daemon.status._INTERVAL_S", 0.0)
    monitor, pause = ListMonitor(), Pause()
    items = [SECOND, SECOND, DeviceLost("gone"), SECOND, pause.pause, SECOND[:0]]
    stop = threading.Event()
    run_listen(
        *(SETTINGS, FakeSource(items, live=True), [ListSink()], stop, StatusListener),
        pause=pause,
        monitors=[monitor],
        on_audio=lambda: stop.set() if pause.is_paused else None,
    )
    found = [(status.state, status.audio_s) for status in monitor.reports]
    paused = [report for report in found if report[0] == "paused"]
    assert found[:4] == [("searching", 1), ("searching", 2), ("disconnected", 2), ("searching", 3)]
    assert set(paused) == {("paused", 3)}
    assert monitor.reports[3].cpu_s == pytest.approx({"gate": 0.03})
    assert not monitor.reports[-1].gate_open


def test_the_status_is_reported_about_once_a_second():
    monitor = ListMonitor()
    blocks = [np.full(80, 1000, np.int16)] * 500
    run_listen(
        *(SETTINGS, FakeSource(blocks), [ListSink()], threading.Event(), StatusListener), monitors=[monitor]
    )
    assert 1 <= len(monitor.reports) < 250
