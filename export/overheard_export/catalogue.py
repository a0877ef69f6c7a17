"""Convert folders of audio to a pack to share, with relative paths and credits."""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import functools
import io
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.pack_write import creation_time
from overheard.catalogue.track_list import TrackEntry
from overheard.commands.progress import progress_bar
from overheard.errors import AudioError, PackError
from overheard.files import read_regular
from overheard.index.audio_file import START
from overheard.index.index_plan import ScannedFiles, files_to_fingerprint, is_current, one_per_fingerprint
from overheard.index.journal import Journal
from overheard.index.journal_row import SavedTrack
from overheard.index.pack_on_disk import known_file
from overheard.index.pool import OpenWorkers, check_jobs, fingerprint_with, local_workers
from overheard.index.report import Progress
from overheard.index.run import make_folder
from overheard.index.scan import absolute, file_size
from overheard.index.worker import Fingerprinter, ModelFingerprinter
from overheard.process import processors, stop_on_signals
from overheard.text import one_line, size
from overheard_export.cluster import add_executor_option, cluster_workers

Credits = Mapping[str, Mapping[str, str]]  # by path, relative to the CSV file's folder
MAX_CREDITS_BYTES = 1 << 28  # a million tracks
COLUMNS = ("path", "title", "artist", "album", "licence", "source")
INTERRUPTED = 130
KEPT = (
    "note: {} keeps the fingerprints, so that the same command only processes the files that failed; "
    "you may delete it"
)


@dataclasses.dataclass(frozen=True)
class Selected:
    """Audio files for a pack.

    Attributes
    ----------
    scanned : the files
    names : the path in the pack of each file
    left_out : path and reason of the others
    """

    scanned: ScannedFiles
    names: Mapping[str, str]
    left_out: list[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Fingerprinted:
    """Tracks of the files that have a fingerprint, path and reason of the others."""

    tracks: Mapping[str, Sequence[TrackEntry]]
    failed: list[tuple[str, str]]
    interrupted: bool


def read_credits(path: Path) -> Credits:
    """Read a CSV file with a column ``path`` and any of title, artist, album, licence and source.

    Raises
    ------
    PackError
        The file cannot be read, or it has no column ``path``.
    """
    try:
        text = read_regular(path, MAX_CREDITS_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PackError(f"{path} cannot be read ({error})") from error
    if not rows or "path" not in rows[0]:
        raise PackError(f"{path} has no column 'path'", f"its columns are {', '.join(COLUMNS)}")
    return {row["path"]: {name: (row.get(name) or "").strip() for name in COLUMNS} for row in rows}


def select(folders: Sequence[Path], root: Path | None = None, credits: Credits | None = None) -> Selected:
    """Find the files for a pack.

    Parameters
    ----------
    folders : to scan for audio files
    root : folder that the pack's paths are relative to; None means the folders' common parent
    credits : files without a row are left out; None selects all files

    Raises
    ------
    AudioError
        A folder does not exist or is outside `root`.
    """
    scanned, left_out = ScannedFiles.of(folders)
    root = (root or common_root(folders)).resolve()
    names = {path: relative(Path(path), root) for path in scanned.files}
    if credits is not None:
        left_out += [
            (path, "it has no row in the credits") for path, name in names.items() if name not in credits
        ]
        names = {path: name for path, name in names.items() if name in credits}
        files = {path: scanned.files[path] for path in names}
        scanned = dataclasses.replace(scanned, files=files)
    return Selected(scanned, names, left_out)


def fingerprint(
    selected: Selected,
    journal: Journal,
    open_workers: OpenWorkers,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Progress], None] | None = None,
    network: str = "",
) -> Fingerprinted:
    """Fingerprint the selected files that are not in the journal, or have changed since; save each in it.

    Parameters
    ----------
    stop : polled several times a second; if true, the files in progress are abandoned
    progress : called after each file
    network : ``Model.network_digest`` of the network that the workers have
    """
    files = selected.scanned.files
    saved = {path: known_file(tracks) for path, tracks in _saved(journal).items()}
    todo = files_to_fingerprint(selected.scanned, saved)
    sizes = {path: file_size(path) for path in todo}
    failed, audio_s, bytes_done, done = list[tuple[str, str]](), 0.0, 0, 0
    with closing(fingerprint_with(open_workers, todo, stop)) as outcomes:
        for done, outcome in enumerate(outcomes, 1):
            if outcome.entry is None:
                failed.append((str(outcome.path), outcome.reason))
            else:
                tracks = (outcome.entry, *outcome.others)
                journal.add(tracks, outcome.audio_hash, network)
                audio_s += sum(track.duration_s for track in tracks)
            bytes_done += sizes[outcome.path]
            if progress is not None:
                n_failed = len(selected.left_out) + len(failed)
                total = sum(sizes.values())
                progress(Progress(done, len(todo), bytes_done, total, audio_s, n_failed, str(outcome.path)))
    current = {
        path: [track.entry for track in tracks]
        for path, tracks in _saved(journal).items()
        if path in files and is_current(known_file(tracks), files[path])
    }
    return Fingerprinted(current, sorted(failed), done < len(todo))


def _saved(journal: Journal) -> dict[str, list[SavedTrack]]:
    """Return the tracks in the journal by path: several if the file has a cue sheet."""
    saved: dict[str, list[SavedTrack]] = {}
    for track in journal.tracks():
        saved.setdefault(track.entry.path, []).append(track)
    return saved


def credited(entry: TrackEntry, name: str, credit: Mapping[str, str]) -> TrackEntry:
    """Return the entry with its relative path and the credits that are not empty."""
    extras = {START: entry.extras[START]} if START in entry.extras else {}
    extras |= {key: credit[key] for key in ("licence", "source") if credit.get(key)}
    # Size and time show the owner of a file whether it changed. Others do not need them.
    return dataclasses.replace(
        entry,
        title=credit.get("title") or entry.title,
        artist=credit.get("artist") or entry.artist,
        album=credit.get("album") or entry.album,
        path=name,
        size=0,
        mtime_ns=0,
        extras=extras,
    )


def common_root(folders: Sequence[Path]) -> Path:
    """Return the deepest folder that contains all of the folders."""
    first = folders[0].resolve()
    shared = first if first.is_dir() else first.parent
    while not all(folder.resolve().is_relative_to(shared) for folder in folders):
        shared = shared.parent
    return shared


def relative(path: Path, root: Path) -> str:
    """Return the path relative to `root`, with forward slashes. Raises AudioError if it is outside `root`."""
    for candidate in (path, path.parent.resolve() / path.name):
        if candidate.is_relative_to(root):
            return candidate.relative_to(root).as_posix()
    raise AudioError(
        f"{path} is outside {root}, which contains the credits",
        "move the CSV file to a parent folder",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``overheard-export catalogue``. Returns 1 if a file was left out."""
    args = parser().parse_args(argv)
    check_jobs(args.jobs)
    creation_time()  # raises now instead of after all the work
    credits = read_credits(args.credits) if args.credits else None
    selected = select(args.folders, args.credits.parent if args.credits else None, credits)
    make = functools.partial(ModelFingerprinter, args.model and absolute(args.model), args.compact)
    fingerprinter = make()
    make_folder(args.pack)
    key = f"{fingerprinter.digest}/{fingerprinter.code_bytes}"
    journal_path = args.pack.with_name(f"{args.pack.stem}.catalogue.sqlite")
    stop_event = threading.Event()
    workers = _workers(args, make, fingerprinter.digest, stop_event.is_set)
    with stop_on_signals(stop_event), workers as open_workers, closing(Journal(journal_path, key)) as journal:
        for note in journal.notes:
            print(f"note: {one_line(note)}", file=sys.stderr)
        with progress_bar() as progress:
            network = fingerprinter.network_digest
            done = fingerprint(selected, journal, open_workers, stop_event.is_set, progress, network)
        left_out = sorted(selected.left_out + done.failed)
        for path, reason in left_out:
            print(f"left out: {one_line(path)}: {one_line(reason)}", file=sys.stderr)
        if done.interrupted:
            print("overheard-export: interrupted; to continue, run the same command again", file=sys.stderr)
            return INTERRUPTED
        entries = _credited(done.tracks, selected.names, credits or {})
        _write(args.pack, fingerprinter, entries, journal.networks)
        if done.failed:
            print(KEPT.format(one_line(journal_path.name)), file=sys.stderr)
        else:
            journal.remove()
    return 1 if left_out else 0


def _workers(
    args: argparse.Namespace, make: Callable[[], Fingerprinter], digest: str, stop: Callable[[], bool]
) -> AbstractContextManager[OpenWorkers]:
    if args.executor is None:
        return contextlib.nullcontext(local_workers(make, args.jobs or processors(), stop))
    return cluster_workers(args.executor, make, digest)


def _credited(
    tracks: Mapping[str, Sequence[TrackEntry]], names: Mapping[str, str], credits: Credits
) -> list[TrackEntry]:
    """Return the tracks of the pack: files with equal fingerprints become one."""
    found: list[TrackEntry] = []
    for path, entries in tracks.items():
        credit = dict(credits.get(names[path], {}))
        if len(entries) > 1:  # the title of the file is not that of each track of its cue sheet
            credit["title"] = ""
        found += [credited(entry, names[path], credit) for entry in entries]
    return one_per_fingerprint(found)


def _write(
    path: Path, fingerprinter: Fingerprinter, entries: Sequence[TrackEntry], networks: Collection[str]
) -> None:
    """Write the pack, and print its size."""
    if not entries:
        raise AudioError("no file could be fingerprinted, and no pack was written")
    digest, spec, width = fingerprinter.digest, fingerprinter.spec, fingerprinter.code_bytes
    write_pack(path, path.stem, digest, spec, entries, width, networks)
    pack = open_pack(path, digest)
    rate = pack.bytes / (pack.hours * 60)
    facts = f"{len(pack.tracks):,} tracks, {pack.hours:.1f} hours, {size(pack.bytes)}"
    print(f"{one_line(str(path))}: {facts}, {rate:.0f} bytes per minute")


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``overheard-export catalogue``."""
    built = argparse.ArgumentParser(
        prog="overheard-export catalogue",
        description="Convert folders of audio to a pack to share. It contains relative paths "
        "and nothing about your machine. If you interrupt it with Ctrl-C, run the same command again to "
        "continue.",
    )
    built.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folder of audio files")
    built.add_argument("--pack", type=Path, required=True, metavar="FILE.pack", help="the pack to write")
    built.add_argument(
        "--credits",
        type=Path,
        metavar="FILE.csv",
        help="CSV file with the columns path (relative to its folder), title, artist, album, licence and "
        "source; files without a row are left out",
    )
    built.add_argument(
        "--model", type=Path, metavar="FILE.json", help="manifest of a model (default: the shipped one)"
    )
    built.add_argument("--compact", action="store_true", help="half the size, lower accuracy")
    where = built.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=int, default=0, metavar="N", help="processes (default: one per core)")
    add_executor_option(where, "fingerprint", "the audio files under the same paths")
    return built
