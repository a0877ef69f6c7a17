"""Compare a pack's tracks with the files on disk: which files to fingerprint, which entries to keep."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from overheard.catalogue.track_list import TrackEntry
from overheard.index.scan import absolute

Entries = dict[str, TrackEntry]  # by file path, one entry per file


@dataclasses.dataclass(frozen=True)
class ScannedFiles:
    """Audio files in the folders to index."""

    roots: tuple[str, ...]  # the folders to index, absolute
    files: Mapping[str, tuple[int, int]]  # path: (size in bytes, mtime_ns)
    unreadable: tuple[str, ...]  # subfolders that could not be listed

    @classmethod
    def of(
        cls, folders: Iterable[str | os.PathLike[str]], paths: Iterable[Path], unreadable: Iterable[str]
    ) -> ScannedFiles:
        """Read size and modification time of each file; (0, 0) if that fails: decoding reports the reason."""
        roots = tuple(str(absolute(folder)) for folder in folders)
        return cls(roots, {str(path): _size_and_mtime(path) for path in paths}, tuple(unreadable))

    @cached_property
    def empty_roots(self) -> list[str]:
        """Folders to index that contain no audio file; they may be drives that are not mounted."""
        return [root for root in self.roots if not any(_inside(path, root) for path in self.files)]

    def covers(self, path: str) -> bool:
        """Return whether this scan would have listed a file if it existed.

        A scan cannot tell whether files outside its folders, in unreadable subfolders or on an unmounted
        drive exist.
        """
        not_scanned = (*self.unreadable, *self.empty_roots)
        return any(_inside(path, root) for root in self.roots) and not any(
            _inside(path, folder) for folder in not_scanned
        )


def one_per_file(tracks: Iterable[TrackEntry]) -> Entries:
    """Return one entry per file, also for files that share a fingerprint."""
    entries: Entries = {}
    for track in tracks:
        for path, size, mtime_ns in ((track.path, track.size, track.mtime_ns), *track.also):
            entries[path] = dataclasses.replace(track, path=path, size=size, mtime_ns=mtime_ns, also=())
    return entries


def one_per_fingerprint(entries: Entries) -> list[TrackEntry]:
    """Undo :func:`one_per_file`.

    Files with equal fingerprints become one track: otherwise each would be the other's runner-up in search,
    and matches would have no margin.
    """
    copies: dict[str, list[TrackEntry]] = {}
    for path in sorted(entries, key=os.fsencode):
        copies.setdefault(entries[path].id, []).append(entries[path])
    return [
        dataclasses.replace(first, also=tuple((copy.path, copy.size, copy.mtime_ns) for copy in others))
        for first, *others in copies.values()
    ]


def is_current(entry: TrackEntry | None, size_and_mtime: tuple[int, int]) -> bool:
    """Return whether a file is unchanged since it was fingerprinted."""
    return entry is not None and (entry.size, entry.mtime_ns) == size_and_mtime


def files_to_fingerprint(scanned: ScannedFiles, known: Entries) -> list[Path]:
    """Return new and changed files, the largest first, so that all workers finish at about the same time."""
    files = scanned.files
    paths = [path for path, facts in files.items() if not is_current(known.get(path), facts)]
    return [Path(path) for path in sorted(paths, key=lambda path: files[path][0], reverse=True)]


def entries_to_keep(entries: Entries, scanned: ScannedFiles, failed: Sequence[str]) -> Entries:
    """Return the entries for the new pack: all except deleted files and files that failed."""
    unreadable = set(failed)
    return {
        path: entry
        for path, entry in entries.items()
        if path not in unreadable and (path in scanned.files or not scanned.covers(path))
    }


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _size_and_mtime(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
