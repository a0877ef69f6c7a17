"""`overheard index`: fingerprint folders of music into a pack."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

from overheard.commands.arguments import whole_number
from overheard.commands.progress import progress_bar
from overheard.errors import AudioError, PackError
from overheard.process import lower_priority, processors, stop_on_signals, tell
from overheard.settings import Settings
from overheard.text import length, one_line, plural, short_clock, size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from overheard.index.report import IndexReport

DONE, NOTHING_INDEXED, INTERRUPTED = 0, 2, 130


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "index",
        help="fingerprint your music, so that overheard can identify it",
        description="Fingerprint the music in folders and save the fingerprints to a pack. Run the same "
        "command again after your collection changes: files with unchanged audio are skipped. Tracks whose "
        "files are missing stay in the pack, because a drive may not be mounted; --prune removes them. You "
        "can interrupt the command with Ctrl-C and continue later. Exit code: 0 done (unreadable files are "
        "listed), 2 error or nothing indexed, 130 interrupted.",
        epilog="example: overheard index ~/Music",
    )
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="a folder, searched with its subfolders, or a file"
    )
    parser.add_argument(
        "--pack", metavar="NAME", help="name of the pack (default: music, or the setting index.pack)"
    )
    parser.add_argument(
        "--jobs",
        type=whole_number(1024),
        metavar="N",
        help="files to process in parallel (default: one per processor; with --watch, 1)",
    )
    parser.add_argument(
        "--compact",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="half the size, lower accuracy (default: the setting index.compact)",
    )
    _add_flags(parser)


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prune", action="store_true", help="remove the tracks of files that do not exist any more"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="keep running, with low priority, and index files that are added or changed; stop with Ctrl-C",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one JSON object at the end; with --watch, after each change",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Index the folders and print a report."""
    from overheard.catalogue.names import valid_pack_name
    from overheard.catalogue.pack import PACK_SUFFIX
    from overheard.fingerprint.model_choice import model_path, warn_of_removal
    from overheard.index.pool import check_jobs
    from overheard.index.run import index
    from overheard.index.worker import ModelFingerprinter

    name = valid_pack_name(args.pack if args.pack is not None else settings.index.pack)
    jobs = args.jobs if args.jobs is not None else settings.index.jobs
    check_jobs(jobs)
    compact = args.compact if args.compact is not None else settings.index.compact
    path = settings.packs_dir / f"{name}{PACK_SUFFIX}"
    check_shipped(path)
    manifest = model_path(settings)
    warn_of_removal(manifest)
    make = functools.partial(ModelFingerprinter, manifest, compact)
    is_first = not any(settings.packs_dir.glob(f"*{PACK_SUFFIX}"))
    stop_event = threading.Event()

    def update(jobs: int) -> IndexReport:
        with progress_bar() as progress:
            return index(args.folders, path, make, jobs, progress, stop_event.is_set, args.prune)

    with stop_on_signals(stop_event):
        if args.watch:
            return watch(args, settings, update, jobs or 1, stop_event)
        report = update(jobs or processors())
    show(report, args.json, problems(report))
    if is_first and report.tracks:
        tell_about_starter(settings)
    if report.interrupted:
        print("overheard: interrupted; to continue, run the same command again", file=sys.stderr)
        return INTERRUPTED
    return DONE if report.tracks else NOTHING_INDEXED


def show(report: IndexReport, as_json: bool, lines: Sequence[str]) -> None:
    """Print a report, and its problems on standard error."""
    if as_json:
        print(json.dumps(to_json(report)))
    for line in lines:
        print(line, file=sys.stderr)
    if not as_json:
        print("\n".join(to_text(report)))
    sys.stdout.flush()


def watch(
    args: argparse.Namespace,
    settings: Settings,
    update: Callable[[int], IndexReport],
    jobs: int,
    stop_event: threading.Event,
) -> int:
    """Index, and again after each change, until stopped."""
    from overheard.index.follow import Changes

    lower_priority()
    shown: set[str] = set()  # problems, each of which is shown once
    with Changes(args.folders, settings.index.quiet_s, settings.index.poll_s) as changes:
        report: IndexReport | None = update(jobs)
        while True:
            if report is not None:
                lines = [line for line in problems(report) if line not in shown]
                shown.update(lines)
                if is_news(report) or lines:
                    show(report, args.json, lines)
            if not changes.wait(stop_event):
                return DONE
            try:
                report = update(jobs)
            except (AudioError, PackError) as error:  # such as a share that is not mounted now
                tell(f"overheard: {one_line(str(error))}")
                report = None
                changes.retry()


def is_news(report: IndexReport) -> bool:
    """Return whether a run changed the pack."""
    return bool(report.added or report.updated or report.moved or report.removed)


def tell_about_starter(settings: Settings) -> None:
    """Say once, after the first pack was made, that the starter pack is not searched any more."""
    from overheard.catalogue.selection import enabled_packs, pack_paths, shipped_packs_dir

    if settings.packs:
        return
    enabled = enabled_packs(settings)
    for name, path in pack_paths(settings).items():
        if path.parent == shipped_packs_dir() and name not in enabled:
            tell(
                f"overheard: from now on your own music is searched, and the {name} pack is not; to search "
                f"both: overheard packs enable {name}"
            )


def check_shipped(path: Path) -> None:
    """Refuse to create a pack that would hide a pack that ships with overheard; warn if it already exists.

    Raises
    ------
    PackError
        If a shipped pack has the name of the new pack.
    """
    from overheard.catalogue.selection import shipped_packs_dir

    if not (shipped_packs_dir() / path.name).exists():
        return
    if not path.exists():
        problem = f"a pack named {path.stem} ships with overheard, and yours would hide it"
        raise PackError(problem, "choose another name with --pack or the setting index.pack")
    tell(f"overheard: your pack {one_line(path.stem)} hides the pack of this name that ships with overheard")


def to_json(report: IndexReport) -> dict[str, Any]:
    """Return the JSON object of a report."""
    values = dataclasses.asdict(report)
    values["pack"] = report.pack.stem
    values["path"] = str(report.pack)
    values["warnings"] = [{"path": path, "reason": reason} for path, reason in report.warnings]
    values["failed"] = [{"path": path, "reason": reason} for path, reason in report.failed]
    values["times_real_time"] = round(report.times_real_time, 1)
    values["bytes_per_track"] = round(report.bytes_per_track, 1)
    values["bytes_per_minute"] = round(report.bytes_per_minute, 1)
    for key in ("duration_s", "audio_s", "elapsed_s"):
        values[key] = round(values[key], 3)
    return values


def problems(report: IndexReport) -> list[str]:
    """Format the notes, the damaged files, and the files that could not be indexed, with their reasons."""
    lines = [f"note: {one_line(note)}" for note in report.notes]
    lines += [f"warning: {one_line(path)}: {one_line(reason)}" for path, reason in report.warnings]
    if report.failed:
        lines.append(f"{plural(len(report.failed), 'file')} could not be indexed:")
        lines += [f"  {one_line(path)}: {one_line(reason)}" for path, reason in report.failed]
    return lines


def to_text(report: IndexReport) -> list[str]:
    """Format a report for people."""
    changes = [
        f"{number} {label}"
        for number, label in (
            (report.added, "new"),
            (report.updated, "changed"),
            (report.moved, "moved"),
            (report.unchanged, "unchanged"),
            (report.missing, "missing"),
            (report.removed, "removed"),
            (report.duplicates, "duplicate" if report.duplicates == 1 else "duplicates"),
        )
        if number
    ]
    contents = f"{plural(report.tracks, 'track')}, {length(report.duration_s)}"
    lines = [f"{one_line(report.pack.stem)}: {contents}" + (f" ({', '.join(changes)})" if changes else "")]
    if report.audio_s:
        lines.append(
            f"fingerprinted {length(report.audio_s)} of audio in {short_clock(report.elapsed_s)}, "
            f"{report.times_real_time:.0f} x real time"
        )
    if report.tracks:
        lines.append(
            f"{size(report.pack_bytes)}: {report.bytes_per_track:.0f} bytes per track, "
            f"{report.bytes_per_minute:.0f} per minute; {one_line(str(report.pack))}"
        )
    return lines
