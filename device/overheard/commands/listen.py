"""`overheard listen`: recognize music as it plays."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from overheard.commands.arguments import add_pack_option
from overheard.process import keep_large_arrays_apart, muted_stderr, stop_on_signals, tell
from overheard.settings import Settings
from overheard.text import one_line

if TYPE_CHECKING:
    from overheard.sinks.runner import Sink


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "listen",
        help="recognize music at the microphone, as it plays",
        description="Listen to the microphone, print each recognized track when it starts and when it ends, "
        "and save the plays to the history. Stop with Ctrl-C or SIGTERM. If the device is disconnected, "
        "overheard reports it once and retries until it is back.",
        epilog="example: overheard listen --input monitor",
    )
    parser.add_argument(
        "--input",
        metavar="SOURCE",
        help='"default": the default microphone; "monitor": what this computer plays; a device that '
        '`overheard devices` lists; an audio file; "stream:URL": a network stream; or "-": standard input, '
        "in any format that can be streamed, such as WAV, MP3, FLAC or Ogg (default: the setting "
        "listen.input)",
    )
    parser.add_argument(
        "--room",
        metavar="NAME=SOURCE",
        action="append",
        help="listen in this room; repeat it to listen in several at once, as in --room kitchen=default "
        "--room bath=pulse:NAME (default: the setting listen.rooms)",
    )
    parser.add_argument(
        "--raw",
        action="store_true",
        help="standard input is raw samples without a header: 16-bit little-endian mono at 8 kHz",
    )
    add_pack_option(parser)
    parser.add_argument("--json", action="store_true", help="print JSON lines, one object per event")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="print lines only, without level and position, also in a terminal",
    )
    parser.add_argument("--realtime", action="store_true", help="play a file at normal speed")
    parser.add_argument("--no-history", action="store_true", help="do not save plays to the history")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Listen until stopped."""
    from overheard.commands import outputs
    from overheard.commands.inputs import open_inputs
    from overheard.daemon import Monitor, Pause
    from overheard.recognize.open import open_recognizer
    from overheard.recognize.reload import watching_packs
    from overheard.recognize.unknown_store import UnknownStore
    from overheard.service.notify import notifying

    keep_large_arrays_apart()
    inputs = open_inputs(args, settings)
    stop_event = threading.Event()
    with quiet_drivers() if inputs.live and not args.verbose else contextlib.nullcontext():
        recognizer = open_recognizer(settings, args.pack)
        if settings.unknown.remember and inputs.live:
            recognizer.unknown_store = UnknownStore(
                settings.unknown_path, recognizer.model, settings.unknown.max_pieces
            )
        pause = Pause(settings.listen.quiet_hours)
        forget_unknown = outputs.unknown_forgetter(settings, recognizer)
        sinks = open_sinks(args, settings, inputs.name, forget_unknown, inputs.rooms)
        sinks += outputs.open_enabled_sinks(settings, pause, inputs.rooms)
        for text in inputs.announcements():
            tell(f"overheard: {one_line(text)}")
        with (
            watching_packs(recognizer, settings, args.pack),
            stop_on_signals(stop_event),
            notifying(sinks) as on_audio,
            clear_of_messages(sinks),
        ):
            new_listener = outputs.add_live(sinks, settings, pause, recognizer.listener, inputs.rooms)
            inputs.run(
                *(settings, sinks, stop_event, new_listener),
                pause=pause,
                monitors=[sink for sink in sinks if isinstance(sink, Monitor)],
                on_audio=on_audio,
            )
    return 0


def open_sinks(
    args: argparse.Namespace,
    settings: Settings,
    source: str,
    forget_unknown: Callable[[float], object] | None = None,
    rooms: Sequence[str] = (),
) -> list[Sink]:
    """Open the sinks that the arguments and settings ask for; `source` is the name of the only input."""
    from overheard.history.retention import RetentionSink
    from overheard.history.writer import HistorySink
    from overheard.sinks.jsonl import JsonLinesSink
    from overheard.sinks.live_view import LiveView, suits
    from overheard.sinks.terminal import TerminalSink

    sinks: list[Sink] = []
    if sys.stdout is not None:  # a service may have none
        if args.json:
            sinks.append(JsonLinesSink(sys.stdout))
        elif args.plain or not suits(sys.stdout):
            sinks.append(TerminalSink(sys.stdout))
        else:
            sinks.append(LiveView(sys.stdout, source, rooms=rooms))
    if settings.history.keep_days:  # before the history: what is printed waits for the last that stores
        sinks.append(RetentionSink(settings.history_path, settings.history.keep_days, forget_unknown))
    if settings.listen.history and not args.no_history:
        sinks.append(HistorySink(settings.history_path, source))
    return sinks


@contextlib.contextmanager
def clear_of_messages(sinks: list[Sink]) -> Iterator[None]:
    """Let a live view make room for each message of the log."""
    from overheard.sinks.live_view import LiveView

    views = [sink for sink in sinks if isinstance(sink, LiveView)]
    handlers = logging.getLogger().handlers if views else []
    for handler in handlers:
        handler.addFilter(views[0])
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(views[0])


@contextlib.contextmanager
def quiet_drivers() -> Iterator[None]:
    """Discard the messages of PortAudio and ALSA on standard error, but keep those of overheard."""
    sys.stderr.flush()
    python_stderr = sys.stderr
    handlers = [h for h in logging.getLogger().handlers if getattr(h, "stream", None) is python_stderr]
    with muted_stderr() as screen:
        if screen is None:
            yield
            return
        with open(screen, "w", buffering=1, errors="backslashreplace", closefd=False) as own:
            try:
                _redirect(own, handlers)
                yield
            finally:
                _redirect(python_stderr, handlers)


def _redirect(stream: TextIO, handlers: list[logging.Handler]) -> None:
    sys.stderr = stream
    for handler in handlers:
        handler.setStream(stream)  # type: ignore[attr-defined]
