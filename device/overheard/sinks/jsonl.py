"""Write events as JSON lines, one object per line."""

from __future__ import annotations

import json
from typing import TextIO

from overheard.event_json import to_json
from overheard.events import Event
from overheard.sinks.lines import LineWriter


class JsonLinesSink:
    """Write each event as one line, immediately.

    Keys besides ``event``:

    - ``play_started``, ``play_updated``, ``play_ended``: ``started_at``, ``ended_at``, ``play``
    - ``music_unknown``: ``started_at``, ``ended_at``, ``start_s``, ``end_s``, ``unknown_id``,
      ``times_heard``, ``first_heard_at``
    - ``silence``: ``started_at``, ``start_s``
    - ``source_changed``: ``started_at``, ``start_s``, ``source``, ``before``, ``reason``

    - all: ``room``, if overheard listens in several rooms

    `play` has the same form as in `overheard identify --json`. Keys that end in ``_at`` are UTC times, keys
    that end in ``_s`` are seconds on the source's clock.

    Parameters
    ----------
    stream : text file
        Receives the lines.
    """

    name = "json"

    def __init__(self, stream: TextIO) -> None:
        self._lines = LineWriter(stream)

    def handle(self, event: Event, started: float) -> None:
        """Write the event as one line."""
        self._lines.write(json.dumps(to_json(event, started)))

    def interrupt(self) -> None:
        """Stop waiting for the reader."""
        self._lines.interrupt()

    def close(self) -> None:
        """Do nothing: every line is already written."""
