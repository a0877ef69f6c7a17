"""Compare the files that a pack knows with those on disk: which to fingerprint, which to forget."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path

from overheard.catalogue.track_list import TrackEntry
from overheard.index.audio_file import start_of
from overheard.index.cue_files import Facts
from overheard.index.scan import Problems, absolute, scan_files


@dataclasses.dataclass(slots=True)
class KnownFile:
    """What is known of an indexed file, without fingerprints: there may be 100,000 in memory."""

    size: int  # bytes, with its cue sheet
    mtime_ns: int
    ids: tuple[str, ...]  # of its tracks: several if it has a cue sheet
    audio_hash: str = ""  # empty if unknown

    @property
    def facts(self) -> Facts:
        """Size and modification time."""
        return self.size, self.mtime_ns


Files = dict[str, KnownFile]  # by path


@dataclasses.dataclass(frozen=True)
class ScannedFiles:
    """Audio files in the folders to index."""

    roots: tuple[str, ...]  # the folders to index, absolute
    files: Mapping[str, Facts]  # path: (size in bytes, mtime_ns)
    unreadable: tuple[str, ...]  # subfolders that could not be listed

    @classmethod
    def of(cls, folders: Iterable[str | os.PathLike[str]]) -> tuple[ScannedFiles, Problems]:
        """List the files in folders; also return the (path, reason) of unreadable subfolders."""
        folders = list(folders)
        files, problems = scan_files(folders)
        roots = tuple(str(absolute(folder)) for folder in folders)
        return cls(roots, files, tuple(folder for folder, _ in problems)), problems

    @cached_property
    def empty_roots(self) -> list[str]:
        """Folders to index that contain no audio file; they may be drives that are not mounted."""
        return [root for root in self.roots if not any(_inside(path, root) for path in self.files)]

    def covers(self, path: str) -> bool:
        """Return whether this scan would have listed a file if it existed.

        Files outside the scanned folders, in unreadable subfolders or on an unmounted drive may exist unseen.
        """
        not_scanned = (*self.unreadable, *self.empty_roots)
        return any(_inside(path, root) for root in self.roots) and not any(
            _inside(path, folder) for folder in not_scanned
        )


def one_per_fingerprint(entries: Iterable[TrackEntry]) -> list[TrackEntry]:
    """Make files with equal fingerprints one track.

    Otherwise each would be the other's runner-up in search, and matches would have no margin.
    """
    copies: dict[str, list[TrackEntry]] = {}
    for entry in sorted(entries, key=place_of):
        copies.setdefault(entry.id, []).append(entry)
    return [
        dataclasses.replace(first, also=tuple((copy.path, copy.size, copy.mtime_ns) for copy in others))
        for first, *others in copies.values()
    ]


def place_of(entry: TrackEntry) -> tuple[bytes, float]:
    """Return what tracks are sorted by: path and, in a file with several tracks, start."""
    return os.fsencode(entry.path), start_of(entry)


def is_current(known: KnownFile | None, facts: Facts) -> bool:
    """Return whether a file is unchanged since it was fingerprinted."""
    return known is not None and known.facts == facts


def files_to_fingerprint(scanned: ScannedFiles, known: Mapping[str, KnownFile]) -> list[Path]:
    """Return new and changed files, the largest first, so that all workers finish at about the same time."""
    files = scanned.files
    paths = [path for path, facts in files.items() if not is_current(known.get(path), facts)]
    return [Path(path) for path in sorted(paths, key=lambda path: files[path][0], reverse=True)]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What becomes of known files that were not seen."""

    missing: tuple[str, ...] = ()  # their tracks are kept
    moved: tuple[str, ...] = ()  # former paths of files that have a new path
    removed: tuple[str, ...] = ()  # dropped because the user asked for it, or another path leads to the file

    @property
    def dropped(self) -> frozenset[str]:
        """Paths to forget."""
        return frozenset((*self.moved, *self.removed))


def plan_unseen(files: Files, scanned: ScannedFiles, new: Collection[str], prune: bool) -> Plan:
    """Choose which files to forget.

    A file that was not seen may be on a drive that is not mounted, so it is kept unless the user asks to
    remove such files. It is dropped without being asked only if its audio is in the pack under a new path.

    Parameters
    ----------
    files : all known files, old and new
    scanned : the files that were seen
    new : paths that were not in the old pack
    prune : whether to drop the files that do not exist
    """
    unseen = [path for path in files if path not in scanned.files and scanned.covers(path)]
    if not unseen:
        return Plan()
    absent = {path for path in unseen if _is_absent(path)}
    moved = _moved(sorted(absent), files, new)
    dropped = moved | _reached_otherwise(set(unseen) - absent, files, scanned)
    if prune:
        dropped |= absent
    return Plan(
        missing=tuple(path for path in unseen if path not in dropped),
        moved=tuple(sorted(moved)),
        removed=tuple(sorted(dropped - moved)),
    )


def _reached_otherwise(paths: Collection[str], files: Files, scanned: ScannedFiles) -> set[str]:
    """Return the paths of files that are in the pack under another path, because of symbolic links."""
    if not paths:
        return set()
    seen = {os.path.realpath(path) for path in scanned.files if path in files}
    return {path for path in paths if os.path.realpath(path) in seen}


def _moved(absent: Iterable[str], files: Files, new: Collection[str]) -> set[str]:
    """Return the absent files that are now at a new path: one for each new file with the same audio."""
    free = Counter(files[path].audio_hash for path in new if path in files)
    del free[""]
    moved = set()
    for path in absent:
        audio_hash = files[path].audio_hash
        if free[audio_hash] > 0:
            free[audio_hash] -= 1
            moved.add(path)
    return moved


def _is_absent(path: str) -> bool:
    """Return whether there certainly is no such file; False if the file system does not answer."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
