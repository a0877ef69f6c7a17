"""The pack that an indexing run updates: its usable tracks, and how the new version replaces it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from overheard.catalogue.live_layers import layers_folder
from overheard.catalogue.pack import Pack, open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.errors import OverheardError, PackError
from overheard.index.aside import free_name
from overheard.index.file_hashes import FileHash, hashes_path, load_hashes, save_hashes
from overheard.index.plan import Entries, ScannedFiles, one_per_file, one_per_fingerprint
from overheard.index.worker import Fingerprinter
from overheard.text import plural


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
    entries : Entries
        Usable entries.
    hashes : dict of str to str
        Audio hash of each of these files, if known.
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
        self.entries: Entries = {}
        self.elsewhere: list[Path] = []
        self.notes: list[str] = []
        self._lost = 0  # files of a pack of another model that cannot be fingerprinted again now
        self._model = fingerprinter
        if path.exists():
            self._read(open_pack(path), scanned)
        self._saved_hashes = load_hashes(hashes_path(path))
        self.hashes = {
            name: known.audio_hash
            for name, known in self._saved_hashes.items()
            if name in self.entries and _describes(known, self.entries[name])
        }

    def by_hash(self) -> Entries:
        """Return the usable entries by the audio hash of their files."""
        return {audio_hash: self.entries[path] for path, audio_hash in self.hashes.items()}

    def _read(self, pack: Pack, scanned: ScannedFiles) -> None:
        entries = one_per_file(pack.entries())
        other_model = pack.digest != self._model.digest
        is_empty = not pack.n_segments
        if not other_model and (is_empty or pack.code_bytes == self._model.code_bytes):
            self.entries = entries
            self.notes += _unmounted(entries, scanned)
            return
        cause = "the pack was made for another model" if other_model else "the pack has another code length"
        self.notes.append(f"{cause}: all its files are fingerprinted again")
        unseen = [path for path in entries if path not in scanned.files]
        self.elsewhere = [Path(path) for path in unseen if not scanned.covers(path) and Path(path).exists()]
        self._lost = len(unseen) - len(self.elsewhere)

    def write(self, entries: Entries, hashes: Mapping[str, str], prune: bool) -> None:
        """Replace the pack, if something changed, and then the hashes of its files.

        Raises
        ------
        PackError
            If the pack cannot be written.
        """
        old = self.entries
        if entries.keys() != old.keys() or any(entry is not old[path] for path, entry in entries.items()):
            if self._lost and not prune:
                self._keep_copy()
            model = self._model
            tracks = one_per_fingerprint(entries)
            write_pack(self.path, self.path.stem, model.digest, model.spec, tracks, model.code_bytes)
        new = {
            path: FileHash(entry.size, entry.mtime_ns, hashes[path])
            for path, entry in entries.items()
            if path in hashes
        }
        if new != self._saved_hashes:
            try:
                save_hashes(hashes_path(self.path), new)
            except OverheardError as error:  # the pack is complete without it
                self.notes.append(str(error))

    def _keep_copy(self) -> None:
        """Copy a pack of another model whose files are not all visible: its tracks exist nowhere else."""
        target = free_name(self.path, "old")
        try:
            shutil.copyfile(self.path, target)
            if layers_folder(self.path).exists():
                shutil.copytree(layers_folder(self.path), layers_folder(target), dirs_exist_ok=True)
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


def _describes(known: FileHash, entry: TrackEntry) -> bool:
    return (known.size, known.mtime_ns) == (entry.size, entry.mtime_ns)


def _unmounted(entries: Entries, scanned: ScannedFiles) -> Iterator[str]:
    for root in scanned.empty_roots:
        n = sum(path.startswith(root + os.sep) for path in entries)
        if n:
            yield f"{root} contains no audio files now; its {n} tracks stay in the pack (unmounted drive?)"
