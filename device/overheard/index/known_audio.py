"""Audio that has a fingerprint already, in the pack or in the journal of an interrupted run, by its hash."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from overheard.catalogue.track_list import TrackEntry
from overheard.index.audio_file import START
from overheard.index.index_plan import Files, KnownFile, ScannedFiles, is_current
from overheard.index.journal import Journal
from overheard.index.pack_on_disk import PackOnDisk


class KnownAudio:
    """The files that are known when a run begins, and their fingerprints.

    Parameters
    ----------
    pack : PackOnDisk
    journal : Journal
    scanned : ScannedFiles

    Attributes
    ----------
    files : Files
        All known files.
    hashes : frozenset of str
        Hashes of audio with a fingerprint.
    n_saved_segments : int
        Segments in the journal.
    """

    def __init__(self, pack: PackOnDisk, journal: Journal, scanned: ScannedFiles) -> None:
        self._pack, self._journal = pack, journal
        saved: Files = {}
        self.n_saved_segments = 0
        for track in journal.tracks():
            entry = track.entry
            ids = saved[entry.path].ids if entry.path in saved else ()
            saved[entry.path] = KnownFile(entry.size, entry.mtime_ns, (*ids, entry.id), track.audio_hash)
            self.n_saved_segments += len(entry.packed_cells)
        self.files = {**pack.files, **saved}
        self._ids = {known.audio_hash: known.ids for known in pack.files.values() if known.audio_hash}
        # A file that changed since then is fingerprinted again, which replaces its tracks in the journal.
        self._saved_paths = {
            known.audio_hash: path
            for path, known in saved.items()
            if known.audio_hash and is_current(known, scanned.files.get(path, known.facts))
        }
        self.hashes = frozenset(self._ids) | frozenset(self._saved_paths)

    def with_fingerprints(self, entries: Sequence[TrackEntry], audio_hash: str) -> list[TrackEntry]:
        """Return the tracks of a file with the fingerprints of a known file that has the same audio.

        Returns
        -------
        list of TrackEntry
            Empty if the known file has changed meanwhile, so that its fingerprints are gone.
        """
        path = self._saved_paths.get(audio_hash)
        if path is not None:
            found = [track.entry for track in self._journal.tracks_of(path) if track.audio_hash == audio_hash]
        else:
            tracks = map(self._pack.entry, self._ids[audio_hash])
            found = [track for track in tracks if track is not None]
        by_start = {track.extras.get(START): track for track in found}
        known = [(by_start.get(entry.extras.get(START)), entry) for entry in entries]
        return [_with_fingerprint_of(track, entry) for track, entry in known if track is not None]


def _with_fingerprint_of(known: TrackEntry, entry: TrackEntry) -> TrackEntry:
    return dataclasses.replace(
        entry,
        packed_cells=known.packed_cells,
        codes=known.codes,
        duration_s=known.duration_s,
        extras={**known.extras, **entry.extras},
    )
