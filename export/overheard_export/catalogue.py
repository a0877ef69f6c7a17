"""Convert folders of audio to a pack to share, with relative paths and credits."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.pack_write import creation_time
from overheard.catalogue.track_list import TrackEntry
from overheard.commands.progress import progress_bar
from overheard.errors import AudioError, PackError
from overheard.index.plan import one_per_fingerprint
from overheard.index.pool import check_jobs, fingerprint_files
from overheard.index.report import Progress
from overheard.index.run import make_folder
from overheard.index.scan import file_size, scan_audio
from overheard.index.worker import Fingerprinter, ModelFingerprinter
from overheard.process import processors
from overheard.text import one_line, size

Credits = Mapping[str, Mapping[str, str]]  # by path, relative to the CSV file's folder
COLUMNS = ("path", "title", "artist", "album", "licence", "source")


@dataclasses.dataclass(frozen=True)
class Built:
    """The tracks of a pack, and the files that are not in it."""

    entries: list[TrackEntry]
    left_out: list[tuple[str, str]]  # path and reason


def read_credits(path: Path) -> Credits:
    """Read a CSV file with a column ``path`` and any of title, artist, album, licence and source.

    Raises
    ------
    PackError
        The file cannot be read, or it has no column ``path``.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PackError(f"{path} cannot be read ({error})") from error
    if not rows or "path" not in rows[0]:
        raise PackError(f"{path} has no column 'path'", f"its columns are {', '.join(COLUMNS)}")
    return {row["path"]: {name: (row.get(name) or "").strip() for name in COLUMNS} for row in rows}


def build(
    folders: Sequence[Path],
    make: Callable[[], Fingerprinter],
    jobs: int,
    root: Path | None = None,
    credits: Credits | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Built:
    """Fingerprint folders for a pack.

    Parameters
    ----------
    folders : to scan for audio files
    make, jobs : see :func:`overheard.index.run.index`
    root : folder that the pack's paths are relative to; None means the folders' common parent
    credits : take precedence over the files' tags; files without a row are left out
    progress : called after each file

    Raises
    ------
    AudioError
        A folder does not exist or is outside `root`.
    """
    paths, left_out = scan_audio(folders)
    root = (root or common_root(folders)).resolve()
    names = {path: relative(path, root) for path in paths}
    if credits is not None:
        left_out += [
            (str(path), "it has no row in the credits") for path in paths if names[path] not in credits
        ]
        paths = [path for path in paths if names[path] in credits]
    fingerprinted, failed = _fingerprint(paths, make, jobs, len(left_out), progress)
    credits = credits or {}
    entries = [credited(entry, names[path], credits.get(names[path], {})) for path, entry in fingerprinted]
    return Built(one_per_fingerprint({entry.path: entry for entry in entries}), sorted(left_out + failed))


def _fingerprint(
    paths: Sequence[Path],
    make: Callable[[], Fingerprinter],
    jobs: int,
    n_left_out: int,
    progress: Callable[[Progress], None] | None,
) -> tuple[list[tuple[Path, TrackEntry]], list[tuple[str, str]]]:
    """Return the entries of the files, and the files that cannot be fingerprinted with the reason."""
    entries: list[tuple[Path, TrackEntry]] = []
    failed: list[tuple[str, str]] = []
    sizes, audio_s = {path: file_size(path) for path in paths}, 0.0
    total, bytes_done = sum(sizes.values()), 0
    for done, outcome in enumerate(fingerprint_files(paths, make, jobs, lambda: False), 1):
        if outcome.entry is None:
            failed.append((str(outcome.path), outcome.reason))
        else:
            entries.append((outcome.path, outcome.entry))
            audio_s += outcome.entry.duration_s
        bytes_done += sizes[outcome.path]
        if progress is not None:
            n_failed = n_left_out + len(failed)
            progress(Progress(done, len(paths), bytes_done, total, audio_s, n_failed, str(outcome.path)))
    return entries, failed


def credited(entry: TrackEntry, name: str, credit: Mapping[str, str]) -> TrackEntry:
    """Return the entry with its relative path and the credits that are not empty."""
    # Size and time show the owner of a file whether it changed. Others do not need them.
    return dataclasses.replace(
        entry,
        title=credit.get("title") or entry.title,
        artist=credit.get("artist") or entry.artist,
        album=credit.get("album") or entry.album,
        path=name,
        size=0,
        mtime_ns=0,
        extras={key: credit[key] for key in ("licence", "source") if credit.get(key)},
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
    root = args.credits.parent if args.credits else None
    make = functools.partial(ModelFingerprinter, args.model, args.compact)
    fingerprinter = make()
    make_folder(args.pack)
    with progress_bar() as progress:
        built = build(args.folders, make, args.jobs or processors(), root, credits, progress)
    for path, reason in built.left_out:
        print(f"left out: {one_line(path)}: {one_line(reason)}", file=sys.stderr)
    if not built.entries:
        raise AudioError("no file could be fingerprinted, and no pack was written")
    width = fingerprinter.code_bytes
    write_pack(args.pack, args.pack.stem, fingerprinter.digest, fingerprinter.spec, built.entries, width)
    pack = open_pack(args.pack, fingerprinter.digest)
    rate = pack.bytes / (pack.hours * 60)
    facts = f"{len(pack.tracks):,} tracks, {pack.hours:.1f} hours, {size(pack.bytes)}"
    print(f"{one_line(str(args.pack))}: {facts}, {rate:.0f} bytes per minute")
    return 1 if built.left_out else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``overheard-export catalogue``."""
    built = argparse.ArgumentParser(
        prog="overheard-export catalogue",
        description="Convert folders of audio to a pack to share. It contains relative paths "
        "and nothing about your machine.",
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
    built.add_argument("--jobs", type=int, default=0, metavar="N", help="processes (default: one per core)")
    return built
