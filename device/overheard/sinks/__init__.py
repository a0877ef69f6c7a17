"""Where events go. Each sink has its own thread and bounded queue, so none can stop recognition."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from overheard.events import Event, PlayUpdated

log = logging.getLogger(__name__)

_RETRIES_S = (0.5, 2.0, 8.0)


class Sink(Protocol):
    """Something that is told of events, in order, by one thread."""

    name: str

    def handle(self, event: Event, started: float) -> None:
        """Take an event.

        Parameters
        ----------
        event
            Its times are seconds of the source.
        started
            Unix time of the source's second 0.
        """

    def close(self) -> None:
        """Write what is left."""


class SinkClosed(Exception):
    """Nobody reads the sink any more, as when the reader of a pipe left."""


class SinkRunner:
    """Feed one sink from its own thread.

    A failing event is tried again after 0.5, 2 and 8 s and then dropped. A full queue drops its oldest; an
    update of a play that comes while an older update of the same play still waits replaces that.
    """

    def __init__(
        self, sink: Sink, max_events: int = 1000, on_closed: Callable[[], object] | None = None
    ) -> None:
        self._sink = sink
        self._max = max_events
        self._on_closed = on_closed
        self._events: collections.deque[tuple[Event, float]] = collections.deque()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failing = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    def put(self, event: Event, started: float, wait_s: float = 0.0) -> None:
        """Hand over an event; while the queue is full, wait for room, then drop the oldest."""
        with self._changed:
            if len(self._events) >= self._max and wait_s > 0 and not self._failing:
                self._changed.wait_for(lambda: len(self._events) < self._max, wait_s)
            if isinstance(event, PlayUpdated) and self._events and _same_play(self._events[-1][0], event):
                self._events.pop()
            elif len(self._events) >= self._max:
                self._events.popleft()
                self.dropped += 1
            self._events.append((event, started))
            self._changed.notify_all()

    def close(self, timeout_s: float = 2.0) -> bool:
        """Let the sink take what waits, for so long, and close it; return whether it could."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("%s did not take its last events in time", self._sink.name)
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
            except Exception as error:  # a sink is foreign code; whatever it raises must end here
                log.warning("%s: %s", self._sink.name, error)

    def _next(self) -> tuple[Event, float] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._stopping.is_set())
            item = self._events.popleft() if self._events else None
            self._changed.notify_all()
            return item

    def _deliver(self, event: Event, started: float) -> None:
        for delay_s in (*_RETRIES_S, None):
            try:
                self._sink.handle(event, started)
            except SinkClosed:
                raise
            except Exception as error:  # a sink is foreign code; whatever it raises must end here
                if not self._failing:
                    log.warning("%s: %s; trying again", self._sink.name, error)
                self._failing = True
                if delay_s is None or self._stopping.is_set():
                    self.dropped += 1
                    return
                self._stopping.wait(delay_s)
            else:
                if self._failing:
                    log.warning("%s works again; events lost so far: %d", self._sink.name, self.dropped)
                self._failing = False
                return


def _same_play(waiting: Event, event: PlayUpdated) -> bool:
    if not isinstance(waiting, PlayUpdated):
        return False
    old, new = waiting.play, event.play
    return (old.track.id, old.start_s) == (new.track.id, new.start_s)


def close_all(runners: list[SinkRunner], timeout_s: float = 2.0) -> None:
    """Close several sinks within one time."""
    end = time.monotonic() + timeout_s
    for runner in runners:
        runner.close(max(0.05, end - time.monotonic()))
