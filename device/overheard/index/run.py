"""Bring a pack up to date with folders of audio files.

Files whose path, size and modification time are unchanged are skipped. Files that were renamed, touched or
tagged are recognized by a hash of their audio and are not decoded. Each new track is saved in a journal
beside the pack as soon as it is fingerprinted. At the end, or when the user stops the run, an atomic write
replaces the pack by one with the old and the new tracks. After a crash, the next run continues from the
journal.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from overheard.catalogue.pack_write import creation_time
from overheard.errors import AudioError, PackError
from overheard.files import create_folder
from overheard.index.journal import Journal
from overheard.index.pack_on_disk import PackOnDisk, missing_notes
from overheard.index.plan import (
    Entries,
    Plan,
    ScannedFiles,
    files_to_fingerprint,
    is_current,
    plan_pack,
    with_fingerprint_of,
)
from overheard.index.pool import Outcome, check_jobs, fingerprint_files
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
    prune: bool = False,
) -> IndexReport:
    """Bring a pack up to date with folders of audio files.

    Parameters
    ----------
    folders : folders and files; the pack keeps its tracks from other folders, and those of missing files
    pack_path : the pack, ``NAME.pack``; created if it does not exist
    make : creates the fingerprinter, once in each process; must be picklable
    jobs : number of worker processes; 0 fingerprints in this process
    progress : called at the start and after each file
    stop : polled several times a second; if true, the run ends and the finished tracks are written
    prune : remove the tracks of files that do not exist any more

    Raises
    ------
    SettingsError
        If `jobs` or the environment variable SOURCE_DATE_EPOCH is invalid.
    AudioError
        If a folder does not exist, or there is neither an audio file nor a pack.
    PackError
        If the pack is damaged, cannot be written, or is being written by another process.
    """
    started = time.monotonic()
    check_jobs(jobs)
    creation_time()  # raises now instead of after hours of work
    scanned, problems = _scan(folders, pack_path)
    fingerprinter = make()
    make_folder(pack_path)
    with contextlib.closing(_open_journal(pack_path, fingerprinter)) as journal:
        run = _Run(pack_path, scanned, problems, fingerprinter, journal)
        run.fingerprint(make, jobs, progress, stop)
        return run.finish(started, prune)


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
        self._scanned = scanned
        self._fingerprinter = fingerprinter
        self._journal = journal
        self._notes = list(journal.notes)
        self._pack = PackOnDisk(pack_path, scanned, fingerprinter)
        saved = journal.tracks()
        known = {**self._pack.entries, **{path: track.entry for path, track in saved.items()}}
        self._by_hash = self._pack.by_hash()
        self._by_hash.update({track.audio_hash: track.entry for track in saved.values() if track.audio_hash})
        todo = files_to_fingerprint(scanned, known) + self._pack.elsewhere
        self._sizes = {path: file_size(path) for path in todo}
        self._failed = list(problems)
        self._warnings: list[tuple[str, str]] = []
        self._n_done = self._bytes_done = 0
        self._audio_s = 0.0

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
        outcomes = fingerprint_files(list(self._sizes), make, jobs, stop, frozenset(self._by_hash))
        with contextlib.closing(outcomes):
            for outcome in outcomes:
                self._record(outcome)
                progress(self._progress(str(outcome.path)))

    def _record(self, outcome: Outcome) -> None:
        self._n_done += 1
        self._bytes_done += self._sizes[outcome.path]
        entry = outcome.entry
        if entry is None:
            self._failed.append((str(outcome.path), outcome.reason))
            return
        if outcome.is_known:
            entry = with_fingerprint_of(self._by_hash[outcome.audio_hash], entry)
        else:
            self._audio_s += entry.duration_s
        self._journal.add(entry, outcome.audio_hash)
        if outcome.warning:
            self._warnings.append((str(outcome.path), outcome.warning))

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

    def finish(self, started: float, prune: bool) -> IndexReport:
        """Write the pack, remove the journal, and return the report of a run that began at `started`."""
        saved = self._journal.tracks()
        old = self._pack.entries
        new = {path: track.entry for path, track in saved.items()}
        hashes = {**self._pack.hashes, **{path: t.audio_hash for path, t in saved.items() if t.audio_hash}}
        interrupted = self._n_done < len(self._sizes)
        # A file that this run did not reach may be one that the user moved.
        prune = prune and not interrupted
        plan = plan_pack({**old, **new}, self._scanned, hashes, new.keys() - old.keys(), prune)
        # If an interrupted run replaced a pack of another model, nothing would remember its other folders.
        if not (interrupted and self._pack.elsewhere):
            self._pack.write(plan.entries, hashes, prune)
            self._journal.remove()
        return self._report(plan, new, interrupted, time.monotonic() - started)

    def _report(self, plan: Plan, new: Entries, interrupted: bool, elapsed_s: float) -> IndexReport:
        tracks = {entry.id: entry for entry in plan.entries.values()}
        old = self._pack.entries
        kept = sum(path in plan.entries and path not in new for path, _ in self._failed)
        return IndexReport(
            pack=self._pack.path,
            tracks=len(tracks),
            duration_s=sum(entry.duration_s for entry in tracks.values()),
            pack_bytes=file_size(self._pack.path),
            added=len(new.keys() - old.keys()) - len(plan.moved),
            updated=len(new.keys() & old.keys()),
            unchanged=sum(is_current(old.get(path), facts) for path, facts in self._scanned.files.items()),
            removed=len(plan.removed),
            duplicates=len(plan.entries) - len(tracks),
            failed=tuple(sorted(self._failed)),
            audio_s=self._audio_s,
            elapsed_s=elapsed_s,
            interrupted=interrupted,
            notes=(*self._notes, *self._pack.notes, *missing_notes(plan.missing, kept)),
            moved=len(plan.moved),
            missing=len(plan.missing),
            warnings=tuple(sorted(self._warnings)),
        )
