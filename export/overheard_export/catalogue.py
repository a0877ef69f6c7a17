"""Folders of audio to a pack to give away: relative paths, credits, no trace of the maker's machine."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.commands.index import processors, progress_bar
from overheard.errors import AudioError, PackError
from overheard.index.plan import one_per_fingerprint
from overheard.index.pool import fingerprint_files
from overheard.index.report import Progress
from overheard.index.run import make_folder
from overheard.index.scan import file_size, scan_audio
from overheard.index.worker import Fingerprinter, ModelFingerprinter
from overheard.text import one_line, size

Credits = Mapping[str, Mapping[str, str]]  # by the path relative to the CSV's folder, with forward slashes
COLUMNS = ("path", "title", "artist", "album", "licence", "source")


@dataclasses.dataclass(frozen=True)
class Built:
    """What went into a pack, and what did not."""

    entries: list[TrackEntry]
    left_out: list[tuple[str, str]]  # (path, reason)


def read_credits(path: Path) -> Credits:
    """Read a CSV with a column ``path`` and any of title, artist, album, licence and source.

    Raises
    ------
    PackError
        If it cannot be read or has no column ``path``.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PackError(f"{path}: the credits cannot be read ({error})") from error
    if not rows or "path" not in rows[0]:
        raise PackError(f"{path}: the credits need a column 'path' and one of {', '.join(COLUMNS[1:])}")
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
    folders : sequence of Path
    make, jobs : as :func:`overheard.index.run.index`
    root : Path or None
        What paths in the pack are relative to; None is the folder, or what several have in common.
    credits : Credits or None
        Win over the files' tags; given, files without a row are left out.
    progress : callable
        Gets a `Progress` after each file.

    Raises
    ------
    AudioError
        If a folder does not exist or lies outside `root`.
    """
    paths, left_out = scan_audio(folders)
    root = (root or common_root(folders)).resolve()
    names = {path: relative(path, root) for path in paths}
    if credits is not None:
        left_out += [
            (str(path), "it has no row in the credits") for path in paths if names[path] not in credits
        ]
        paths = [path for path in paths if names[path] in credits]
    entries, sizes, audio_s = [], {path: file_size(path) for path in paths}, 0.0
    total, bytes_done = sum(sizes.values()), 0
    for done, outcome in enumerate(fingerprint_files(paths, make, jobs, lambda: False), 1):
        if outcome.entry is None:
            left_out.append((str(outcome.path), outcome.reason))
        else:
            name = names[outcome.path]
            entries.append(credited(outcome.entry, name, (credits or {}).get(name, {})))
            audio_s += outcome.entry.duration_s
        bytes_done += sizes[outcome.path]
        if progress is not None:
            failed = len(left_out)
            progress(Progress(done, len(paths), bytes_done, total, audio_s, failed, str(outcome.path)))
    return Built(one_per_fingerprint({entry.path: entry for entry in entries}), sorted(left_out))


def credited(entry: TrackEntry, name: str, credit: Mapping[str, str]) -> TrackEntry:
    """Return the entry under its relative name with the credits that are not empty."""
    # Size and time tell a file's owner that it is unchanged; they mean nothing to others.
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
    """Return the folder that all of them lie in."""
    first = folders[0].resolve()
    shared = first if first.is_dir() else first.parent
    while not all(folder.resolve().is_relative_to(shared) for folder in folders):
        shared = shared.parent
    return shared


def relative(path: Path, root: Path) -> str:
    """Return the path below `root`, with forward slashes. Raises AudioError if it is elsewhere."""
    for candidate in (path, path.parent.resolve() / path.name):
        if candidate.is_relative_to(root):
            return candidate.relative_to(root).as_posix()
    raise AudioError(f"{path}: lies outside of {root}, which the credits' paths begin at")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``overheard-export catalogue``; 1 where something was left out."""
    args = parser().parse_args(argv)
    if args.jobs < 0:
        raise PackError("--jobs must not be negative")
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
        raise AudioError("nothing could be fingerprinted: no pack was written")
    width = fingerprinter.code_bytes
    write_pack(args.pack, args.pack.stem, fingerprinter.digest, fingerprinter.spec, built.entries, width)
    pack = open_pack(args.pack, fingerprinter.digest)
    rate = pack.bytes / (pack.hours * 60)
    facts = (
        f"{len(pack.tracks):,} tracks, {pack.hours:.1f} hours, {size(pack.bytes)}, {rate:.0f} bytes a minute"
    )
    print(f"{one_line(str(args.pack))}: {facts}")
    return 1 if built.left_out else 0


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``overheard-export catalogue``."""
    made = argparse.ArgumentParser(prog="overheard-export catalogue", description=__doc__)
    made.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folder of audio files")
    made.add_argument("--pack", type=Path, required=True, metavar="FILE.pack", help="the pack to write")
    made.add_argument(
        "--credits",
        type=Path,
        metavar="CSV",
        help="columns path (relative to the CSV's folder), title, artist, album, licence, source; "
        "files without a row are left out",
    )
    made.add_argument("--model", type=Path, metavar="FILE.json", help="model (default: the packaged one)")
    made.add_argument(
        "--compact", action="store_true", help="half the bytes, for markedly fewer recognitions"
    )
    made.add_argument("--jobs", type=int, default=0, metavar="N", help="files worked on at once")
    return made
