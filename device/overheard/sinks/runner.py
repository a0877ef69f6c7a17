"""Deliver events to a sink from its own thread and bounded queue, so that no sink can stop recognition."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from overheard.events import Event, PlayUpdated

log = logging.getLogger(__name__)

_RETRY_DELAYS_S = (0.5, 2.0, 8.0)  # long enough for a lock or a full disk to clear
_MIN_CLOSE_S = 0.05  # for the sinks behind one that used up the time
_CLOSE_TIMEOUT_S = 2.0  # service managers and users expect a program to stop within seconds


class Sink(Protocol):
    """Receiver of events. One thread calls it, in the order of the events.

    Attributes
    ----------
    name : str
        Name of the sink in log messages.
    """

    name: str

    def handle(self, event: Event, started: float) -> None:
        """Process an event.

        Parameters
        ----------
        event : Event
            Its times are seconds on the source's clock.
        started : float
            Unix time in seconds at which the source's clock was 0.

        Raises
        ------
        SinkClosed
            If the sink can never process an event again.
        """

    def close(self) -> None:
        """Write buffered data and close files."""


class SinkClosed(Exception):
    """The reader of a sink's output is gone, for example the other end of a pipe."""


class SinkRunner:
    """Deliver events to one sink from its own thread.

    If the sink fails, the runner retries the event after 0.5, 2 and 8 s and then drops it. A full queue drops
    its oldest event. An update of a play replaces an update of the same play that is last in the queue.

    Parameters
    ----------
    sink : Sink
        The sink; only the runner's thread calls it.
    max_events : int
        Capacity of the queue.
    on_closed : callable
        Called when the sink raises `SinkClosed`.
    """

    def __init__(
        self, sink: Sink, max_events: int = 1000, on_closed: Callable[[], object] | None = None
    ) -> None:
        self._sink = sink
        self._max_events = max_events
        self._on_closed = on_closed
        self._events: collections.deque[tuple[Event, float]] = collections.deque()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def put(self, event: Event, started: float, wait_s: float = 0.0) -> None:
        """Add an event to the queue.

        While the queue is full and the sink works, wait up to `wait_s` seconds; then drop the oldest event.
        """
        with self._changed:
            if len(self._events) >= self._max_events and wait_s > 0 and not self._failing:
                self._changed.wait_for(lambda: len(self._events) < self._max_events, wait_s)
            if isinstance(event, PlayUpdated) and self._events and _same_play(self._events[-1][0], event):
                self._events.pop()
            elif len(self._events) >= self._max_events:
                self._events.popleft()
                self.dropped += 1
            self._events.append((event, started))
            self._changed.notify_all()

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Deliver the queue and close the sink; return whether that took less than `timeout_s` seconds."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("%s: the last events were not delivered in time", self._sink.name)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                self._deliver(*item)
        except SinkClosed:
            if self._on_closed is not None:
                self._on_closed()
        finally:
            try:
                self._sink.close()
            except Exception as error:  # noqa: BLE001 - no sink, also of a third party, may stop the others
                self._log_failure("%s: cannot be closed: %s", error)

    def _next(self) -> tuple[Event, float] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._stopping.is_set())
            item = self._events.popleft() if self._events else None
            self._changed.notify_all()
            return item

    def _deliver(self, event: Event, started: float) -> None:
        for delay_s in (*_RETRY_DELAYS_S, None):
            try:
                self._sink.handle(event, started)
            except SinkClosed:
                raise
            except Exception as error:  # noqa: BLE001 - no sink, also of a third party, may stop the others
                if not self._failing:
                    self._log_failure("%s: %s; retrying", error)
                self._failing = True
                if delay_s is None or self._stopping.is_set():
                    self.dropped += 1
                    return
                self._stopping.wait(delay_s)
            else:
                if self._failing:
                    log.warning("%s: works again; events lost so far: %d", self._sink.name, self.dropped)
                self._failing = False
                return

    def _log_failure(self, message: str, error: Exception) -> None:
        log.warning(message, self._sink.name, error)
        log.debug("%s: traceback of the failure:", self._sink.name, exc_info=error)


def _same_play(queued: Event, event: PlayUpdated) -> bool:
    if not isinstance(queued, PlayUpdated):
        return False
    old, new = queued.play, event.play
    return (old.track.id, old.start_s) == (new.track.id, new.start_s)


def close_all(runners: Sequence[SinkRunner], timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
    """Close all sinks within `timeout_s` seconds in total, plus a moment for each that has to wait."""
    deadline = time.monotonic() + timeout_s
    for runner in runners:
        runner.close(max(_MIN_CLOSE_S, deadline - time.monotonic()))
