"""Pass audio from a source to a listener and its events to sinks, until the source ends or a stop event."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from overheard.daemon.pause import Pause
from overheard.daemon.session import Listener, Session, elapsed_s
from overheard.daemon.status import Monitor, StatusReport
from overheard.hear.source import AudioSource, DeviceLost
from overheard.settings import Settings
from overheard.sinks.runner import Sink, SinkRunner, close_all, start_runners
from overheard.text import in_room

log = logging.getLogger(__name__)

_FIRST_RETRY_S = 1.0  # until the first attempt to reopen a lost device; doubles with each attempt
# A device that was connected for a shorter time is not back: a server that ends each connection is not to be
# asked every second.
_STEADY_S = 10.0
_PAUSE_POLL_S = 0.25  # how soon listening goes on after a pause


def run_listen(
    settings: Settings,
    source: AudioSource,
    sinks: Sequence[Sink],
    stop_event: threading.Event,
    new_listener: Callable[[], Listener],
    now: Callable[[], float] = time.time,
    elapsed: Callable[[], float] = elapsed_s,
    *,
    pause: Pause | None = None,
    monitors: Sequence[Monitor] = (),
    on_audio: Callable[[], object] | None = None,
) -> None:
    """Listen until the source ends or the event is set; then end the open play and close the sinks.

    Parameters
    ----------
    source : a device that is lost is reported once, and reopened when it is back
    sinks : each receives every event, in its own thread; those that store events before those that print
    stop_event : set by a signal handler, or by a sink whose reader is gone
    new_listener : returns a listener whose clock starts at 0, such as `Recognizer.listener`
    now, elapsed : return the Unix time in seconds, and seconds that go on while the computer sleeps
    pause : while it is paused, a live source is closed, and what other sources deliver is discarded
    monitors : receive the status about once a second
    on_audio : called for each block that arrives, and several times a second during a pause

    Raises
    ------
    AudioError
        If the source cannot be opened or read.
    """
    first, runners = start_runners(sinks, stop_event)
    session = Session(settings, source, first, new_listener, (now, elapsed), StatusReport(monitors))
    reader = Reader(source, session, stop_event, pause or Pause(settings.listen.quiet_hours), on_audio)
    try:
        reader.run(settings.listen.reconnect_max_s)
    finally:
        source.close()
        _finish(session, runners)


def _finish(session: Session, runners: Sequence[SinkRunner]) -> None:
    """End the open play, and close the sinks, also if that fails."""
    try:
        session.finish()
    finally:
        session.lost.report_total()
        close_all(runners)


class Reader:
    """Read a source until it ends; reopen it after each loss and after each pause."""

    def __init__(
        self,
        source: AudioSource,
        session: Session,
        stop: threading.Event,
        pause: Pause,
        on_audio: Callable[[], object] | None,
        room: str = "",
    ) -> None:
        self._room = room
        self._source = source
        self._session = session
        self._stop = stop
        self._pause = pause
        self._on_audio = on_audio or (lambda: None)
        self._lost = False
        self._retry_s = _FIRST_RETRY_S
        self._arrived_s = math.inf  # when the device began to deliver audio, since it was opened
        self._paused = False  # as reported

    def run(self, longest_retry_s: float) -> None:
        """Read until the source ends or the stop event is set."""
        while not self._stop.is_set():
            if self._source.live and self._check_pause():  # before a microphone is opened
                self._stop.wait(_PAUSE_POLL_S)
                continue
            try:
                if self._read():
                    return
            except DeviceLost as error:
                if time.monotonic() - self._arrived_s >= _STEADY_S:
                    self._retry_s = _FIRST_RETRY_S
                self._arrived_s = math.inf
                if not self._lost:
                    self._warn(f"{error.problem}; waiting for it to return")
                log.debug("%s; next attempt in %.0f s", error.problem, self._retry_s)
                self._lost = True
                self._session.end()
                self._session.report("disconnected")
                self._stop.wait(self._retry_s)
                self._retry_s = min(2 * self._retry_s, longest_retry_s)

    def _read(self) -> bool:
        """Read until the source ends or listening is stopped; return False if a pause begins before."""
        with contextlib.closing(self._source.blocks()) as blocks:  # type: ignore[type-var]
            for item in blocks:
                if self._stop.is_set():
                    return True
                if self._check_pause():
                    if self._source.live:
                        return False
                    continue
                if isinstance(item, np.ndarray) and item.size:
                    self._arrived()
                self._session.process(item)
        return True

    def _arrived(self) -> None:
        """Note that the device delivers audio."""
        self._arrived_s = min(self._arrived_s, time.monotonic())
        if self._lost:
            self._warn(f"{self._source.name} is connected again")
            self._lost = False
        self._on_audio()

    def _warn(self, text: str) -> None:
        log.warning("%s", in_room(self._room, text))

    def _check_pause(self) -> bool:
        """Return whether listening is paused; end the open play when a pause begins."""
        reason = self._pause.reason
        if reason:
            if not self._paused:
                self._warn("paused" if reason == "user" else "paused for the quiet hours")
                self._session.end()
            self._session.report("paused")
            self._on_audio()
        elif self._paused:
            self._warn("listening again")
        self._paused = bool(reason)
        return self._paused
