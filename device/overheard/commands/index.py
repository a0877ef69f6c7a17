"""`overheard index`: fingerprints folders of music into a pack."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from overheard.errors import SettingsError
from overheard.process import stop_on_signals
from overheard.settings import Settings
from overheard.text import one_line, short_clock, size

if TYPE_CHECKING:
    from overheard.index.report import IndexReport, Progress

DONE, NOTHING_INDEXED, INTERRUPTED = 0, 2, 130


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "index",
        help="make your music recognizable",
        description="Fingerprints the music in folders into a pack. What is in it already and unchanged is "
        "skipped, tracks of files that are gone leave it. Ctrl-C, a crash or a power cut lose at most the "
        "files being worked on: the same command goes on from there. Exit code: 0 done (files that cannot "
        "be read are listed), 2 error or nothing indexed, 130 interrupted.",
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="a folder, with all below it, or a file")
    parser.add_argument(
        "--pack", metavar="NAME", help="name of the pack (default: index.pack of the settings)"
    )
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="files worked on at once (default: one for each processor)"
    )
    parser.add_argument(
        "--compact",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="half the bytes, for markedly fewer recognitions (default: index.compact of the settings)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object at the end")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Index, and say what came of it."""
    from overheard.catalogue.pack import PACK_SUFFIX
    from overheard.index.run import index
    from overheard.index.worker import ModelFingerprinter

    name = pack_name(args.pack if args.pack is not None else settings.index.pack)
    jobs = args.jobs if args.jobs is not None else settings.index.jobs
    if jobs < 0:
        raise SettingsError("--jobs must not be negative")
    compact = args.compact if args.compact is not None else settings.index.compact
    make = functools.partial(ModelFingerprinter, settings.model_path, compact)
    stop_event = threading.Event()
    with stop_on_signals(stop_event), progress_bar() as progress:
        path = settings.packs_dir / f"{name}{PACK_SUFFIX}"
        report = index(args.folders, path, make, jobs or processors(), progress, stop_event.is_set)
    if args.json:
        print(json.dumps(to_json(report)))
    for line in problems(report):
        print(line, file=sys.stderr)
    if not args.json:
        print("\n".join(to_text(report)))
    if report.interrupted:
        print("overheard: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return DONE if report.tracks else NOTHING_INDEXED


def pack_name(name: str) -> str:
    """Return the name if a file can have it. Raises SettingsError."""
    name = name.removesuffix(".pack")
    if not name or name.startswith(".") or any(c in '/\\:*?"<>|' or not c.isprintable() for c in name):
        raise SettingsError(f"{one_line(name) or '(empty)'} cannot name a pack: use letters, digits, - and _")
    return name


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def to_json(report: IndexReport) -> dict[str, Any]:
    """Return what `--json` prints."""
    values = dataclasses.asdict(report)
    values["pack"] = report.pack.stem
    values["path"] = str(report.pack)
    values["failed"] = [{"path": path, "reason": reason} for path, reason in report.failed]
    values["times_real_time"] = round(report.times_real_time, 1)
    values["bytes_per_track"] = round(report.bytes_per_track, 1)
    values["bytes_per_minute"] = round(report.bytes_per_minute, 1)
    for key in ("duration_s", "audio_s", "elapsed_s"):
        values[key] = round(values[key], 3)
    return values


def problems(report: IndexReport) -> list[str]:
    """List notes and the files that could not be indexed, each with the reason."""
    lines = [f"note: {one_line(note)}" for note in report.notes]
    if report.failed:
        lines.append(f"{_count(len(report.failed), 'file')} not indexed:")
        lines += [f"  {one_line(path)}: {one_line(reason)}" for path, reason in report.failed]
    return lines


def to_text(report: IndexReport) -> list[str]:
    """Summarize for people."""
    changes = [
        f"{number} {what}"
        for number, what in (
            (report.added, "new"),
            (report.updated, "changed"),
            (report.unchanged, "unchanged"),
            (report.removed, "gone"),
            (report.duplicates, "duplicate" if report.duplicates == 1 else "duplicates"),
        )
        if number
    ]
    name, length = one_line(report.pack.stem), _length(report.duration_s)
    lines = [
        f"{name}: {_count(report.tracks, 'track')}, {length}"
        + (f" ({', '.join(changes)})" if changes else "")
    ]
    if report.audio_s:
        lines.append(
            f"fingerprinted {_length(report.audio_s)} in {short_clock(report.elapsed_s)}, "
            f"{report.times_real_time:.0f} x real time"
        )
    if report.tracks:
        lines.append(
            f"{size(report.pack_bytes)}: {report.bytes_per_track:.0f} bytes a track, "
            f"{report.bytes_per_minute:.0f} a minute; {one_line(str(report.pack))}"
        )
    return lines


def _length(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None] | None]:
    """Yield what draws a bar on standard error, or nothing when that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        # Over minutes, since files differ much in how fast they decode.
        TimeRemainingColumn(elapsed_when_finished=False),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=300, transient=True) as bar:
        task = bar.add_task("looking", total=None)

        def show(state: Any) -> None:
            failed = f", {state.failed} not readable" if state.failed else ""
            description = f"{state.done}/{state.total} files{failed}"
            # Of no bytes at all nothing is left to do.
            bar.update(
                task, description=description, completed=state.bytes_done, total=state.bytes_total or 1
            )

        yield show
