"""Write plays as lines of text for people."""

from __future__ import annotations

import datetime
from typing import TextIO

from overheard.events import Event, MusicUnknown, Play, PlayEnded, PlayStarted
from overheard.sinks.lines import LineWriter
from overheard.text import one_line, short_clock


class TerminalSink:
    """Write a line when a play starts, when it ends, and when unknown music starts.

    Each line is written immediately, so that pipes and system logs receive it immediately.

    Parameters
    ----------
    stream : text file
        Receives the lines.
    """

    name = "terminal"

    def __init__(self, stream: TextIO) -> None:
        self._lines = LineWriter(stream)

    def handle(self, event: Event, started: float) -> None:
        """Write the line of an event, if it has one."""
        line = to_line(event, started)
        if line is not None:
            self._lines.write(line)

    def interrupt(self) -> None:
        """Stop waiting for the reader."""
        self._lines.interrupt()

    def close(self) -> None:
        """Do nothing: every line is already written."""


def to_line(event: Event, started: float) -> str | None:
    """Format an event; `started` is the Unix time at which the source's clock was 0."""
    if isinstance(event, PlayStarted):
        play = event.play
        position = f"(at {short_clock(play.offset_s)}, {play.confidence:.0%})"
        return f"{local_clock(started + play.start_s)}  {_name(play)}  {position}"
    if isinstance(event, PlayEnded):
        play = event.play
        duration = short_clock(round(play.end_s - play.start_s))
        return f"{local_clock(started + play.end_s)}  {_name(play)}  ended after {duration}"
    if isinstance(event, MusicUnknown):
        return f"{local_clock(started + event.start_s)}  unknown music"
    return None


def local_clock(unix_time: float) -> str:
    """Format a Unix time as local time, ``hh:mm:ss``."""
    return datetime.datetime.fromtimestamp(unix_time).strftime("%H:%M:%S")


def _name(play: Play) -> str:
    return one_line(play.track.name)
