"""Turn an audio file's tags, cue sheet and fingerprints into tracks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from overheard.catalogue.track_list import Metadata, TrackEntry
from overheard.errors import AudioError
from overheard.hear.cue import CueSheet, CueTrack
from overheard.hear.decode import decode
from overheard.hear.tags import Tags
from overheard.index.cue_files import Facts, combined_facts
from overheard.index.fingerprinter import Codes, Fingerprinter
from overheard.index.stream import NoMusicError, Parts, fingerprint_stream
from overheard.text import clean, plural

START = "start_s"  # in the extras of a track: where it starts in a file with several tracks


@dataclasses.dataclass(frozen=True)
class AudioFile:
    """An audio file: path, size and modification time with its cue sheet's, and tags."""

    path: Path
    facts: Facts
    tags: Tags

    def entry(self, duration_s: float, codes: Codes) -> TrackEntry:
        """Return the track of a file that is one track."""
        return TrackEntry(
            title=self.tags.title,
            artist=self.tags.artist,
            album=self.tags.album,
            path=str(self.path),
            duration_s=duration_s,
            size=self.facts[0],
            mtime_ns=self.facts[1],
            packed_cells=codes[0],
            codes=codes[1],
        )

    def part(self, sheet: CueSheet, track: CueTrack, duration_s: float, codes: Codes) -> TrackEntry:
        """Return one track of a cue sheet; the tags of the file replace what the sheet lacks."""
        return dataclasses.replace(
            self.entry(duration_s, codes),
            title=track.title or f"{self.tags.title}, track {track.number}",
            artist=track.artist or sheet.artist or self.tags.artist,
            album=sheet.album or self.tags.album,
            extras={START: f"{track.start_s:.3f}"},
        )


def start_of(track: Metadata) -> float:
    """Return where a track starts in its file, in seconds; 0 if the file is one track."""
    try:
        return float(track.extras.get(START, 0))
    except ValueError:  # written by another program
        return 0.0


def facts_of(path: Path, cue: Path | None) -> Facts:
    """Return size and modification time of an audio file with its cue sheet. Raises AudioError."""
    try:
        return combined_facts(path.stat(), cue)
    except OSError as error:
        raise AudioError(f"{clean(str(path))}: {error.strerror or error}") from error


def sheet_hash(audio_hash: str, sheet: CueSheet) -> str:
    """Return the audio hash of a file with a cue sheet, which changes with the boundaries of the tracks."""
    return hashlib.sha256(f"{audio_hash} {sheet.boundaries}".encode()).hexdigest()[:32]


def known_tracks(file: AudioFile, sheet: CueSheet, fingerprinter: Fingerprinter) -> list[TrackEntry]:
    """Return the tracks of a sheet without fingerprints."""
    return [file.part(sheet, track, 0.0, no_codes(fingerprinter)) for track in sheet.tracks]


def no_codes(fingerprinter: Fingerprinter) -> Codes:
    """Return an empty fingerprint."""
    return np.zeros(0, np.uint16), np.zeros((0, fingerprinter.code_bytes), np.uint8)


def sheet_tracks(
    file: AudioFile, sheet: CueSheet, fingerprinter: Fingerprinter, cancelled: Callable[[], bool]
) -> tuple[list[TrackEntry], float, str]:
    """Decode and fingerprint a file as the tracks of a cue sheet.

    Returns
    -------
    The tracks, the file's duration in seconds, and a warning: which tracks have no fingerprint.

    Raises
    ------
    AudioError
        If the file is unreadable, or none of its tracks has a fingerprint.
    Cancelled
        If `cancelled`, which is polled once per chunk of audio, returns True.
    """
    rate = fingerprinter.spec.frontend.sample_rate
    parts = Parts(decode(file.path, rate))
    starts = [round(track.start_s * rate) for track in sheet.tracks]
    for _ in parts.take(starts[0]):  # a hidden track, or silence
        pass
    tracks: list[TrackEntry] = []
    without: list[str] = []
    duration_s = starts[0] / rate
    for number, track in enumerate(sheet.tracks):
        is_last = number + 1 == len(starts)
        blocks = parts.rest() if is_last else parts.take(starts[number + 1] - starts[number])
        try:
            length_s, codes = fingerprint_stream(blocks, fingerprinter, cancelled)
        except NoMusicError as error:
            without.append(f"track {track.number} is {error}")
            continue
        duration_s = starts[number] / rate + length_s
        tracks.append(file.part(sheet, track, length_s, codes))
    if not tracks:
        raise AudioError(f"{clean(str(file.path))}: {without[0]}")
    warning = (
        without[0] if len(without) == 1 else f"{plural(len(without), 'track')} of its cue sheet are too short"
    )
    return tracks, duration_s, (warning if without else "")
