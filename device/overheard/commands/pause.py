"""`overheard pause`: pause a running `overheard listen`."""

from __future__ import annotations

import argparse
import re

from overheard.settings import Settings
from overheard.text import shorten

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOST_S = 366 * 86400


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "pause",
        help="stop listening for a while",
        description="Pause a running `overheard listen` of the same user and data folder: it closes the "
        "microphone, and ends the open play. It stays paused until `overheard resume`, or for a time.",
        epilog="example: overheard pause --for 30m",
    )
    parser.add_argument(
        "--for", dest="for_s", type=seconds, metavar="TIME", help="resume after this time: 45s, 30m, 2h or 1d"
    )


def seconds(text: str) -> float:
    """Convert a span of time such as ``30m`` to seconds."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text.strip().lower())
    value = int(match[1]) * _UNITS_S[match[2]] if match else 0
    if not 0 < value <= _MOST_S:
        raise argparse.ArgumentTypeError(
            f"must be a time such as 45s, 30m, 2h or 1d, not {shorten(text, 30)}"
        )
    return value


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Send the request."""
    from overheard.live.address import socket_path
    from overheard.live.client import LiveClient

    with LiveClient(socket_path(settings)) as client:
        client.request({"do": "pause", "for_s": args.for_s})
    print("paused; `overheard resume` ends the pause" if args.for_s is None else "paused")
    return 0
