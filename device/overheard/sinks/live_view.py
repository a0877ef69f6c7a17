"""Show what is heard while it is heard: lines for plays, and below them a panel that changes."""

from __future__ import annotations

import collections
import logging
import math
import os
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from overheard.events import Event, Play, PlayEnded, PlayStarted, PlayUpdated, Status
from overheard.sinks.terminal import PlayLines
from overheard.text import in_room, one_line, one_of, short_clock, speed_change

_REDRAW_S = 0.5
_BAR = 20  # characters
_LOWEST_DB = -80.0
_CLOSE_S = 1.0  # for a terminal that is stopped (Ctrl-S)
_MAX_WAITING = 1000  # lines
_ERASE = "\x1b[J"  # from the cursor to the end of the screen
_BOLD, _DIM, _NORMAL = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def suits(stream: TextIO, env: Mapping[str, str] | None = None) -> bool:
    """Return whether a stream is a terminal that can show a panel."""
    terminal = (os.environ if env is None else env).get("TERM", "")
    return stream.isatty() and terminal not in ("", "dumb")


class LiveView:
    """Write lines as `TerminalSink` does, and keep a panel of two lines below them, or two for each room.

    A thread of its own writes, twice a second: neither the events nor the status wait for the terminal.

    Parameters
    ----------
    stream : text file
        A terminal.
    source : str
        Name of what is heard.
    now : callable
        Returns the Unix time in seconds.
    rooms : sequence of str
        Names of the rooms; empty if there are none.
    """

    name = "terminal"

    def __init__(
        self,
        stream: TextIO,
        source: str,
        now: Callable[[], float] = time.time,
        rooms: Sequence[str] = (),
    ) -> None:
        self._stream = stream
        self._source = source
        self._now = now
        self._rooms = tuple(rooms) or ("",)
        self._lines = PlayLines()
        self._waiting: collections.deque[str] = collections.deque(maxlen=_MAX_WAITING)
        # By room; a play with the Unix time of the source's start.
        self._plays: dict[str, tuple[Play, float]] = {}
        self._statuses: dict[str, Status] = {}
        self._shown: list[str] = []  # the panel on the screen
        self._hold_s = 0.0  # no redraw before this moment
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)
        self._thread.start()

    def handle(self, event: Event, started: float) -> None:
        """Note the line of an event, and the play that is heard."""
        if isinstance(event, PlayStarted | PlayUpdated):
            self._plays[event.room] = (event.play, started)
        elif isinstance(event, PlayEnded):
            self._plays.pop(event.room, None)
        self._waiting.extend(self._lines.of(event, started))

    def publish_status(self, status: Status) -> None:
        """Note the status."""
        self._statuses[status.room] = status

    def filter(self, record: logging.LogRecord) -> bool:
        """Make room for a message of the log, as a filter of its handler."""
        with self._writing:
            self._write(self._erase())
            self._hold_s = time.monotonic() + _REDRAW_S / 2  # the handler writes now
        return True

    def close(self) -> None:
        """Write what waits, and remove the panel."""
        self._closing.set()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        while not self._closing.wait(_REDRAW_S):
            if time.monotonic() >= self._hold_s:
                self.draw()
        with self._writing:
            self._write(self._erase() + self._new_lines())

    def draw(self) -> None:
        """Write the lines that wait, and the panel."""
        with self._writing:
            width = _width_of(self._stream)
            panel = [_cut(line, width) for line in self._panel()]
            if panel == self._shown and not self._waiting:
                return
            text = self._erase() + self._new_lines()
            self._shown = panel
            first, *rest = panel
            self._write(
                text + "\n".join([f"{_BOLD}{first}{_NORMAL}", *(f"{_DIM}{t}{_NORMAL}" for t in rest)])
            )

    def _erase(self) -> str:
        """Return what erases the panel, also if the terminal has become narrower meanwhile."""
        if not self._shown:
            return ""
        width = _width_of(self._stream)
        rows = sum(max(1, math.ceil(_cells(line) / width)) for line in self._shown)
        self._shown = []
        return ("\r" if rows == 1 else f"\r\x1b[{rows - 1}A") + _ERASE

    def _new_lines(self) -> str:
        count = len(self._waiting)
        return "".join(f"{self._waiting.popleft()}\n" for _ in range(count))

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the terminal is gone: SIGHUP ends the program
            self._closing.set()

    def _panel(self) -> list[str]:
        return [line for room in self._rooms for line in (self._play_line(room), self._status_line(room))]

    def _play_line(self, room: str) -> str:
        found = self._plays.get(room)
        if found is None:
            status = self._statuses.get(room)
            state = status.state if status is not None else "listening"
            return in_room(room, "listening: sound" if state == "searching" else state)
        play, started = found
        at_s = play.position_s(max(play.end_s, self._now() - started))
        name = one_line(one_of(play.track.name, [other.track.name for other in play.alternatives]))
        length_s = play.track.duration_s
        position = short_clock(at_s)
        if length_s > 0:
            position = f"{short_clock(min(at_s, length_s))} / {short_clock(length_s)}"
        change = speed_change(play.speed)
        speed = f"  (speed {change})" if change else ""
        return in_room(room, f"{position}  {play.confidence:>4.0%}  {name}{speed}")

    def _status_line(self, room: str) -> str:
        status, name = self._statuses.get(room), one_line(room or self._source)
        if status is None or not math.isfinite(status.level_db):
            return name
        level = f"{self._bar(1 - status.level_db / _LOWEST_DB)} {status.level_db:.0f} dBFS"
        lost = f"  lost {status.lost_s:.0f} s" if status.lost_s >= 1 else ""
        heard_s = max(status.audio_s, 1.0)
        return f"{level}  processor {sum(status.cpu_s.values()) / heard_s:.1%}{lost}  {name}"

    def _bar(self, part: float) -> str:
        full = round(_BAR * min(1.0, max(0.0, part)))
        try:
            "█░".encode(self._stream.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return "#" * full + "." * (_BAR - full)
        return "█" * full + "░" * (_BAR - full)


def _width_of(stream: TextIO) -> int:
    try:  # 0: a terminal that does not know its size, such as a serial one
        return max(10, os.get_terminal_size(stream.fileno()).columns or 80)
    except (OSError, ValueError):
        return 80


def _cells(text: str) -> int:
    """Return how many columns a text takes: letters of East Asia take two, accents none."""
    return sum(_cell(character) for character in text)


def _cell(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, width: int) -> str:
    """Cut a text so that it does not fill the last column, where some terminals begin another row."""
    used = 0
    for i, character in enumerate(text):
        used += _cell(character)
        if used >= width:
            return text[:i]
    return text
