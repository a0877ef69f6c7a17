"""Report about once a second what the listener does, over all listeners that follow one another."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from overheard.events import Status

_INTERVAL_S = 1.0
_NOTHING = Status("silence", -math.inf, -math.inf, False, 0.0, None, {}, 0.0, 0.0, None)


@runtime_checkable
class Monitor(Protocol):
    """Receives the status. It must not wait: the thread that processes the sound calls it."""

    def publish_status(self, status: Status) -> None:
        """Process a status."""


@runtime_checkable
class ReportsStatus(Protocol):
    """A listener that knows what it is doing."""

    def status(self) -> Status:
        """Return a snapshot."""


class StatusReport:
    """Publish the status to the monitors, at most once a second.

    Each listener counts from 0. The sums that are published are those of all listeners so far.

    Parameters
    ----------
    monitors : receive the statuses
    clock : returns seconds
    room : of the listeners, if there are several
    """

    def __init__(
        self, monitors: Sequence[Monitor], clock: Callable[[], float] = time.monotonic, room: str = ""
    ) -> None:
        self._monitors, self._room = monitors, room
        self._clock = clock
        self._next_s = -math.inf
        self._before = _NOTHING  # the sums of the listeners that have ended
        self._state = ""  # the last one that was published

    def publish(self, listener: object | None, state: str = "") -> None:
        """Publish the status of a listener, if it is time, or if there is none, a state.

        Parameters
        ----------
        listener : None while nothing is analysed
        state : overrides that of the listener, such as "paused" or "disconnected"
        """
        if not self._monitors or (self._clock() < self._next_s and state == self._state):
            return
        self._next_s, self._state = self._clock() + _INTERVAL_S, state
        status = self._before
        if isinstance(listener, ReportsStatus):
            status = self._added(listener.status())
        if state:
            status = dataclasses.replace(status, state=state)
        if self._room:
            status = dataclasses.replace(status, room=self._room)
        for monitor in self._monitors:
            monitor.publish_status(status)

    def ended(self, listener: object) -> None:
        """Keep the sums of a listener that has ended."""
        if isinstance(listener, ReportsStatus):
            total = self._added(listener.status())
            self._before = dataclasses.replace(
                _NOTHING, cpu_s=total.cpu_s, audio_s=total.audio_s, lost_s=total.lost_s
            )

    def _added(self, status: Status) -> Status:
        before = self._before
        stages = {**before.cpu_s, **status.cpu_s}
        return dataclasses.replace(
            status,
            cpu_s={name: before.cpu_s.get(name, 0.0) + status.cpu_s.get(name, 0.0) for name in stages},
            audio_s=before.audio_s + status.audio_s,
            lost_s=before.lost_s + status.lost_s,
        )
