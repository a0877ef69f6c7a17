"""Arguments, and types of arguments, that several commands share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

from overheard.errors import OverheardError
from overheard.text import shorten

MAX_NUMBER = 2**31 - 1


def whole_number(high: int = MAX_NUMBER) -> Callable[[str], int]:
    """Return a function that converts an argument to a whole number from 0 to `high`."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:  # also of more digits than Python converts
            number = -1
        if not 0 <= number <= high:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from 0 to {high}, not {shorten(text, 30)}"
            )
        return number

    return convert


def positive_number(high: float) -> Callable[[str], float]:
    """Return a function that converts an argument to a number above 0, up to `high`."""

    def convert(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not 0 < number <= high:  # nan is not
            raise argparse.ArgumentTypeError(
                f"must be a number above 0, up to {high:g}, not {shorten(text, 30)}"
            )
        return number

    return convert


def add_pack_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--pack``, which selects the packs to search."""
    parser.add_argument(
        "--pack",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="search only these packs: names or .pack files (default: the setting packs, or all enabled)",
    )


def confirmed() -> bool:
    """Ask the user for a confirmation.

    Raises
    ------
    OverheardError
        If there is nobody to ask.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise OverheardError("this needs a confirmation, but standard input is not a terminal", "add --yes")
    return input("Continue? [y/N] ").strip().lower() in ("y", "yes")
