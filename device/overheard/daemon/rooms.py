"""Listen in several rooms at once: a thread, a source and a listener for each; one model, one set of sinks.

The threads take turns with the model, block by block. What arrives meanwhile waits in its source's queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from overheard.daemon.pause import Pause
from overheard.daemon.run import Reader
from overheard.daemon.session import Listener, Session, elapsed_s
from overheard.daemon.status import Monitor, ReportsStatus, StatusReport
from overheard.errors import AudioError
from overheard.events import Event, Status
from overheard.hear.source import AudioSource
from overheard.settings import Settings
from overheard.sinks.runner import Sink, close_all, start_runners
from overheard.text import in_room

log = logging.getLogger(__name__)

_WAIT_S = 0.2  # between two checks whether the threads have ended
_STOP_S = 10.0  # for all of them to end after a stop; a driver may hang


class InTurn:
    """A listener that shares a model with others: it works while it has the lock."""

    def __init__(self, listener: Listener, lock: threading.Lock) -> None:
        self._listener, self._lock = listener, lock

    def process(self, block: npt.NDArray[np.float32]) -> list[Event]:
        """Process the next block, `(n,)` in [-1, 1] at 8 kHz."""
        with self._lock:
            return self._listener.process(block)

    def gap(self, n_samples: int) -> list[Event]:
        """Account for lost audio."""
        with self._lock:
            return self._listener.gap(n_samples)

    def finish(self) -> list[Event]:
        """End the open play."""
        with self._lock:
            return self._listener.finish()


class ReportingInTurn(InTurn):
    """The same for a listener that knows what it is doing."""

    def __init__(self, listener: Listener, reports: ReportsStatus, lock: threading.Lock) -> None:
        super().__init__(listener, lock)
        self._reports = reports

    def status(self) -> Status:
        """Return a snapshot."""
        return self._reports.status()


def in_turn(listener: Listener, lock: threading.Lock) -> InTurn:
    """Return a listener that works while it has the lock."""
    if isinstance(listener, ReportsStatus):
        return ReportingInTurn(listener, listener, lock)
    return InTurn(listener, lock)


def run_rooms(
    settings: Settings,
    sources: Mapping[str, AudioSource],
    sinks: Sequence[Sink],
    stop_event: threading.Event,
    new_listener: Callable[[str], Listener],
    now: Callable[[], float] = time.time,
    elapsed: Callable[[], float] = elapsed_s,
    *,
    pause: Pause | None = None,
    monitors: Sequence[Monitor] = (),
    on_audio: Callable[[], object] | None = None,
) -> None:
    """Listen until all sources end or the event is set; then end the open plays and close the sinks.

    Parameters
    ----------
    sources : by room; one that is lost is awaited, while the others go on
    new_listener : returns a listener for a room, whose clock starts at 0; the rest is as for `run_listen`

    Raises
    ------
    AudioError
        If no source could be read.
    """
    first, runners = start_runners(sinks, stop_event)
    lock, pause, threads = threading.Lock(), pause or Pause(settings.listen.quiet_hours), []
    for room, source in sources.items():
        report = StatusReport(monitors, room=room)
        make = _maker(room, new_listener, lock)
        session = Session(settings, source, first, make, (now, elapsed), report, room)
        reader = Reader(source, session, stop_event, pause, on_audio, room)
        threads.append(_RoomThread(room, reader, session, stop_event, settings.listen.reconnect_max_s))
    try:
        _run(threads, stop_event, lambda: _close(sources.values()))
    finally:
        _close(sources.values())
        close_all(runners)


def _maker(
    room: str, new_listener: Callable[[str], Listener], lock: threading.Lock
) -> Callable[[], Listener]:
    return lambda: in_turn(new_listener(room), lock)


class _RoomThread(threading.Thread):
    """Reads one room. A source that cannot be read ends its room; a bug ends the program."""

    def __init__(
        self, room: str, reader: Reader, session: Session, stop: threading.Event, longest_retry_s: float
    ) -> None:
        super().__init__(name=f"room {room}", daemon=True)
        self.room = room
        self._reader, self._session, self._stop_event = reader, session, stop
        self._longest_retry_s = longest_retry_s
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Read the source until it ends, and end the open play."""
        try:
            try:
                self._reader.run(self._longest_retry_s)
            finally:
                self._session.finish()
        except AudioError as error:
            self.failure = error
            log.warning("%s", in_room(self.room, str(error)))
        except BaseException as error:  # noqa: BLE001 - raised again by the main thread
            self.failure = error
            self._stop_event.set()
        finally:
            self._session.lost.report_total()


def _run(threads: Sequence[_RoomThread], stop: threading.Event, close: Callable[[], None]) -> None:
    """Run the threads until all have ended, and raise what a bug has raised in one of them."""
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not stop.wait(_WAIT_S):
        pass
    close()
    until_s = time.monotonic() + _STOP_S
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
        if thread.is_alive():
            log.warning("%s: its input does not stop", thread.room)
    failures = [thread.failure for thread in threads if thread.failure is not None]
    for failure in failures:
        if not isinstance(failure, AudioError):
            raise failure
    if failures and len(failures) == len(threads):
        raise failures[0]


def _close(sources: Iterable[AudioSource]) -> None:
    for source in sources:
        source.close()
