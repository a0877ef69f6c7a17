"""Progress and result of an indexing run."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Progress:
    """Progress of an indexing run, reported at the start and after each file."""

    done: int  # files
    total: int  # files
    bytes_done: int  # bytes of audio files predict the remaining time better than their number
    bytes_total: int
    audio_s: float  # fingerprinted so far
    failed: int  # files and folders
    path: str  # of the file that was just finished; empty at the start


@dataclasses.dataclass(frozen=True)
class IndexReport:
    """Result of an indexing run. Counts are files unless stated otherwise."""

    pack: Path
    tracks: int  # tracks in the pack after the run
    duration_s: float  # of all tracks in the pack
    pack_bytes: int
    added: int
    updated: int
    unchanged: int
    removed: int  # with `prune`
    duplicates: int  # files with the same fingerprint as another file
    failed: tuple[tuple[str, str], ...]  # (path, reason)
    audio_s: float  # fingerprinted in this run
    elapsed_s: float
    interrupted: bool
    notes: tuple[str, ...] = ()
    moved: int = 0  # files at a new path, recognized by their audio
    missing: int = 0  # files that were not seen; their tracks stay in the pack
    warnings: tuple[
        tuple[str, str], ...
    ] = ()  # (path, what is wrong) of damaged files that were fingerprinted

    @property
    def times_real_time(self) -> float:
        """Seconds of audio fingerprinted per second of this run."""
        return self.audio_s / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def bytes_per_track(self) -> float:
        """Size of the pack file per track."""
        return self.pack_bytes / self.tracks if self.tracks else 0.0

    @property
    def bytes_per_minute(self) -> float:
        """Size of the pack file per minute of audio."""
        return self.pack_bytes / (self.duration_s / 60) if self.duration_s else 0.0
