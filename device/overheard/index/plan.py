"""What indexing has to do and what stays, as pure functions of the pack's tracks and the files found."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from overheard.catalogue.track_list import TrackEntry

Entries = dict[str, TrackEntry]  # by the path of the file, one for each file


@dataclasses.dataclass(frozen=True)
class Found:
    """The audio files of the folders that were asked for."""

    roots: tuple[str, ...]  # absolute
    files: Mapping[str, tuple[int, int]]  # path to size and mtime_ns
    unreadable: tuple[str, ...]  # folders inside that could not be listed

    @classmethod
    def of(
        cls, folders: Iterable[str | os.PathLike[str]], paths: Iterable[Path], unreadable: Iterable[str]
    ) -> Found:
        """Look at each file once; one that cannot be looked at gets (0, 0), so that reading it says why."""
        roots = tuple(os.path.abspath(os.fspath(folder)) for folder in folders)
        return cls(roots, {str(path): _facts(path) for path in paths}, tuple(unreadable))

    @cached_property
    def empty_roots(self) -> list[str]:
        """Return folders without any audio file, which may be drives that are not mounted."""
        return [root for root in self.roots if not any(_inside(path, root) for path in self.files)]

    def covers(self, path: str) -> bool:
        """Tell whether a file that was not found here is gone, not just out of sight."""
        out_of_sight = (*self.unreadable, *self.empty_roots)
        return any(_inside(path, root) for root in self.roots) and not any(
            _inside(path, folder) for folder in out_of_sight
        )


def one_per_file(tracks: Iterable[TrackEntry]) -> Entries:
    """Return an entry for each file, those too that share one fingerprint."""
    entries: Entries = {}
    for track in tracks:
        for path, size, mtime_ns in ((track.path, track.size, track.mtime_ns), *track.also):
            entries[path] = dataclasses.replace(track, path=path, size=size, mtime_ns=mtime_ns, also=())
    return entries


def one_per_fingerprint(entries: Entries) -> list[TrackEntry]:
    """Undo :func:`one_per_file`: equal recordings are one track, or they would rival each other in search."""
    twins: dict[str, list[TrackEntry]] = {}
    for path in sorted(entries, key=os.fsencode):
        twins.setdefault(entries[path].id, []).append(entries[path])
    return [
        dataclasses.replace(first, also=tuple((twin.path, twin.size, twin.mtime_ns) for twin in others))
        for first, *others in twins.values()
    ]


def is_current(entry: TrackEntry | None, facts: tuple[int, int]) -> bool:
    """Tell whether a file is still the one that was fingerprinted."""
    return entry is not None and (entry.size, entry.mtime_ns) == facts


def to_do(found: Found, known: Entries) -> list[Path]:
    """Return the files that are new or changed, the largest first, so that the cores finish together."""
    paths = [path for path, facts in found.files.items() if not is_current(known.get(path), facts)]
    return [Path(path) for path in sorted(paths, key=lambda path: found.files[path][0], reverse=True)]


def surviving(entries: Entries, found: Found, failed: Sequence[str]) -> Entries:
    """Return what the pack shall hold: all but files that are gone and those that can no longer be read."""
    lost = set(failed)
    return {
        path: entry
        for path, entry in entries.items()
        if path not in lost and (path in found.files or not found.covers(path))
    }


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _facts(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
