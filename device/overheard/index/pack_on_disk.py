"""The pack that an indexing run updates: what it knows of each file, and how a run's changes are written.

A run writes one layer, in proportion to its changes. Fingerprints are read only of tracks that change.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from overheard.catalogue.layer_files import layer_files
from overheard.catalogue.layers import MAX_LAYERS, compact, merge_layers, write_layer
from overheard.catalogue.pack import Pack, open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry, metadata_of
from overheard.catalogue.track_rows import Row, rows_of
from overheard.errors import OverheardError, PackError
from overheard.index.aside import free_name
from overheard.index.file_hashes import FileHash, FileHashes
from overheard.index.index_plan import Files, KnownFile, ScannedFiles, one_per_fingerprint, place_of
from overheard.index.journal_row import SavedTrack
from overheard.index.scan import file_size
from overheard.index.worker import Fingerprinter
from overheard.text import plural

Saved = Mapping[str, Sequence[SavedTrack]]  # the tracks of new and changed files, by path


class PackOnDisk:
    """The pack before and after a run.

    Parameters
    ----------
    path : Path
        The pack; it may not exist.
    scanned : ScannedFiles
        The files of this run.
    fingerprinter : Fingerprinter
        The model of this run. Fingerprints of another model are not used.

    Attributes
    ----------
    files : Files
        The files of usable tracks.
    durations : dict of str to float
        Length of each usable track in seconds, by id.
    is_of_other_model : bool
        Whether there is a pack whose tracks are not usable. It stays until it is replaced.
    elsewhere : list of Path
        Existing files outside the scanned folders that need new fingerprints.
    notes : list of str
        What the user should know.

    Raises
    ------
    PackError
        If the pack is damaged.
    """

    def __init__(self, path: Path, scanned: ScannedFiles, fingerprinter: Fingerprinter) -> None:
        self.path = path
        self.files: Files = {}
        self.durations: dict[str, float] = {}
        self.is_of_other_model = False
        self.elsewhere: list[Path] = []
        self.notes: list[str] = []
        self._numbers: dict[str, int] | None = None  # of each track in the pack, by id; None if not read yet
        self._opened: Pack | None = None
        self._is_usable = False  # whether there is a pack of this model
        self._lost = 0  # files of a pack of another model that cannot be fingerprinted again now
        self._model = fingerprinter
        self._hashes = FileHashes(path)
        self._stale: list[str] = []  # paths whose hashes are of no use
        if path.exists():
            self._read(open_pack(path), scanned)
        self._read_hashes()

    @property
    def bytes(self) -> int:
        """Size of the pack's files; 0 if there is none."""
        files = [self.path, *layer_files(self.path)]
        return sum(file_size(file) for file in files) if self._is_usable else 0

    @property
    def _pack(self) -> Pack | None:
        """The pack, opened again after it was written; None if there is none that can be used."""
        if self._opened is None and self._is_usable:
            self._opened = open_pack(self.path)
        return self._opened

    def _read(self, pack: Pack, scanned: ScannedFiles) -> None:
        files: Files = {}
        durations, numbers = {}, {}
        for number, row in enumerate(rows_of(pack)):
            track_id = row["id"]
            durations[track_id], numbers[track_id] = row["duration_s"], number
            for path, size, mtime_ns in _files_of(row):
                known = files.get(path)
                files[path] = KnownFile(size, mtime_ns, (*(known.ids if known else ()), track_id))
        other_model = pack.digest != self._model.digest
        if not other_model and (not pack.n_segments or pack.code_bytes == self._model.code_bytes):
            self.files, self.durations = files, durations
            self._opened, self._numbers, self._is_usable = pack, numbers, True
            self.notes += _unmounted(files, scanned)
            return
        self.is_of_other_model = True
        cause = "the pack was made for another model" if other_model else "the pack has another code length"
        self.notes.append(f"{cause}: all its files are fingerprinted again")
        unseen = [path for path in files if path not in scanned.files]
        self.elsewhere = [Path(path) for path in unseen if not scanned.covers(path) and Path(path).exists()]
        self._lost = len(unseen) - len(self.elsewhere)

    def _number(self, track_id: str) -> int | None:
        """Return the number of a track in the pack; None if the pack does not contain it."""
        if self._numbers is None:
            rows = rows_of(self._pack) if self._pack is not None else ()
            self._numbers = {row["id"]: number for number, row in enumerate(rows)}
        return self._numbers.get(track_id)

    def _read_hashes(self) -> None:
        for path, saved in self._hashes.load():
            known = self.files.get(path)
            if known is not None and known.facts == (saved.size, saved.mtime_ns):
                known.audio_hash = saved.audio_hash
            else:
                self._stale.append(path)

    def entry(self, track_id: str) -> TrackEntry | None:
        """Return a track of the pack with its fingerprint; None if the pack does not contain it."""
        number = self._number(track_id)
        return None if number is None or self._pack is None else self._pack.entry(number)

    def update(
        self,
        saved: Saved,
        dropped: Collection[str],
        prune: bool = False,
        networks: Collection[str] = (),
    ) -> None:
        """Write new and changed files into the pack, and forget others.

        Parameters
        ----------
        networks : digests of the networks that made the new fingerprints

        Raises
        ------
        PackError
            If the pack cannot be written.
        """
        files = {path: known for path, known in self.files.items() if path not in dropped}
        new = {path: known_file(tracks) for path, tracks in saved.items() if path not in dropped}
        files.update(new)
        changed, removed = self._changes(saved, dropped, files)
        if changed or removed:
            self._write(changed, removed, prune, networks)
        self.files = files
        self._write_hashes(new, dropped)

    def _changes(
        self, saved: Saved, dropped: Collection[str], files: Files
    ) -> tuple[list[TrackEntry], list[str]]:
        """Return the tracks to write, sorted, and the ids of tracks that no file has any more."""
        touched = {track.entry.id for tracks in saved.values() for track in tracks}
        for path in (*saved, *dropped):
            touched.update(self.files[path].ids if path in self.files else ())
        paths: dict[str, list[str]] = {track_id: [] for track_id in touched}
        for path, known in files.items():
            for track_id in touched.intersection(known.ids):
                paths[track_id].append(path)
        entries: list[TrackEntry] = []
        for track_id in touched:
            entries += self._copies(track_id, paths[track_id], saved, files)
        changed = [entry for entry in one_per_fingerprint(entries) if not self._is_in_pack(entry)]
        removed = [
            track_id for track_id in touched if not paths[track_id] and self._number(track_id) is not None
        ]
        return sorted(changed, key=place_of), sorted(removed)

    def _copies(
        self, track_id: str, paths: Iterable[str], saved: Saved, files: Files
    ) -> Iterator[TrackEntry]:
        """Yield the track once for each of its files."""
        old: TrackEntry | None = None
        for path in paths:
            found = [track.entry for track in saved.get(path, ()) if track.entry.id == track_id]
            if found:
                yield found[0]
                continue
            old = old or self.entry(track_id)
            if old is not None:
                size, mtime_ns = files[path].facts
                yield dataclasses.replace(old, path=path, size=size, mtime_ns=mtime_ns, also=())

    def _is_in_pack(self, entry: TrackEntry) -> bool:
        """Return whether the pack has the track with this metadata, as after a crash at the end of a run."""
        number = self._number(entry.id)
        if number is None or self._pack is None:
            return False
        old = self._pack.tracks[number]
        return {**metadata_of(old), "duration_s": 0} == {**metadata_of(entry), "duration_s": 0}

    def _write(
        self, changed: list[TrackEntry], removed: list[str], prune: bool, networks: Collection[str]
    ) -> None:
        model, name = self._model, self.path.stem
        n_layers = 0
        if self._pack is not None:
            n_layers = len(self._pack.layers)
            write_layer(self._pack, changed, removed, networks)
        else:
            if self._lost and not prune:
                self._keep_copy()
            write_pack(self.path, name, model.digest, model.spec, changed, model.code_bytes, networks)
        self._opened, self._numbers, self._is_usable = None, None, True
        if n_layers > MAX_LAYERS:
            self._merge()
        self.durations.update((entry.id, entry.duration_s) for entry in changed)
        for track_id in removed:
            del self.durations[track_id]

    def _merge(self) -> None:
        """Merge layers of the pack while it has too many of them."""
        while self._pack is not None and merge_layers(self._pack) is not None:
            self._opened = None

    def _write_hashes(self, new: Files, dropped: Collection[str]) -> None:
        changed = {
            path: FileHash(*known.facts, known.audio_hash) for path, known in new.items() if known.audio_hash
        }
        gone = {*dropped, *self._stale, *new} - changed.keys()
        try:
            self._hashes.update(changed, gone)
        except OverheardError as error:  # the pack is complete without it
            self.notes.append(str(error))
        self._stale = []

    def _keep_copy(self) -> None:
        """Copy a pack of another model whose files are not all visible: its tracks exist nowhere else."""
        target = free_name(self.path, "old")
        compact(self.path)  # so that the file contains all tracks
        try:
            shutil.copyfile(self.path, target)
        except OSError as error:
            raise PackError(
                f"{target}: cannot be written ({error.strerror or error})", "free disk space"
            ) from error
        self.notes.append(
            f"{plural(self._lost, 'file')} of the old pack could not be found and fingerprinted again; "
            f"the old pack was kept as {target.name}"
        )


def missing_notes(missing: Sequence[str], failed: int) -> Iterator[str]:
    """Say which files were not found, or not read, and that their tracks are kept."""
    if missing:
        verb, such_as = ("is", "") if len(missing) == 1 else ("are", "such as ")
        yield (
            f"{plural(len(missing), 'file')} {verb} missing ({such_as}{missing[0]}); "
            "kept in the pack; `overheard index --prune` removes them"
        )
    if failed:
        yield f"{plural(failed, 'file')} that could not be read: the earlier fingerprints were kept"


def _files_of(row: Row) -> Iterator[tuple[str, int, int]]:
    """Yield path, size and modification time of each file of a track."""
    yield row["path"], row.get("size", 0), row.get("mtime_ns", 0)
    yield from row.get("also", ())


def known_file(tracks: Sequence[SavedTrack]) -> KnownFile:
    """Return what is known of a file after its tracks were saved."""
    first = tracks[0]
    ids = tuple(dict.fromkeys(track.entry.id for track in tracks))
    return KnownFile(first.entry.size, first.entry.mtime_ns, ids, first.audio_hash)


def _unmounted(files: Files, scanned: ScannedFiles) -> Iterator[str]:
    for root in scanned.empty_roots:
        n = sum(path.startswith(root + os.sep) for path in files)
        if n:
            yield f"{root} contains no audio files now; its {n} tracks stay in the pack (unmounted drive?)"
        else:
            yield f"{root} contains no audio files; nothing was added from there (wrong folder?)"
