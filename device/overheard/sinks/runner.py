"""Deliver events to a sink from its own thread and bounded queue, so that no sink can stop recognition."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from overheard.events import Event, PlayUpdated
from overheard.sinks.lines import SinkClosed

__all__ = ["Sink", "SinkClosed", "SinkRunner", "Store", "close_all"]

log = logging.getLogger(__name__)

_RETRY_DELAYS_S = (0.5, 2.0, 8.0)  # long enough for a full disk to clear
_IDLE_S = 1.0  # between calls of a store's `idle`
_POLL_S = 0.2
_REPORT_INTERVAL_S = 60.0  # between reports of dropped events
_MIN_CLOSE_S = 0.2  # for the sinks behind one that used up the time
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


@runtime_checkable
class Store(Sink, Protocol):
    """A sink that saves events. The others receive an event after it, so they show only what is saved."""

    def idle(self) -> None:
        """Do what waits; called about once a second while there are no events."""


@runtime_checkable
class Ticking(Sink, Protocol):
    """A sink with something to do now and then."""

    def tick(self) -> None:
        """Do what is due; called about once a second while there are no events."""


@runtime_checkable
class WatchesLosses(Protocol):
    """A sink that shows how many events other sinks did not get."""

    def watch_losses(self, lost: Callable[[], Mapping[str, int]]) -> None:
        """Take a function that returns their numbers by the names of the sinks; any thread may call it."""


@runtime_checkable
class Interruptible(Protocol):
    """A sink that may wait for a reader."""

    def interrupt(self) -> None:
        """Make `handle` end soon; another thread calls this."""


class SinkRunner:
    """Deliver events to one sink from its own thread.

    If the sink fails, the runner retries the event after 0.5, 2 and 8 s and then drops it. A full queue drops
    its oldest event. An update of a play replaces an update of the same play that is last in the queue. Drops
    are reported at most once a minute, and in total at the end.

    Parameters
    ----------
    sink : Sink
        The sink; only the runner's thread calls it.
    max_events : int
        Capacity of the queue.
    on_closed : callable
        Called when the sink raises `SinkClosed`.
    then : sequence of SinkRunner
        Receive each event after this sink has processed or dropped it.
    stop : threading.Event
        When it is set, nothing waits for a full queue.
    """

    def __init__(
        self,
        sink: Sink,
        max_events: int = 1000,
        on_closed: Callable[[], object] | None = None,
        then: Sequence[SinkRunner] = (),
        stop: threading.Event | None = None,
    ) -> None:
        self._sink = sink
        self.name = sink.name
        self._max_events = max_events
        self._on_closed = on_closed
        self._then = then
        self._stop = stop or threading.Event()
        self._events: collections.deque[tuple[Event, float, float]] = collections.deque()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failing = False
        self._stuck = False  # a wait for the sink was in vain
        self._taken = 0
        self.dropped = 0
        self._reported = 0
        self._next_report_s = 0.0
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def put(self, event: Event, started: float, wait_s: float = 0.0) -> None:
        """Add an event to the queue.

        While the queue is full, wait for the sink, but at most `wait_s` seconds during which it takes no
        event, and only once until it takes one again. Then drop the oldest event.
        """
        with self._changed:
            self._wait_for_room(wait_s)
            if isinstance(event, PlayUpdated) and self._events and _same_play(self._events[-1][0], event):
                self._events.pop()
            elif len(self._events) >= self._max_events:
                self._events.popleft()
                self._drop(1)
            self._events.append((event, started, wait_s))
            self._changed.notify_all()

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Deliver the queue and close the sink; return whether that took less than `timeout_s` seconds."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        in_time = not self._thread.is_alive()
        if not in_time:
            if isinstance(self._sink, Interruptible):
                self._sink.interrupt()
                self._thread.join(_MIN_CLOSE_S)
            with self._changed:
                self._drop(len(self._events) + 1, report=False)  # and the one that is being delivered
                self._events.clear()
        if self.dropped > self._reported:
            reason = "" if in_time else "; the last were not taken in time"
            log.warning("%s: events lost in total: %d%s", self._sink.name, self.dropped, reason)
        return in_time

    def _wait_for_room(self, wait_s: float) -> None:
        taken, until_s = self._taken, time.monotonic() + wait_s
        while len(self._events) >= self._max_events and not (
            self._stuck or self._failing or self._stop.is_set() or self._stopping.is_set()
        ):
            if self._taken > taken:
                taken, until_s = self._taken, time.monotonic() + wait_s
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                self._stuck = True
                return
            self._changed.wait(min(left_s, _POLL_S))

    def _drop(self, count: int, report: bool = True) -> None:
        self.dropped += count
        if report and time.monotonic() >= self._next_report_s:
            log.warning("%s: too slow; events lost so far: %d", self._sink.name, self.dropped)
            self._reported = self.dropped
            self._next_report_s = time.monotonic() + _REPORT_INTERVAL_S

    def _run(self) -> None:
        try:
            while (item := self._next()) is not None:
                event, started, wait_s = item
                try:
                    self._deliver(event, started)
                finally:
                    for runner in self._then:
                        runner.put(event, started, wait_s)
        except SinkClosed:
            if self._on_closed is not None:
                self._on_closed()
        finally:
            self._attempt(self._sink.close, "%s: cannot be closed: %s")

    def _next(self) -> tuple[Event, float, float] | None:
        """Return the next event; None when there are no more. Meanwhile, the sink does what waits."""
        sink = self._sink
        idle = sink.idle if isinstance(sink, Store) else sink.tick if isinstance(sink, Ticking) else None
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._events or self._stopping.is_set(), _IDLE_S if idle else None
                )
                if self._events:
                    self._taken += 1
                    self._stuck = False
                    self._changed.notify_all()
                    return self._events.popleft()
                if self._stopping.is_set():
                    return None
            if idle is not None:
                self._attempt(idle, "%s: %s")

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
                    with self._changed:
                        self._drop(1, report=False)
                    return
                self._stopping.wait(delay_s)
            else:
                if self._failing:
                    log.warning("%s: works again; events lost so far: %d", self._sink.name, self.dropped)
                    self._reported = self.dropped
                self._failing = False
                return

    def _attempt(self, action: Callable[[], None], message: str) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - no sink, also of a third party, may stop the others
            self._log_failure(message, error)

    def _log_failure(self, message: str, error: Exception) -> None:
        log.warning(message, self._sink.name, error)
        log.debug("%s: traceback of the failure:", self._sink.name, exc_info=error)


def _same_play(queued: Event, event: PlayUpdated) -> bool:
    if not isinstance(queued, PlayUpdated):
        return False
    old, new = queued.play, event.play
    return (queued.room, old.track.id, old.start_s) == (event.room, new.track.id, new.start_s)


def start_runners(sinks: Sequence[Sink], stop: threading.Event) -> tuple[list[SinkRunner], list[SinkRunner]]:
    """Start a runner for each sink, the stores before the others.

    Returns
    -------
    first : list of SinkRunner
        Those that events are put into: the stores, or all if there is no store.
    runners : list of SinkRunner
        All, in the order in which they must be closed.
    """
    stores = [sink for sink in sinks if isinstance(sink, Store)]
    last = stores[-1] if stores else None
    others = [SinkRunner(sink, on_closed=stop.set, stop=stop) for sink in sinks if sink not in stores]
    first = [
        SinkRunner(store, on_closed=stop.set, stop=stop, then=others if store is last else ())
        for store in stores
    ]
    runners = first + others

    def lost() -> dict[str, int]:
        return {runner.name: runner.dropped for runner in runners}

    for sink in sinks:
        if isinstance(sink, WatchesLosses):
            sink.watch_losses(lost)
    return first or others, runners


def close_all(runners: Sequence[SinkRunner], timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
    """Close all sinks within `timeout_s` seconds in total, plus a moment for each that has to wait."""
    deadline = time.monotonic() + timeout_s
    for runner in runners:
        runner.close(max(_MIN_CLOSE_S, deadline - time.monotonic()))
