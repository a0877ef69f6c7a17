"""Bring a pack up to date with folders of audio files.

A file whose path, size and modification time are known is skipped. Each new track goes into a journal
beside the pack as soon as it is done; at the end, or when the user stops, the pack is written anew from its
old tracks and the journal's, at once or not at all. After a crash the next run takes the journal up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from overheard.catalogue.pack import open_pack, write_pack
from overheard.errors import AudioError, PackError
from overheard.index.journal import Journal
from overheard.index.plan import (
    Entries,
    Found,
    is_current,
    one_per_file,
    one_per_fingerprint,
    surviving,
    to_do,
)
from overheard.index.pool import Outcome, fingerprint_files
from overheard.index.scan import file_size, scan_audio
from overheard.index.worker import Fingerprinter


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far indexing is; reported after each file."""

    done: int  # files
    total: int
    bytes_done: int  # of the audio files: the best measure of what is left
    bytes_total: int
    audio_s: float  # fingerprinted so far
    failed: int
    path: str  # of the file just done, empty at the start


@dataclasses.dataclass(frozen=True)
class IndexReport:
    """What a run of the indexer did, and the pack that came out of it."""

    pack: Path
    tracks: int  # in the pack now
    duration_s: float  # of all of them
    pack_bytes: int
    added: int
    updated: int
    unchanged: int
    removed: int
    duplicates: int  # files whose fingerprint another file has too
    failed: tuple[tuple[str, str], ...]  # (path, reason)
    audio_s: float  # fingerprinted in this run
    elapsed_s: float
    interrupted: bool
    notes: tuple[str, ...] = ()

    @property
    def times_real_time(self) -> float:
        """Seconds of audio fingerprinted per second of this run."""
        return self.audio_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def bytes_per_track(self) -> float:
        """Bytes of the pack, all included, per track."""
        return self.pack_bytes / self.tracks if self.tracks else 0.0

    @property
    def bytes_per_minute(self) -> float:
        """Bytes of the pack, all included, per minute of audio."""
        return self.pack_bytes / (self.duration_s / 60) if self.duration_s else 0.0


def index(
    folders: Sequence[str | os.PathLike[str]],
    pack_path: Path,
    make: Callable[[], Fingerprinter],
    jobs: int = 1,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> IndexReport:
    """Bring a pack up to date with folders.

    Parameters
    ----------
    folders : sequence of path-like
        Folders and files. Tracks of the pack that lie elsewhere stay; those that lie here and are gone go.
    pack_path : Path
        The pack, ``NAME.pack``; made where it does not exist.
    make : callable
        Makes the fingerprinter in each process, so it must be picklable: ``ModelFingerprinter``, or a
        `functools.partial` of it with the model's path.
    jobs : int
        Worker processes; 0 works in this process.
    progress : callable
        Gets a `Progress` at the start and after each file.
    stop : callable
        Asked several times a second; once true, what is done is written and the report says ``interrupted``.

    Raises
    ------
    AudioError
        If a folder does not exist, or there is neither an audio file nor a pack.
    PackError
        If the pack is damaged, cannot be written, or is being written by another process.
    """
    started = time.monotonic()
    paths, problems = scan_audio(folders)
    if not paths and not pack_path.exists():
        raise AudioError(f"no audio files in {', '.join(str(folder) for folder in folders)}")
    found = Found.of(folders, paths, [folder for folder, _ in problems])
    fingerprinter = make()
    make_folder(pack_path)
    form = f"{fingerprinter.digest}/{fingerprinter.code_bytes}"
    journal = Journal(pack_path.with_name(f"{pack_path.stem}.indexing.sqlite"), form)
    with contextlib.closing(journal):
        old, elsewhere, notes = _read_old(pack_path, fingerprinter, found)
        todo = to_do(found, {**old, **journal.entries()}) + elsewhere
        run = _Run(journal, todo, progress, problems)
        with contextlib.closing(fingerprint_files(todo, make, jobs, stop)) as outcomes:
            for outcome in outcomes:
                run.take(outcome)
        new = journal.entries()
        entries = surviving({**old, **new}, found, [path for path, _ in run.failed])
        interrupted = run.done < len(todo)
        if not (interrupted and elsewhere):  # else the old pack is all that remembers the other folders
            _write(pack_path, fingerprinter, entries, old, journal)
    return _report(
        pack_path=pack_path,
        entries=entries,
        old=old,
        new=new,
        found=found,
        run=run,
        elapsed_s=time.monotonic() - started,
        interrupted=interrupted,
        notes=notes,
    )


class _Run:
    """What is done of a run: into the journal, into the progress."""

    def __init__(
        self,
        journal: Journal,
        todo: Sequence[Path],
        progress: Callable[[Progress], None] | None,
        problems: Sequence[tuple[str, str]],
    ) -> None:
        self.failed = list(problems)
        self.done = 0
        self.audio_s = 0.0
        self._journal, self._progress = journal, progress
        self._sizes = {path: file_size(path) for path in todo}
        self._bytes_done = 0
        self._tell("")

    def take(self, outcome: Outcome) -> None:
        self.done += 1
        self._bytes_done += self._sizes[outcome.path]
        if outcome.entry is not None:
            self._journal.add(outcome.entry)
            self.audio_s += outcome.entry.duration_s
        else:
            self.failed.append((str(outcome.path), outcome.reason))
        self._tell(str(outcome.path))

    def _tell(self, path: str) -> None:
        if self._progress is not None:
            total, bytes_total = len(self._sizes), sum(self._sizes.values())
            self._progress(
                Progress(
                    self.done, total, self._bytes_done, bytes_total, self.audio_s, len(self.failed), path
                )
            )


def _read_old(
    pack_path: Path, fingerprinter: Fingerprinter, found: Found
) -> tuple[Entries, list[Path], tuple[str, ...]]:
    """Return the pack's tracks, files elsewhere that it holds in another form, and notes for the user."""
    if not pack_path.exists():
        return {}, [], ()
    pack = open_pack(pack_path)
    old = one_per_file(pack.entries())
    other_model = pack.digest != fingerprinter.digest
    if other_model or (len(pack.packed_cells) and pack.codes.shape[1] != fingerprinter.code_bytes):
        elsewhere = [Path(path) for path in old if path not in found.files and not found.covers(path)]
        why = "made for another model" if other_model else "made with codes of another length"
        note = f"the pack was {why}: everything in it is fingerprinted anew"
        return {}, [path for path in elsewhere if path.exists()], (note,)
    return old, [], tuple(_unmounted(old, found))


def _unmounted(old: Entries, found: Found) -> Iterator[str]:
    for root in found.empty_roots:
        n = sum(path.startswith(root + os.sep) for path in old)
        if n:
            yield f"{root} holds no audio files now; {n} tracks of it stay (is a drive not mounted?)"


def _write(
    pack_path: Path, fingerprinter: Fingerprinter, entries: Entries, old: Entries, journal: Journal
) -> None:
    changed = entries.keys() != old.keys() or any(entry is not old[path] for path, entry in entries.items())
    if changed:
        tracks = one_per_fingerprint(entries)
        digest, spec = fingerprinter.digest, fingerprinter.spec
        write_pack(pack_path, pack_path.stem, digest, spec, tracks, fingerprinter.code_bytes)
    journal.remove()


def _report(
    pack_path: Path,
    entries: Entries,
    old: Entries,
    new: Entries,
    found: Found,
    run: _Run,
    elapsed_s: float,
    interrupted: bool,
    notes: tuple[str, ...],
) -> IndexReport:
    tracks = {entry.id: entry for entry in entries.values()}
    return IndexReport(
        pack=pack_path,
        tracks=len(tracks),
        duration_s=sum(entry.duration_s for entry in tracks.values()),
        pack_bytes=file_size(pack_path),
        added=len(new.keys() - old.keys()),
        updated=len(new.keys() & old.keys()),
        unchanged=sum(is_current(old.get(path), facts) for path, facts in found.files.items()),
        removed=len(old.keys() - entries.keys()),
        duplicates=len(entries) - len(tracks),
        failed=tuple(sorted(run.failed)),
        audio_s=run.audio_s,
        elapsed_s=elapsed_s,
        interrupted=interrupted,
        notes=notes,
    )


def make_folder(pack_path: Path) -> None:
    """Make the folder of a pack that is to be written; raise PackError where that cannot be."""
    folder = pack_path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PackError(f"{folder}: cannot be made ({error.strerror or error})") from error
    if pack_path.is_dir():
        raise PackError(f"{pack_path}: is a folder: name a file")
