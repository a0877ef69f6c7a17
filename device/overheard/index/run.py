"""Bring a pack up to date with folders of audio files.

Files whose path, size and modification time are unchanged are skipped. Files that were renamed, touched or
tagged are recognized by a hash of their audio and are not decoded. Each new track is saved in a journal
beside the pack as soon as it is fingerprinted. At the end, or when the user stops the run, one atomic write
adds a layer with the new and changed tracks to the pack. After a crash, the next run continues from the
journal.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from overheard.catalogue.pack_lock import pack_lock
from overheard.catalogue.pack_write import creation_time
from overheard.errors import AudioError, PackError
from overheard.files import create_folder
from overheard.index.index_plan import Plan, ScannedFiles, files_to_fingerprint, is_current, plan_unseen
from overheard.index.journal import Journal, journal_path
from overheard.index.journal_row import SavedTrack
from overheard.index.known_audio import KnownAudio
from overheard.index.pack_on_disk import PackOnDisk, Saved, known_file, missing_notes
from overheard.index.pool import Outcome, check_jobs, fingerprint_files
from overheard.index.report import IndexReport, Progress
from overheard.index.scan import Problems, file_size
from overheard.index.worker import Fingerprinter

MAX_JOURNAL_SEGMENTS = 1 << 21  # 580 hours of music, 50 MB in memory: then they are written into the pack
MAX_ABSENT = 20  # files that existed and are gone, one after the other, until the run ends
DRIVE_IS_GONE = "many files vanished during the run; check that the drive or share is still connected"


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
    with pack_lock(pack_path), contextlib.closing(_open_journal(pack_path, fingerprinter)) as journal:
        run = _Run(pack_path, scanned, problems, fingerprinter, journal)
        run.fingerprint(make, jobs, progress or (lambda _: None), stop)
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


def _scan(folders: Sequence[str | os.PathLike[str]], pack_path: Path) -> tuple[ScannedFiles, Problems]:
    scanned, problems = ScannedFiles.of(folders)
    if not scanned.files and not pack_path.exists():
        raise AudioError(f"no audio files in {', '.join(str(folder) for folder in folders)}")
    return scanned, problems


def _open_journal(pack_path: Path, fingerprinter: Fingerprinter) -> Journal:
    key = f"{fingerprinter.digest}/{fingerprinter.code_bytes}"
    return Journal(journal_path(pack_path), key)


class _Run:
    """One indexing run: its journal, its counts, and the pack that it writes."""

    def __init__(
        self,
        pack_path: Path,
        scanned: ScannedFiles,
        problems: Problems,
        fingerprinter: Fingerprinter,
        journal: Journal,
    ) -> None:
        self._scanned = scanned
        self._fingerprinter = fingerprinter
        self._journal = journal
        self._pack = PackOnDisk(pack_path, scanned, fingerprinter)
        self._known = KnownAudio(self._pack, journal, scanned)
        todo = files_to_fingerprint(scanned, self._known.files) + self._pack.elsewhere
        self._sizes = {path: file_size(path) for path in todo}
        self._bytes_total = sum(self._sizes.values())
        self._failed = list(problems)
        self._warnings: list[tuple[str, str]] = []
        self._n_done = self._bytes_done = 0
        self._audio_s = 0.0
        self._n_segments = self._known.n_saved_segments  # in the journal
        self._unchanged = sum(
            is_current(self._pack.files.get(path), facts) for path, facts in scanned.files.items()
        )
        self._new: set[str] = set()
        self._updated: set[str] = set()
        self._moved: list[str] = []
        self._removed: list[str] = []
        self._absent_in_a_row = 0

    def fingerprint(
        self,
        make: Callable[[], Fingerprinter],
        jobs: int,
        progress: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        """Fingerprint new and changed files into the journal, until `stop` returns True."""
        progress(self._progress(""))
        again: list[Path] = []  # files whose audio was known when the run began, and is not any more
        for todo, known in ((list(self._sizes), self._known.hashes), (again, frozenset[str]())):
            outcomes = fingerprint_files(todo, make, jobs, lambda: stop() or self._drive_is_gone, known)
            with contextlib.closing(outcomes):
                for outcome in outcomes:
                    if not self._record(outcome):
                        again.append(outcome.path)
                        continue
                    progress(self._progress(str(outcome.path)))
                    if self._n_segments >= MAX_JOURNAL_SEGMENTS and not self._pack.is_of_other_model:
                        self._write()
                        self._journal.clear()
                        self._n_segments = 0

    @property
    def _drive_is_gone(self) -> bool:
        return self._absent_in_a_row >= MAX_ABSENT

    def _record(self, outcome: Outcome) -> bool:
        """Save the tracks of a file; return False if it has to be fingerprinted after all."""
        entries = [outcome.entry, *outcome.others] if outcome.entry is not None else []
        if outcome.is_known:
            entries = self._known.with_fingerprints(entries, outcome.audio_hash)
            if not entries:
                return False
        elif entries:
            self._audio_s += sum(entry.duration_s for entry in entries)
        self._n_done += 1
        self._bytes_done += self._sizes[outcome.path]
        if not entries:
            self._failed.append((str(outcome.path), outcome.reason))
            self._absent_in_a_row += not os.path.exists(outcome.path)  # noqa: PTH110 - False if it gives no answer
            return True
        self._absent_in_a_row = 0
        network = "" if outcome.is_known else self._fingerprinter.network_digest
        self._journal.add(entries, outcome.audio_hash, network)
        self._n_segments += sum(len(entry.packed_cells) for entry in entries)
        if outcome.warning:
            self._warnings.append((str(outcome.path), outcome.warning))
        return True

    def _progress(self, path: str) -> Progress:
        return Progress(
            done=self._n_done,
            total=len(self._sizes),
            bytes_done=self._bytes_done,
            bytes_total=self._bytes_total,
            audio_s=self._audio_s,
            failed=len(self._failed),
            path=path,
        )

    def _write(self, prune: bool = False) -> Plan:
        """Write the saved tracks into the pack; forget files that moved or that the user wants to prune."""
        chunks = self._chunks()
        chunk: Saved | None = next(chunks, {})
        while chunk is not None:
            following = next(chunks, None)
            new = chunk.keys() - self._pack.files.keys()
            self._new |= new
            self._updated |= chunk.keys() - self._new
            plan = self._plan(chunk, new, prune and following is None)
            self._moved += plan.moved
            self._removed += plan.removed
            self._pack.update(chunk, plan.dropped, prune, self._journal.networks)
            chunk = following
        return plan

    def _chunks(self) -> Iterator[Saved]:
        """Yield the saved tracks by path, in parts that fit into memory."""
        chunk: dict[str, list[SavedTrack]] = {}
        n_segments = 0
        for track in self._journal.tracks():
            if n_segments >= MAX_JOURNAL_SEGMENTS and track.entry.path not in chunk:
                yield chunk
                chunk, n_segments = {}, 0
            chunk.setdefault(track.entry.path, []).append(track)
            n_segments += len(track.entry.packed_cells)
        if chunk:
            yield chunk

    def _plan(self, saved: Saved, new: Collection[str], prune: bool) -> Plan:
        files = {**self._pack.files, **{path: known_file(tracks) for path, tracks in saved.items()}}
        return plan_unseen(files, self._scanned, new, prune)

    def finish(self, started: float, prune: bool) -> IndexReport:
        """Write the pack, remove the journal, and return the report of a run that began at `started`."""
        interrupted = self._n_done < len(self._sizes)
        if interrupted and self._pack.is_of_other_model:
            # It is not replaced yet: the other model can still search it, and only it knows all files.
            durations = {track.entry.id: track.entry.duration_s for track in self._journal.tracks()}
            return self._report(Plan(), durations, interrupted, time.monotonic() - started)
        # A file that this run did not reach may be one that the user moved.
        plan = self._write(prune and not interrupted)
        self._journal.remove()
        return self._report(plan, self._pack.durations, interrupted, time.monotonic() - started)

    def _report(
        self, plan: Plan, durations: Mapping[str, float], interrupted: bool, elapsed_s: float
    ) -> IndexReport:
        files = self._pack.files
        changed = self._new | self._updated
        kept = sum(path in files and path not in changed for path, _ in self._failed)
        gone = [DRIVE_IS_GONE] if self._drive_is_gone else []
        return IndexReport(
            pack=self._pack.path,
            tracks=len(durations),
            duration_s=sum(durations.values()),
            pack_bytes=self._pack.bytes,
            added=len(self._new) - len(self._moved),
            updated=len(self._updated),
            unchanged=self._unchanged,
            removed=len(self._removed),
            duplicates=max(0, sum(len(known.ids) for known in files.values()) - len(durations)),
            failed=tuple(sorted(self._failed)),
            audio_s=self._audio_s,
            elapsed_s=elapsed_s,
            interrupted=interrupted,
            notes=(*self._journal.notes, *self._pack.notes, *gone, *missing_notes(plan.missing, kept)),
            moved=len(self._moved),
            missing=len(plan.missing),
            warnings=tuple(sorted(self._warnings)),
        )
