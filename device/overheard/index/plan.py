"""Compare a pack's tracks with the files on disk: which files to fingerprint, which entries to keep."""

from __future__ import annotations

import dataclasses
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
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

        Files outside the scanned folders, in unreadable subfolders or on an unmounted drive may exist unseen.
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


def with_fingerprint_of(known: TrackEntry, entry: TrackEntry) -> TrackEntry:
    """Return the entry of a file whose audio is that of a known track, with the fingerprint of that track."""
    return dataclasses.replace(
        entry,
        packed_cells=known.packed_cells,
        codes=known.codes,
        duration_s=known.duration_s,
        extras=known.extras,
    )


def is_current(entry: TrackEntry | None, size_and_mtime: tuple[int, int]) -> bool:
    """Return whether a file is unchanged since it was fingerprinted."""
    return entry is not None and (entry.size, entry.mtime_ns) == size_and_mtime


def files_to_fingerprint(scanned: ScannedFiles, known: Entries) -> list[Path]:
    """Return new and changed files, the largest first, so that all workers finish at about the same time."""
    files = scanned.files
    paths = [path for path, facts in files.items() if not is_current(known.get(path), facts)]
    return [Path(path) for path in sorted(paths, key=lambda path: files[path][0], reverse=True)]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What becomes of the known files."""

    entries: Entries  # for the new pack
    missing: tuple[str, ...] = ()  # files that were not seen; their entries are kept
    moved: tuple[str, ...] = ()  # former paths of files that have a new path
    removed: tuple[str, ...] = ()  # dropped because the user asked for it, or another path leads to the file


def plan_pack(
    entries: Entries, scanned: ScannedFiles, hashes: Mapping[str, str], new: Collection[str], prune: bool
) -> Plan:
    """Choose the entries of the new pack.

    A file that was not seen may be on a drive that is not mounted, so its entry is kept unless the user asks
    to remove such files. An entry is dropped without being asked only if its audio is in the pack under a new
    path.

    Parameters
    ----------
    entries : all known entries, old and new
    scanned : the files that were seen
    hashes : audio hash of each file, if known
    new : paths that were not in the old pack
    prune : whether to drop the entries of files that do not exist
    """
    unseen = [path for path in entries if path not in scanned.files and scanned.covers(path)]
    if not unseen:
        return Plan(entries)
    absent = {path for path in unseen if _is_absent(path)}
    moved = _moved(sorted(absent), hashes, new)
    dropped = moved | _reached_otherwise(set(unseen) - absent, entries, scanned)
    if prune:
        dropped |= absent
    return Plan(
        {path: entry for path, entry in entries.items() if path not in dropped},
        missing=tuple(path for path in unseen if path not in dropped),
        moved=tuple(sorted(moved)),
        removed=tuple(sorted(dropped - moved)),
    )


def _reached_otherwise(paths: Iterable[str], entries: Entries, scanned: ScannedFiles) -> set[str]:
    """Return the paths of files that are in the pack under another path, because of symbolic links."""
    seen = {os.path.realpath(path) for path in scanned.files if path in entries}
    return {path for path in paths if os.path.realpath(path) in seen}


def _moved(absent: Iterable[str], hashes: Mapping[str, str], new: Collection[str]) -> set[str]:
    """Return the absent files that are now at a new path: one for each new file with the same audio."""
    free = Counter(hashes[path] for path in new if path in hashes)
    moved = set()
    for path in absent:
        audio_hash = hashes.get(path, "")
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


def _size_and_mtime(path: Path) -> tuple[int, int]:
    try:
        facts = path.stat()
    except OSError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
