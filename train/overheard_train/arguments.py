"""Numbers on the command line, refused with a line that says which do."""

from __future__ import annotations

import argparse


def whole_number(text: str, least: int, reason: str = "", most: int | None = None) -> int:
    """Return a whole number of at least, and perhaps at most, so much.

    Raises
    ------
    argparse.ArgumentTypeError
        The text is none.
    """
    because = f": {reason}" if reason else ""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no whole number") from None
    if number < least:
        raise argparse.ArgumentTypeError(f"{number} is not at least {least}{because}")
    if most is not None and number > most:
        raise argparse.ArgumentTypeError(f"{number} is not at most {most}{because}")
    return number


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    return whole_number(text, 1)
