"""Format times, sizes and counts for people, and make untrusted text safe to print.

Positions in audio use `clock` or `short_clock`; amounts of audio use `length`; numbers of bytes use `size`.
Text from files, such as titles, passes through `clean` when the program reads it, and through `one_line` when
the program prints it: `LogFormatter` does so for every log message, and `spreadsheet_cell` for CSV.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

_FORMULA_STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"  # the last four are the wide forms of the first four


def clock(seconds: float) -> str:
    """Format a time as ``h:mm:ss``, rounded down to whole seconds; negative times become 0.

    Examples
    --------
    >>> clock(3725.9)
    '1:02:05'
    """
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def short_clock(seconds: float) -> str:
    """Format a time as ``m:ss``, or as ``h:mm:ss`` from one hour on.

    Examples
    --------
    >>> short_clock(62.9), short_clock(3600)
    ('1:02', '1:00:00')
    """
    whole = max(0, int(seconds))
    return clock(seconds) if whole >= 3600 else f"{whole // 60}:{whole % 60:02d}"


def length(seconds: float) -> str:
    """Format a duration in minutes, or in hours from one hour on, with one decimal.

    Examples
    --------
    >>> length(90), length(5400)
    ('1.5 minutes', '1.5 hours')
    """
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def size(count: float) -> str:
    """Format a number of bytes in decimal units, from B to GB.

    Examples
    --------
    >>> size(999), size(1234), size(5e6)
    ('999 B', '1.2 kB', '5.0 MB')
    """
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def speed_change(speed: float) -> str:
    """Format a playback speed as its change, or as an empty text if it hardly differs from the track's own.

    Examples
    --------
    >>> speed_change(1.032), speed_change(0.95), speed_change(1.001)
    ('+3.2%', '-5.0%', '')
    """
    return f"{speed - 1:+.1%}" if abs(speed - 1) >= 0.0025 else ""


def plural(number: int, noun: str) -> str:
    """Format a count with its noun; the plural adds an "s".

    Examples
    --------
    >>> plural(1, "track"), plural(1200, "track")
    ('1 track', '1,200 tracks')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def one_of(name: str, others: Sequence[str]) -> str:
    """Format the name of what may be something else too.

    Examples
    --------
    >>> one_of("Ann", ["Bob"])
    'ambiguous: Ann, or Bob'
    >>> one_of("Ann", ["Bob", "Cem"])
    'ambiguous: Ann, or one of 2 others'
    """
    if not others:
        return name
    rest = others[0] if len(others) == 1 else f"one of {len(others):,} others"
    return f"ambiguous: {name}, or {rest}"


def shorten(text: str, limit: int = 100) -> str:
    """Cut a text of unknown length for an error message.

    Examples
    --------
    >>> shorten("abcdef", 3)
    'abc...'
    """
    return text if len(text) <= limit else f"{text[:limit]}..."


def one_line(text: str) -> str:
    """Make untrusted text, such as a title or a file name, safe to print on one line.

    White space collapses to single spaces; control characters and undecodable bytes are escaped.
    """
    return _escape(" ".join(text.split()))


def in_room(room: str, text: str) -> str:
    """Return a text with the room that it is about, if there are several."""
    return f"{one_line(room)}: {text}" if room else text


def _escape(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def spreadsheet_cell(text: str) -> str:
    """Make untrusted text safe for a cell of a spreadsheet: one line, and never a formula.

    Spreadsheets evaluate text that starts with ``=``, ``+``, ``-`` or ``@``, also from CSV files. A leading
    apostrophe prevents this.

    Examples
    --------
    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("1=1")
    ("'=1+1", '1=1')
    """
    line = one_line(text)
    return f"'{line}" if line.startswith(tuple(_FORMULA_STARTS)) else line


class LogFormatter(logging.Formatter):
    """Format each log message as one safe line, and a traceback as safe lines below it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message on one line."""
        return one_line(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, and the traceback if there is one."""
        return "\n".join(map(_escape, super().format(record).splitlines()))


def clean(text: str) -> str:
    """Make untrusted text, such as a tag, safe to store.

    White space and control characters collapse to single spaces; undecodable bytes become "?".
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
