"""Write plays as lines of text for people."""

from __future__ import annotations

import datetime
from typing import TextIO

from overheard.events import Event, MusicUnknown, Play, PlayEnded, PlayStarted, PlayUpdated
from overheard.sinks.lines import LineWriter
from overheard.text import in_room, one_line, one_of, short_clock, speed_change


class TerminalSink:
    """Write a line when a play starts, settles and ends, and when unknown music starts.

    Each line is written immediately, so that pipes and system logs receive it immediately.

    Parameters
    ----------
    stream : text file
        Receives the lines.
    """

    name = "terminal"

    def __init__(self, stream: TextIO) -> None:
        self._writer = LineWriter(stream)
        self._lines = PlayLines()

    def handle(self, event: Event, started: float) -> None:
        """Write the line of an event, if it has one."""
        for line in self._lines.of(event, started):
            self._writer.write(line)

    def interrupt(self) -> None:
        """Stop waiting for the reader."""
        self._writer.interrupt()

    def close(self) -> None:
        """Do nothing: every line is already written."""


class PlayLines:
    """Which lines events have: one when a play starts, settles and ends, and when unknown music starts."""

    def __init__(self) -> None:
        self._ambiguous: set[str] = set()  # rooms in which the line of the open play is ambiguous

    def of(self, event: Event, started: float) -> list[str]:
        """Return the lines of an event: none or one."""
        line, room = to_line(event, started), event.room
        if isinstance(event, PlayStarted):
            (self._ambiguous.add if event.play.ambiguous else self._ambiguous.discard)(room)
        elif isinstance(event, PlayUpdated) and room in self._ambiguous and not event.play.ambiguous:
            self._ambiguous.discard(room)
            line = found_line(event.play, event.play.end_s, started, room)
        return [] if line is None else [line]


def to_line(event: Event, started: float) -> str | None:
    """Format an event; `started` is the Unix time at which the source's clock was 0."""
    if isinstance(event, PlayStarted):
        return found_line(event.play, event.play.start_s, started, event.room)
    if isinstance(event, PlayEnded):
        play = event.play
        duration = short_clock(round(play.end_s - play.start_s))
        return (
            f"{local_clock(started + play.end_s)}  {in_room(event.room, _name(play))}  ended after {duration}"
        )
    if isinstance(event, MusicUnknown):
        return f"{local_clock(started + event.start_s)}  {in_room(event.room, unknown_text(event))}"
    return None


def unknown_text(event: MusicUnknown) -> str:
    """Format unknown music: its id, and how often it was heard."""
    name = "unknown music" if event.unknown_id is None else f"unknown music {event.unknown_id}"
    if event.times_heard < 2 or event.first_heard is None:
        return name
    first = datetime.datetime.fromtimestamp(event.first_heard)
    return f"{name}, heard {event.times_heard} times, first on {first.day} {first:%B %Y}"


def found_line(play: Play, at_s: float, started: float, room: str = "") -> str:
    """Format a play at a second of the source: time, room, track, position in it, confidence, speed."""
    change = speed_change(play.speed)
    facts = f"at {short_clock(play.position_s(at_s))}, {play.confidence:.0%}{change and f', speed {change}'}"
    return f"{local_clock(started + at_s)}  {in_room(room, _name(play))}  ({facts})"


def local_clock(unix_time: float) -> str:
    """Format a Unix time as local time, ``hh:mm:ss``."""
    return datetime.datetime.fromtimestamp(unix_time).strftime("%H:%M:%S")


def _name(play: Play) -> str:
    return one_line(one_of(play.track.name, [other.track.name for other in play.alternatives]))
