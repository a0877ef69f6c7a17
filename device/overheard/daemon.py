"""Pass audio from a source to a listener and its events to sinks, until the source ends or a stop event."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from overheard.events import Event
from overheard.hear.gate import QuietReport
from overheard.hear.resampler import to_float
from overheard.hear.source import SAMPLE_RATE, AudioSource, Block, DeviceLost, Gap
from overheard.settings import Settings
from overheard.sinks.runner import Sink, SinkRunner, close_all

log = logging.getLogger(__name__)

_FIRST_RETRY_S = 1.0  # until the first attempt to reopen a lost device; doubles with each attempt
# A sound card's clock drifts, typically by less than 100 ppm. The source's clock is corrected beyond this
# difference, which is larger than the jitter of block arrival.
_MAX_DRIFT_S = 2.0
# A larger difference, in addition to a full queue, means that the computer slept or its clock was set.
_JUMP_S = 5.0
_FULL_SINK_WAIT_S = 60.0  # a file is read faster than a slow sink works, so reading waits for the sink


class Listener(Protocol):
    """The part of a recognizer's listener that the daemon calls."""

    def process(self, block: npt.NDArray[np.float32]) -> list[Event]:
        """Process the next block, `(n,)` in [-1, 1] at 8 kHz."""

    def gap(self, n_samples: int) -> list[Event]:
        """Account for lost audio."""

    def finish(self) -> list[Event]:
        """End the open play."""


def run_listen(
    settings: Settings,
    source: AudioSource,
    sinks: Sequence[Sink],
    stop_event: threading.Event,
    new_listener: Callable[[], Listener],
    now: Callable[[], float] = time.time,
) -> None:
    """Listen until the source ends or the event is set; then end the open play and close the sinks.

    Parameters
    ----------
    settings : Settings
        Of which the `listen` section is used.
    source : AudioSource
        A device that is lost is reported once, and reopened when it is back.
    sinks : sequence of Sink
        Each receives every event, in its own thread.
    stop_event : threading.Event
        Set by a signal handler, or by a sink whose reader is gone.
    new_listener : callable
        Returns a listener whose clock starts at 0, such as `Recognizer.listener`.
    now : callable
        Returns the Unix time in seconds.

    Raises
    ------
    AudioError
        If the source cannot be opened or read.
    """
    runners = [SinkRunner(sink, on_closed=stop_event.set) for sink in sinks]
    session = _Session(settings, source, runners, new_listener, now)
    try:
        _read_source(settings, source, session, stop_event)
    finally:
        source.close()
        try:
            session.finish()
        finally:
            close_all(runners)


def _read_source(
    settings: Settings, source: AudioSource, session: _Session, stop_event: threading.Event
) -> None:
    """Read the source until it ends; reopen it after each loss."""
    retry_s, lost = _FIRST_RETRY_S, False
    while not stop_event.is_set():
        try:
            with contextlib.closing(source.blocks()) as blocks:  # type: ignore[type-var]
                for item in blocks:
                    if stop_event.is_set():
                        return
                    if lost and isinstance(item, np.ndarray) and item.size:
                        log.warning("%s is connected again", source.name)
                        retry_s, lost = _FIRST_RETRY_S, False
                    session.process(item)
            return
        except DeviceLost as error:
            if not lost:
                log.warning("%s; waiting for it to return", error.problem)
            log.debug("%s; next attempt in %.0f s", error.problem, retry_s)
            lost = True
            session.end()
            stop_event.wait(retry_s)
            retry_s = min(2 * retry_s, settings.listen.reconnect_max_s)


class _Session:
    """Continuous audio from one source: its listener, and the Unix time at which its clock was 0."""

    def __init__(
        self,
        settings: Settings,
        source: AudioSource,
        runners: Sequence[SinkRunner],
        new_listener: Callable[[], Listener],
        now: Callable[[], float],
    ) -> None:
        self._source_name = source.name
        self._live = source.live
        self._quiet = QuietReport(settings.gate)
        self._runners = runners
        self._new_listener = new_listener
        self._now = now
        self._jump_s = settings.listen.queue_s + _JUMP_S
        self._listener: Listener | None = None
        self._started = 0.0
        self._n_samples = 0

    def process(self, item: Block | Gap) -> None:
        """Pass an item of the source to the listener, and its events to the sinks."""
        if isinstance(item, Gap):
            if self._listener is not None:
                self._n_samples += item.n_samples
                self._send(self._listener.gap(item.n_samples))
            return
        if not item.size:
            return
        if self._live and self._listener is not None:
            self._follow_wall_clock(item.size)
        if self._listener is None:
            self._listener = self._begin(item.size)
        self._n_samples += item.size
        samples = to_float(item)
        self._report_quiet(self._quiet.process(samples))
        self._send(self._listener.process(samples))

    def _report_quiet(self, text: str | None) -> None:
        """Tell the user once why nothing can be recognized. A monitor is silent while nothing plays."""
        if text is not None and "monitor" not in self._source_name:
            log.warning(
                "%s is too quiet: %s; raise its volume, or lower this setting", self._source_name, text
            )

    def end(self) -> None:
        """End the open play. The next block starts a new listener."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._send(listener.finish())

    def finish(self) -> None:
        """End the open play at the end of the source."""
        self.end()
        if not self._live:  # a file can be shorter than the time after which it is reported
            self._report_quiet(self._quiet.finish())

    def _begin(self, n_samples: int) -> Listener:
        self._n_samples = 0
        # The first block of a live source ends now. A file's clock starts now, however fast it is read.
        self._started = self._now() - (n_samples / SAMPLE_RATE if self._live else 0.0)
        return self._new_listener()

    def _follow_wall_clock(self, n_samples: int) -> None:
        """Correct the start time for clock drift; end the session if the wall clock jumped."""
        difference_s = self._now() - (self._started + (self._n_samples + n_samples) / SAMPLE_RATE)
        if abs(difference_s) > self._jump_s:
            log.debug("the wall clock jumped by %.0f s", difference_s)
            self.end()
        elif abs(difference_s) > _MAX_DRIFT_S:
            self._started += difference_s

    def _send(self, events: list[Event]) -> None:
        wait_s = 0.0 if self._live else _FULL_SINK_WAIT_S
        for event in events:
            for runner in self._runners:
                runner.put(event, self._started, wait_s)
