"""`overheard listen`: names what plays, as it plays."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from overheard.commands import open_recognizer
from overheard.settings import Settings
from overheard.text import one_line

if TYPE_CHECKING:
    from overheard.capture import AudioSource
    from overheard.sinks import Sink


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "listen",
        help="name what plays, as it plays",
        description="Listens and prints each play as it starts and ends, and keeps a history, until it is "
        "stopped by Ctrl-C or SIGTERM. A microphone that is unplugged is waited for.",
    )
    parser.add_argument(
        "--input",
        metavar="SOURCE",
        help='"default"; "monitor": what this computer plays; a device as `overheard devices` lists them; '
        'a sound file; or "-": standard input, WAV or raw 16-bit mono at 8 kHz '
        "(default: the setting listen.input)",
    )
    parser.add_argument(
        "--pack", nargs="+", action="extend", metavar="NAME", help="search only these packs (default: all)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each event, one to a line")
    parser.add_argument("--realtime", action="store_true", help="read a file as fast as it would play")
    parser.add_argument("--no-history", action="store_true", help="do not write to the history")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Listen until stopped."""
    # More threads make small products slower and take memory; must be said before numpy is loaded.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from overheard.capture import open_source
    from overheard.daemon import run_listen, stop_on_signals

    source = open_source(args.input or settings.listen.input, settings, args.realtime)
    stop_event = threading.Event()
    with quiet_drivers() if source.live and not args.verbose else contextlib.nullcontext():
        recognizer = open_recognizer(settings, args.pack)
        sinks = open_sinks(args, settings, source)
        print(f"overheard: listening to {one_line(source.name)}", file=sys.stderr, flush=True)
        with stop_on_signals(stop_event):
            run_listen(settings, source, sinks, stop_event, recognizer.listener)
    return 0


def open_sinks(args: argparse.Namespace, settings: Settings, source: AudioSource) -> list[Sink]:
    """Make the sinks that flags and settings ask for."""
    from overheard.sinks.history import HistorySink
    from overheard.sinks.jsonl import JsonLinesSink
    from overheard.sinks.terminal import TerminalSink

    sinks: list[Sink] = [JsonLinesSink(sys.stdout) if args.json else TerminalSink(sys.stdout)]
    if settings.listen.history and not args.no_history:
        sinks.append(HistorySink(settings.history_path, source.name))
    return sinks


@contextlib.contextmanager
def quiet_drivers() -> Iterator[None]:
    """Keep what PortAudio and ALSA write to descriptor 2 off the screen, and what overheard says on it."""
    screen, python_stderr = os.dup(2), sys.stderr
    nothing = os.open(os.devnull, os.O_WRONLY)
    own = open(screen, "w", buffering=1, errors="backslashreplace", closefd=False)
    handlers = [h for h in logging.getLogger().handlers if getattr(h, "stream", None) is python_stderr]
    try:
        sys.stderr.flush()
        os.dup2(nothing, 2)
        sys.stderr = own
        for handler in handlers:
            handler.setStream(own)  # type: ignore[attr-defined]
        yield
    finally:
        own.flush()
        os.dup2(screen, 2)
        sys.stderr = python_stderr
        for handler in handlers:
            handler.setStream(python_stderr)  # type: ignore[attr-defined]
        os.close(nothing)
        os.close(screen)
