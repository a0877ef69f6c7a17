"""`overheard resume`: end the pause of a running `overheard listen`."""

from __future__ import annotations

import argparse

from overheard.settings import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    subparsers.add_parser(
        "resume",
        help="listen again after a pause",
        description="End the pause of a running `overheard listen`. During quiet hours, it listens until "
        "the next quiet hours begin.",
        epilog="example: overheard resume",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Send the request."""
    from overheard.live.address import socket_path
    from overheard.live.client import LiveClient

    with LiveClient(socket_path(settings)) as client:
        client.request({"do": "resume"})
    print("listening")
    return 0
