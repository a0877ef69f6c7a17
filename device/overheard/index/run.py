"""Bring a pack up to date with folders of audio files.

Files whose path, size and modification time are unchanged are skipped. Each new track is saved in a journal
beside the pack as soon as it is fingerprinted. At the end, or when the user stops the run, an atomic write
replaces the pack by one with the old and the new tracks. After a crash, the next run continues from the
journal.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from overheard.catalogue.pack import Pack, open_pack, write_pack
from overheard.errors import AudioError, PackError
from overheard.files import create_folder
from overheard.index.journal import Journal
from overheard.index.plan import (
    Entries,
    ScannedFiles,
    entries_to_keep,
    files_to_fingerprint,
    is_current,
    one_per_file,
    one_per_fingerprint,
)
from overheard.index.pool import Outcome, fingerprint_files
from overheard.index.report import IndexReport, Progress
from overheard.index.scan import file_size, scan_audio
from overheard.index.worker import Fingerprinter


def index(
    folders: Sequence[str | os.PathLike[str]],
    pack_path: Path,
    make: Callable[[], Fingerprinter],
    jobs: int = 1,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> IndexReport:
    """Bring a pack up to date with folders of audio files.

    Parameters
    ----------
    folders : sequence of path-like
        Folders and files. The pack keeps its tracks from other folders; tracks whose files are deleted go.
    pack_path : Path
        The pack, ``NAME.pack``; created if it does not exist.
    make : callable
        Creates the fingerprinter, once in each process; must be picklable.
    jobs : int
        Number of worker processes; 0 fingerprints in this process.
    progress : callable
        Called at the start and after each file.
    stop : callable
        Polled several times a second; if true, the run ends and the finished tracks are written.

    Raises
    ------
    AudioError
        If a folder does not exist, or there is neither an audio file nor a pack.
    PackError
        If the pack is damaged, cannot be written, or is being written by another process.
    """
    started = time.monotonic()
    scanned, problems = _scan(folders, pack_path)
    fingerprinter = make()
    make_folder(pack_path)
    with contextlib.closing(_open_journal(pack_path, fingerprinter)) as journal:
        run = _Run(pack_path, scanned, problems, fingerprinter, journal)
        run.fingerprint(make, jobs, progress, stop)
        return run.finish(started)


def make_folder(pack_path: Path) -> None:
    """Create the folder of a new pack.

    Raises
    ------
    PackError
        If the folder cannot be created, or the path is a folder.
    """
    folder = pack_path.parent
    try:
        create_folder(folder, private=True)
    except OSError as error:
        raise PackError(f"{folder}: cannot be created ({error.strerror or error})") from error
    if pack_path.is_dir():
        raise PackError(f"{pack_path}: is a folder", "give the path of a file, such as music.pack")


def _scan(
    folders: Sequence[str | os.PathLike[str]], pack_path: Path
) -> tuple[ScannedFiles, list[tuple[str, str]]]:
    paths, problems = scan_audio(folders)
    if not paths and not pack_path.exists():
        raise AudioError(f"no audio files in {', '.join(str(folder) for folder in folders)}")
    return ScannedFiles.of(folders, paths, [folder for folder, _ in problems]), problems


def _open_journal(pack_path: Path, fingerprinter: Fingerprinter) -> Journal:
    key = f"{fingerprinter.digest}/{fingerprinter.code_bytes}"
    return Journal(pack_path.with_name(f"{pack_path.stem}.indexing.sqlite"), key)


class _Run:
    """One indexing run: its journal, its counts, and the pack that it writes."""

    def __init__(
        self,
        pack_path: Path,
        scanned: ScannedFiles,
        problems: Sequence[tuple[str, str]],
        fingerprinter: Fingerprinter,
        journal: Journal,
    ) -> None:
        self._pack_path = pack_path
        self._scanned = scanned
        self._fingerprinter = fingerprinter
        self._journal = journal
        self._old: Entries = {}  # usable entries of the pack as it is now
        self._elsewhere: list[Path] = []  # files of the pack outside the folders that need new fingerprints
        self._notes: list[str] = []
        if pack_path.exists():
            self._read_old(open_pack(pack_path))
        known = {**self._old, **journal.entries()}
        todo = files_to_fingerprint(scanned, known) + self._elsewhere
        self._sizes = {path: file_size(path) for path in todo}
        self._failed = list(problems)
        self._n_done = self._bytes_done = 0
        self._audio_s = 0.0

    def _read_old(self, pack: Pack) -> None:
        entries = one_per_file(pack.entries())
        other_model = pack.digest != self._fingerprinter.digest
        is_empty = not len(pack.packed_cells)
        if not other_model and (is_empty or pack.codes.shape[1] == self._fingerprinter.code_bytes):
            self._old = entries
            self._notes += _unmounted(entries, self._scanned)
            return
        cause = "the pack was made for another model" if other_model else "the pack has another code length"
        self._notes.append(f"{cause}: all its files are fingerprinted again")
        outside = (p for p in entries if p not in self._scanned.files and not self._scanned.covers(p))
        self._elsewhere = [path for path in map(Path, outside) if path.exists()]

    def fingerprint(
        self,
        make: Callable[[], Fingerprinter],
        jobs: int,
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], bool],
    ) -> None:
        """Fingerprint new and changed files into the journal, until `stop` returns True."""
        progress = progress or (lambda _: None)
        progress(self._progress(""))
        with contextlib.closing(fingerprint_files(list(self._sizes), make, jobs, stop)) as outcomes:
            for outcome in outcomes:
                self._record(outcome)
                progress(self._progress(str(outcome.path)))

    def _record(self, outcome: Outcome) -> None:
        self._n_done += 1
        self._bytes_done += self._sizes[outcome.path]
        if outcome.entry is not None:
            self._journal.add(outcome.entry)
            self._audio_s += outcome.entry.duration_s
        else:
            self._failed.append((str(outcome.path), outcome.reason))

    def _progress(self, path: str) -> Progress:
        return Progress(
            done=self._n_done,
            total=len(self._sizes),
            bytes_done=self._bytes_done,
            bytes_total=sum(self._sizes.values()),
            audio_s=self._audio_s,
            failed=len(self._failed),
            path=path,
        )

    def finish(self, started: float) -> IndexReport:
        """Write the pack, remove the journal, and return the report of a run that began at `started`."""
        new = self._journal.entries()
        entries = entries_to_keep({**self._old, **new}, self._scanned, [path for path, _ in self._failed])
        interrupted = self._n_done < len(self._sizes)
        # If an interrupted run replaced a pack of another model, nothing would remember its other folders.
        if not (interrupted and self._elsewhere):
            self._write(entries)
        return self._report(entries, new, interrupted, time.monotonic() - started)

    def _write(self, entries: Entries) -> None:
        old = self._old
        if entries.keys() != old.keys() or any(entry is not old[path] for path, entry in entries.items()):
            model = self._fingerprinter
            tracks = one_per_fingerprint(entries)
            path = self._pack_path
            write_pack(path, path.stem, model.digest, model.spec, tracks, model.code_bytes)
        self._journal.remove()

    def _report(self, entries: Entries, new: Entries, interrupted: bool, elapsed_s: float) -> IndexReport:
        tracks = {entry.id: entry for entry in entries.values()}
        old = self._old
        return IndexReport(
            pack=self._pack_path,
            tracks=len(tracks),
            duration_s=sum(entry.duration_s for entry in tracks.values()),
            pack_bytes=file_size(self._pack_path),
            added=len(new.keys() - old.keys()),
            updated=len(new.keys() & old.keys()),
            unchanged=sum(is_current(old.get(path), facts) for path, facts in self._scanned.files.items()),
            removed=len(old.keys() - entries.keys()),
            duplicates=len(entries) - len(tracks),
            failed=tuple(sorted(self._failed)),
            audio_s=self._audio_s,
            elapsed_s=elapsed_s,
            interrupted=interrupted,
            notes=tuple(self._notes),
        )


def _unmounted(entries: Entries, scanned: ScannedFiles) -> Iterator[str]:
    for root in scanned.empty_roots:
        n = sum(path.startswith(root + os.sep) for path in entries)
        if n:
            yield f"{root} contains no audio files now; its {n} tracks stay in the pack (unmounted drive?)"
