"""One stretch of continuous audio after another: their listeners, clocks and events."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from overheard.daemon.status import StatusReport
from overheard.events import Event, SourceChanged
from overheard.hear.gate import QuietReport
from overheard.hear.input_health import InputHealth
from overheard.hear.resampler import to_float
from overheard.hear.source import SAMPLE_RATE, AudioSource, Block, Gap, Rerouted
from overheard.process import return_freed_memory
from overheard.settings import Settings
from overheard.sinks.runner import SinkRunner
from overheard.text import in_room

log = logging.getLogger(__name__)

# A sound card's clock drifts, typically by less than 100 ppm. The source's clock is corrected beyond this
# difference, which is larger than the jitter of block arrival.
_MAX_DRIFT_S = 2.0
# A larger difference, in addition to a full queue, means that the computer slept or its clock was set.
_JUMP_S = 5.0
_FULL_SINK_WAIT_S = 4.0  # a file is read faster than a slow sink works, so reading waits while the sink works
_LOSS_REPORT_INTERVAL_S = 60.0
_TRIM_SAMPLES = 60 * SAMPLE_RATE  # of audio, between two returns of memory to the system
_CHANGES = {
    "gone": "{0.before} is gone, hearing {0.source} instead",
    "moved": "hearing {0.source} instead of {0.before}",
    "returned": "hearing {0.source} again",
}


def elapsed_s() -> float:
    """Return a clock that goes on while the computer sleeps, and that nobody sets.

    Where there is none, return the time of day: then a clock that is set forward looks like sleep.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time()


class Listener(Protocol):
    """The part of a recognizer's listener that the daemon calls."""

    def process(self, block: npt.NDArray[np.float32]) -> list[Event]:
        """Process the next block, `(n,)` in [-1, 1] at 8 kHz."""

    def gap(self, n_samples: int) -> list[Event]:
        """Account for lost audio."""

    def finish(self) -> list[Event]:
        """End the open play."""


class LostAudio:
    """Count the audio that was lost, and report it: at once, then at most once a minute, and in total.

    Parameters
    ----------
    room : in which it was lost, if there are several
    """

    def __init__(self, room: str = "") -> None:
        self._room = room
        self._n_samples = 0
        self._reported = 0
        self._next_report_s = 0.0

    def add(self, n_samples: int) -> None:
        """Count lost samples."""
        self._n_samples += n_samples
        if time.monotonic() >= self._next_report_s:
            self._report("so far")
            self._next_report_s = time.monotonic() + _LOSS_REPORT_INTERVAL_S

    def report_total(self) -> None:
        """Report what was lost since the last report."""
        if self._n_samples > self._reported:
            self._report("in total")

    def _report(self, extent: str) -> None:
        self._reported = self._n_samples
        text = f"recognition is too slow: {self._n_samples / SAMPLE_RATE:.1f} s of audio lost {extent}"
        log.warning("%s", in_room(self._room, text))


class Session:
    """Continuous audio from one source: its listener, and the time at which its clock was 0.

    If it is one of several rooms, its events, statuses and messages have the name of the room.
    """

    def __init__(
        self,
        settings: Settings,
        source: AudioSource,
        runners: Sequence[SinkRunner],
        new_listener: Callable[[], Listener],
        clocks: tuple[Callable[[], float], Callable[[], float]],
        status: StatusReport,
        room: str = "",
    ) -> None:
        self._room = room
        self._source_name = source.name
        self._live = source.live
        self._quiet = QuietReport(settings.gate)
        self._health = InputHealth()
        self._runners = runners
        self._new_listener = new_listener
        self._now, self._elapsed = clocks
        self._status = status
        self._jump_s = settings.listen.queue_s + _JUMP_S
        self._away = False  # whether the sound server connected the room to another source than its own
        self._listener: Listener | None = None
        self._started = 0.0  # Unix time
        self._began_s = 0.0  # the same moment on the clock that nobody sets
        self._n_samples = 0
        self._n_until_trim = _TRIM_SAMPLES
        self.lost = LostAudio(room)

    def process(self, item: Block | Gap | Rerouted) -> None:
        """Pass an item of the source to the listener, and its events to the sinks; report the status."""
        self._process(item)
        if self._away:
            self.report("disconnected")
        elif self._listener is not None:
            self._status.publish(self._listener)

    @property
    def _can_be_silent(self) -> bool:
        """Whether digital silence is normal: nothing plays, or a station is silent."""
        return "monitor" in self._source_name or self._source_name.startswith("stream:")

    def report(self, state: str) -> None:
        """Report a state in which nothing is analysed."""
        self._status.publish(None, state)

    def _process(self, item: Block | Gap | Rerouted) -> None:
        if isinstance(item, Rerouted):
            self._change_source(item)
            return
        if self._away:
            return
        if isinstance(item, Gap):
            if item.slow:
                self.lost.add(item.n_samples)
            if self._listener is not None:
                self._n_samples += item.n_samples
                self._send(self._listener.gap(item.n_samples))
            return
        if not item.size:
            return
        if self._live and self._listener is not None:
            self._follow_clocks(item.size)
        if self._listener is None:
            self._listener = self._begin(item.size)
        self._n_samples += item.size
        self._n_until_trim -= item.size
        if self._n_until_trim <= 0:
            self._n_until_trim = _TRIM_SAMPLES
            return_freed_memory()
        samples = to_float(item)
        if self._live and (problem := self._health.process(item, self._can_be_silent)):
            self._warn(f"{self._source_name} {problem}")
        self._report_quiet(self._quiet.process(samples))
        self._send(self._listener.process(samples))

    def _change_source(self, change: Rerouted) -> None:
        """End the open play, which was heard from the source so far, and report the change.

        A room never hears another source, which may be that of another room, because its own is gone.
        """
        self._away = bool(self._room) and change.away
        text = f"{change.before} is gone; waiting for it to return" if self._away else ""
        self._warn(text or f"source changed: {_CHANGES[change.reason].format(change)}")
        if self._listener is None:
            self._started, self._n_samples = self._now(), 0
        self.end()
        self._source_name = change.source
        at_s = self._n_samples / SAMPLE_RATE
        self._send([SourceChanged(at_s, change.name, change.source, change.before, change.reason)])

    def _report_quiet(self, text: str | None) -> None:
        """Tell the user once why nothing can be recognized. A monitor is silent while nothing plays."""
        if text is not None and "monitor" not in self._source_name:
            self._warn(f"{self._source_name} is too quiet: {text}; raise its volume, or lower this setting")

    def _warn(self, text: str) -> None:
        log.warning("%s", in_room(self._room, text))

    def end(self) -> None:
        """End the open play. The next block starts a new listener."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._send(listener.finish())
            self._status.ended(listener)

    def finish(self) -> None:
        """End the open play at the end of the source."""
        self.end()
        if not self._live:  # a file can be shorter than the time after which it is reported
            self._report_quiet(self._quiet.finish())

    def _begin(self, n_samples: int) -> Listener:
        self._n_samples = 0
        # The first block of a live source ends now. A file's clock starts now, however fast it is read.
        length_s = n_samples / SAMPLE_RATE if self._live else 0.0
        self._started, self._began_s = self._now() - length_s, self._elapsed() - length_s
        return self._new_listener()

    def _follow_clocks(self, n_samples: int) -> None:
        """End the session if the computer slept. Otherwise correct its start time.

        The sound card's clock drifts slowly. If the wall clock is set, the music goes on: the play stays one,
        and its start is what the clock says now.
        """
        heard_s = (self._n_samples + n_samples) / SAMPLE_RATE
        missing_s = self._elapsed() - (self._began_s + heard_s)
        if missing_s > self._jump_s:
            log.debug("no audio for %.0f s", missing_s)
            self.end()
            return
        if abs(missing_s) > _MAX_DRIFT_S:
            self._began_s += missing_s
        difference_s = self._now() - (self._started + heard_s)
        if abs(difference_s) > _MAX_DRIFT_S:
            self._started += difference_s

    def _send(self, events: list[Event]) -> None:
        wait_s = 0.0 if self._live else _FULL_SINK_WAIT_S
        for event in events:
            if self._room:
                event = dataclasses.replace(event, room=self._room)
            for runner in self._runners:
                runner.put(event, self._started, wait_s)
