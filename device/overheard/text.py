"""How times, sizes and foreign text are written for people."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Write a time as ``h:mm:ss``, whole seconds, rounded down."""
    whole = max(0, int(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def short_clock(seconds: float) -> str:
    """Write a position in a track as ``m:ss``, with hours only where there are any."""
    whole = max(0, int(seconds))
    return clock(seconds) if whole >= 3600 else f"{whole // 60}:{whole % 60:02d}"


def size(count: float) -> str:
    """Write a number of bytes in decimal units."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def one_line(text: str) -> str:
    """Keep foreign text, such as a title or a file's name, to one line without terminal codes."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def clean(text: str) -> str:
    """Return text that any terminal and JSON reader takes: no control characters, no undecodable bytes."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
