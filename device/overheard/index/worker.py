"""Fingerprint one audio file in bounded memory: as one track, or as the tracks of its cue sheet."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Set
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from overheard.catalogue.track_list import TrackEntry
from overheard.errors import AudioError
from overheard.fingerprint.spec import FingerprintSpec
from overheard.hear.cue import CueError, CueSheet
from overheard.hear.decode import decode
from overheard.hear.packets import AudioPackets, audio_packets
from overheard.hear.tags import read_tags
from overheard.index.audio_file import AudioFile, facts_of, known_tracks, no_codes, sheet_hash, sheet_tracks
from overheard.index.cue_files import cue_of, read_sheet
from overheard.index.fingerprinter import Cancelled, Fingerprinter, Waveform
from overheard.index.stream import NoMusicError, fingerprint_stream
from overheard.text import clean, short_clock

if TYPE_CHECKING:
    from overheard.fingerprint.embedder import Embedder

__all__ = [
    "Cancelled",
    "FileResult",
    "Fingerprinter",
    "ModelFingerprinter",
    "fingerprint_file",
    "process_file",
]

# Audio may be this much shorter than the file's header says before a warning; encoders pad by less.
_TOLERATED_S, _TOLERATED_PART = 2.0, 0.1
# Part of the packets. Joined MP3s have one gap per joint; those without half of their packets, 14% to 61%.
_TOLERATED_GAPS = 0.02


class ModelFingerprinter:
    """Fingerprinter with the embedder and quantizer of a model file; each thread that uses it has a network.

    Parameters
    ----------
    model_path : Path, optional
        The model file; the packaged one if omitted.
    compact : bool
        Whether to keep only the first stage of each code, which halves the size.

    Raises
    ------
    ModelError
        If the model is missing or damaged.
    """

    def __init__(self, model_path: Path | None = None, compact: bool = False) -> None:
        from overheard.fingerprint.model import load_model

        self._model = load_model(model_path)
        self._of_thread = threading.local()  # its embedder, created on first use: a parent process needs none
        self.digest: str = self._model.digest
        self.network_digest: str = self._model.network_digest
        self.spec: FingerprintSpec = self._model.spec
        self.code_bytes: int = self._model.quantizer.widths[0 if compact else -1]

    def embed(self, waveform: Waveform) -> npt.NDArray[np.float32]:
        """Return embeddings (n, dim) of a waveform (m,) in [-1, 1], one per hop."""
        from overheard.fingerprint.embedder import Embedder, fingerprint

        embedder: Embedder | None = getattr(self._of_thread, "embedder", None)
        if embedder is None:
            embedder = self._of_thread.embedder = Embedder(self._model, n_threads=1)
        return fingerprint(embedder, waveform)

    def encode(
        self, embeddings: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return packed_cells (n,) and codes (n, code_bytes) of all embeddings (n, dim) of a track."""
        return self._model.encode_track(embeddings, self.code_bytes)


@dataclasses.dataclass(frozen=True)
class FileResult:
    """What a worker found out about a file.

    Attributes
    ----------
    entry : TrackEntry
        Its track, or the first of the tracks of its cue sheet; without a fingerprint if `is_known`.
    audio_hash : str
        See :mod:`overheard.hear.packets`; empty if the file is damaged. That of a file with a cue sheet
        includes where its tracks start.
    is_known : bool
        Whether the hash is one of the known ones, so that the file was not decoded.
    warning : str
        What is wrong with the file although it could be fingerprinted.
    others : tuple of TrackEntry
        The other tracks of its cue sheet.
    """

    entry: TrackEntry
    audio_hash: str = ""
    is_known: bool = False
    warning: str = ""
    others: tuple[TrackEntry, ...] = ()


def process_file(
    path: Path,
    fingerprinter: Fingerprinter,
    known: Set[str] = frozenset(),
    cancelled: Callable[[], bool] = lambda: False,
) -> FileResult:
    """Hash a file's audio packets, and fingerprint it unless the hash is in `known`.

    Raises
    ------
    AudioError, Cancelled
        As :func:`fingerprint_file`.
    """
    cue = cue_of(path)
    facts = facts_of(path, cue)  # before the first read: a file that changes later is processed again
    packets = audio_packets(path, cancelled)
    if cancelled():
        raise Cancelled
    file = AudioFile(path, facts, read_tags(path))
    try:
        sheet = read_sheet(path, cue, file.tags.cue_sheet)
    except CueError as error:
        result = _one_track(file, packets, fingerprinter, known, cancelled)
        problem = f"its cue sheet cannot be used ({error}), so the file is one track"
        return dataclasses.replace(result, warning=result.warning or problem)
    if sheet is None:
        return _one_track(file, packets, fingerprinter, known, cancelled)
    return _tracks(file, sheet, packets, fingerprinter, known, cancelled)


def _one_track(
    file: AudioFile,
    packets: AudioPackets | None,
    fingerprinter: Fingerprinter,
    known: Set[str],
    cancelled: Callable[[], bool],
) -> FileResult:
    if packets is None:
        return FileResult(_fingerprint(file, fingerprinter, cancelled))
    if packets.hash in known:
        return FileResult(file.entry(0.0, no_codes(fingerprinter)), packets.hash, is_known=True)
    entry = _fingerprint(file, fingerprinter, cancelled)
    return FileResult(entry, packets.hash, warning=_missing_audio(entry.duration_s, packets))


def _tracks(
    file: AudioFile,
    sheet: CueSheet,
    packets: AudioPackets | None,
    fingerprinter: Fingerprinter,
    known: Set[str],
    cancelled: Callable[[], bool],
) -> FileResult:
    audio_hash = sheet_hash(packets.hash, sheet) if packets is not None else ""
    if audio_hash in known:
        first, *others = known_tracks(file, sheet, fingerprinter)
        return FileResult(first, audio_hash, True, "", tuple(others))
    (first, *others), duration_s, warning = sheet_tracks(file, sheet, fingerprinter, cancelled)
    if packets is not None:
        warning = _missing_audio(duration_s, packets) or warning
    return FileResult(first, audio_hash, False, warning, tuple(others))


def _missing_audio(duration_s: float, packets: AudioPackets) -> str:
    """Report a file with much less audio than it should have, such as an incomplete download."""
    missing_s = packets.declared_s - duration_s
    if missing_s >= max(_TOLERATED_S, _TOLERATED_PART * packets.declared_s):
        return (
            f"only {short_clock(duration_s)} of {short_clock(packets.declared_s)} can be read; "
            "the file is damaged or incomplete"
        )
    if packets.gaps > _TOLERATED_GAPS:
        return "parts between the packets are missing; the file is damaged"
    return ""


def fingerprint_file(
    path: Path, fingerprinter: Fingerprinter, cancelled: Callable[[], bool] = lambda: False
) -> TrackEntry:
    """Decode and fingerprint a file as one track.

    Raises
    ------
    AudioError
        If the file is unreadable, silent or too short.
    Cancelled
        If `cancelled`, which is polled once per chunk of audio, returns True.
    """
    return _fingerprint(AudioFile(path, facts_of(path, None), read_tags(path)), fingerprinter, cancelled)


def _fingerprint(file: AudioFile, fingerprinter: Fingerprinter, cancelled: Callable[[], bool]) -> TrackEntry:
    try:
        blocks = decode(file.path, fingerprinter.spec.frontend.sample_rate)
        return file.entry(*fingerprint_stream(blocks, fingerprinter, cancelled))
    except NoMusicError as error:
        raise AudioError(f"{clean(str(file.path))}: {error}") from error
