"""Types for argparse that check numbers and explain what is wrong with them."""

from __future__ import annotations

import argparse
import math


def bounded_int(text: str, minimum: int, maximum: int | None = None, reason: str = "") -> int:
    """Parse an integer between two limits, both inclusive.

    Parameters
    ----------
    reason : why the limits exist; the error message ends with it

    Raises
    ------
    argparse.ArgumentTypeError
        The text is not an integer, or is outside the limits.
    """
    because = f": {reason}" if reason else ""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not an integer") from None
    if number < minimum:
        raise argparse.ArgumentTypeError(f"{number} is less than {minimum}{because}")
    if maximum is not None and number > maximum:
        raise argparse.ArgumentTypeError(f"{number} is more than {maximum}{because}")
    return number


def positive_int(text: str) -> int:
    """Parse an integer of at least 1."""
    return bounded_int(text, 1)


def positive_float(text: str) -> float:
    """Parse a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def keras_seed(text: str) -> int:
    """Return a seed."""
    return bounded_int(text, 0, 2**32 - 1, "Keras accepts 32-bit seeds only")
