"""`overheard listen` without its command line: source to listener to sinks, until told to stop."""

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
from overheard.hear.resampler import to_float
from overheard.hear.source import SAMPLE_RATE, AudioSource, Block, DeviceLost, Gap
from overheard.settings import Settings
from overheard.sinks import Sink, SinkRunner, close_all

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 1.0  # before the first try to reach a lost device
_SLEW_S = 2.0  # a sound card's clock drifts: this much off the wall clock is set right
_JUMP_S = 5.0  # beyond the queue's length: the computer slept, or its clock was set
_BACKLOG_WAIT_S = 60.0


class Recognition(Protocol):
    """What `pipeline.Listener` does."""

    def process(self, block: npt.NDArray[np.float32]) -> list[Event]:
        """Take the next block, `(n,)` in [-1, 1] at 8 kHz."""

    def gap(self, n_samples: int) -> list[Event]:
        """Take note of lost sound."""

    def finish(self) -> list[Event]:
        """End the open play."""


def run_listen(
    settings: Settings,
    source: AudioSource,
    sinks: Sequence[Sink],
    stop_event: threading.Event,
    new_listener: Callable[[], Recognition],
    now: Callable[[], float] = time.time,
) -> None:
    """Listen until the source ends or the event is set; then the open play is ended and the sinks closed.

    Parameters
    ----------
    settings
        Of which `listen` counts here.
    source
        Where sound comes from. A device that is lost is told once and waited for.
    sinks
        Each gets every event, from its own thread.
    stop_event
        Set by a signal, or by a sink that nobody reads any more.
    new_listener
        Makes a listener whose clock starts at 0, as `Recognizer.listener` does.
    now
        The wall clock, in Unix time.

    Raises
    ------
    AudioError
        If the source cannot be opened or read.
    """
    runners = [SinkRunner(sink, on_closed=stop_event.set) for sink in sinks]
    session = _Session(settings, source, runners, new_listener, now)
    try:
        _follow(settings, source, session, stop_event)
    finally:
        source.close()
        try:
            session.end()
        finally:
            close_all(runners)


def _follow(settings: Settings, source: AudioSource, session: _Session, stop_event: threading.Event) -> None:
    """Read the source, and again after each loss, until it ends."""
    wait_s, lost = _FIRST_WAIT_S, False
    while not stop_event.is_set():
        try:
            with contextlib.closing(source.blocks()) as blocks:  # type: ignore[type-var]
                for item in blocks:
                    if stop_event.is_set():
                        return
                    if lost and isinstance(item, np.ndarray) and item.size:
                        log.warning("%s is back", source.name)
                        wait_s, lost = _FIRST_WAIT_S, False
                    session.take(item)
            return
        except DeviceLost as error:
            if not lost:
                log.warning("%s; waiting until it is back", error)
            log.debug("next try in %.0f s: %s", wait_s, error)
            lost = True
            session.end()
            stop_event.wait(wait_s)
            wait_s = min(2 * wait_s, settings.listen.reconnect_max_s)


class _Session:
    """A stretch of sound without interruption: one listener, and the wall clock of its second 0."""

    def __init__(
        self,
        settings: Settings,
        source: AudioSource,
        runners: Sequence[SinkRunner],
        new_listener: Callable[[], Recognition],
        now: Callable[[], float],
    ) -> None:
        self._live = source.live
        self._runners = runners
        self._new_listener = new_listener
        self._now = now
        self._jump_s = settings.listen.queue_s + _JUMP_S
        self._listener: Recognition | None = None
        self._started = 0.0
        self._n_samples = 0

    def take(self, item: Block | Gap) -> None:
        """Hand on what the source yielded."""
        if isinstance(item, Gap):
            if self._listener is not None:
                self._n_samples += item.n_samples
                self._tell(self._listener.gap(item.n_samples))
            return
        if not item.size:
            return
        if self._live and self._listener is not None:
            self._keep_time(item.size)
        if self._listener is None:
            self._begin(item.size)
        if self._listener is not None:
            self._n_samples += item.size
            self._tell(self._listener.process(to_float(item)))

    def end(self) -> None:
        """End the open play; what comes next is another session."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._tell(listener.finish())

    def _begin(self, n_samples: int) -> None:
        self._listener = self._new_listener()
        self._n_samples = 0
        # A live block ends now; a file's first sample is now, however fast the rest is read.
        self._started = self._now() - (n_samples / SAMPLE_RATE if self._live else 0.0)

    def _keep_time(self, n_samples: int) -> None:
        """Hold the source's clock to the wall clock: follow a drift, begin anew after a jump."""
        off_s = self._now() - (self._started + (self._n_samples + n_samples) / SAMPLE_RATE)
        if abs(off_s) > self._jump_s:
            log.debug("the clock jumped by %.0f s", off_s)
            self.end()
        elif abs(off_s) > _SLEW_S:
            self._started += off_s

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            for runner in self._runners:
                runner.put(event, self._started, 0.0 if self._live else _BACKLOG_WAIT_S)
