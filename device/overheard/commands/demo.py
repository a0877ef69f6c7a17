"""`overheard demo`: index synthesized music, and recognize it in a simulated evening in a cafe."""

from __future__ import annotations

import argparse

from overheard.commands.arguments import whole_number
from overheard.settings import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="try overheard without a microphone or music of your own",
        description="Synthesize twelve pieces of music, index eleven of them, and listen to a simulated "
        "evening in a cafe, where excerpts play among talk and clatter. Your own packs and history are not "
        "touched. Exit code: 0 if at least 90% of the indexed pieces are recognized without a false "
        "positive, else 1.",
        epilog="example: overheard demo --realtime",
    )
    parser.add_argument("--realtime", action="store_true", help="play the evening at normal speed")
    parser.add_argument(
        "--seed",
        type=whole_number(),
        default=7,
        metavar="N",
        help="simulate another evening (default: %(default)s)",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the demonstration."""
    from overheard.demo.run import run_demo

    return run_demo(settings, args.seed, args.realtime)
