"""Fingerprint one audio file in bounded memory."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from overheard.catalogue.track_list import TrackEntry
from overheard.errors import AudioError
from overheard.fingerprint.spec import FingerprintSpec
from overheard.hear.decode import decode
from overheard.hear.packets import AudioPackets, audio_packets
from overheard.hear.tags import read_tags
from overheard.text import clean, short_clock

if TYPE_CHECKING:
    from overheard.fingerprint.embedder import Embedder

MIN_DURATION_S = 1.0  # shorter files are sound effects; audio shorter than a segment (1.6 s) is padded
SILENCE_DB = -70.0  # of full scale, below gate.close_db: the level gate would never open for such a file
_CHUNK_SEGMENTS = 128  # two minutes of audio at one segment per second: about 4 MB as float32
_MIN_POWER = 1e-20  # avoids the logarithm of 0
# Audio may be this much shorter than the file's header says before a warning; encoders pad by less.
_TOLERATED_S, _TOLERATED_PART = 2.0, 0.1

Waveform = npt.NDArray[np.float32]


class Fingerprinter(Protocol):
    """The part of a model that indexing uses."""

    @property
    def digest(self) -> str:
        """As ``Model.digest``."""

    @property
    def spec(self) -> FingerprintSpec:
        """As ``Model.spec``."""

    @property
    def code_bytes(self) -> int:
        """Bytes per code."""

    def embed(self, waveform: Waveform) -> npt.NDArray[np.float32]:
        """Return embeddings (n, dim) of a waveform (m,) in [-1, 1], one per hop."""

    def encode(
        self, embeddings: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return packed_cells (n,) and codes (n, code_bytes) of all embeddings (n, dim) of a track."""


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


class Cancelled(Exception):
    """The user stopped the run."""


@dataclasses.dataclass(frozen=True)
class FileResult:
    """What a worker found out about a file.

    Attributes
    ----------
    entry : TrackEntry
        Its track; without a fingerprint if `is_known`.
    audio_hash : str
        See :mod:`overheard.hear.packets`; empty if the file is damaged.
    is_known : bool
        Whether the hash is one of the known ones, so that the file was not decoded.
    warning : str
        What is wrong with the file although it could be fingerprinted.
    """

    entry: TrackEntry
    audio_hash: str = ""
    is_known: bool = False
    warning: str = ""


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
    status = _stat(path)  # before the first read: a file that changes later is processed again
    packets = audio_packets(path, cancelled)
    if cancelled():
        raise Cancelled
    if packets is None:
        return FileResult(fingerprint_file(path, fingerprinter, cancelled))
    if packets.hash in known:
        nothing = np.zeros((0, fingerprinter.code_bytes), np.uint8)
        entry = _entry(path, status, 0.0, np.zeros(0, np.uint16), nothing)
        return FileResult(entry, packets.hash, is_known=True)
    entry = fingerprint_file(path, fingerprinter, cancelled)
    return FileResult(entry, packets.hash, warning=_warning(entry, packets))


def _warning(entry: TrackEntry, packets: AudioPackets) -> str:
    """Report a file whose audio ends long before its header says, such as an incomplete download."""
    missing_s = packets.declared_s - entry.duration_s
    if missing_s < max(_TOLERATED_S, _TOLERATED_PART * packets.declared_s):
        return ""
    return (
        f"only {short_clock(entry.duration_s)} of {short_clock(packets.declared_s)} can be read; "
        "the file is damaged or incomplete"
    )


def fingerprint_file(
    path: Path, fingerprinter: Fingerprinter, cancelled: Callable[[], bool] = lambda: False
) -> TrackEntry:
    """Decode and fingerprint a file.

    Raises
    ------
    AudioError
        If the file is unreadable, silent or too short.
    Cancelled
        If `cancelled`, which is polled once per chunk of audio, returns True.
    """
    status = _stat(path)
    spec = fingerprinter.spec
    meter = _Meter(spec.frontend.sample_rate)
    embeddings = []
    for chunk in chunks(meter.measure(decode(path, spec.frontend.sample_rate)), spec):
        if cancelled():
            raise Cancelled
        embeddings.append(fingerprinter.embed(chunk))
    if meter.duration_s < MIN_DURATION_S:
        raise AudioError(f"{clean(str(path))}: too short ({meter.duration_s:.1f} s)")
    if meter.loudest_second_db < SILENCE_DB:
        raise AudioError(f"{clean(str(path))}: silent throughout")
    packed_cells, codes = fingerprinter.encode(np.concatenate(embeddings))
    return _entry(path, status, meter.duration_s, packed_cells, codes)


def _entry(
    path: Path,
    status: os.stat_result,
    duration_s: float,
    packed_cells: npt.NDArray[np.uint16],
    codes: npt.NDArray[np.uint8],
) -> TrackEntry:
    tags = read_tags(path)
    return TrackEntry(
        title=tags.title,
        artist=tags.artist,
        album=tags.album,
        path=str(path),
        duration_s=duration_s,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        packed_cells=packed_cells,
        codes=codes,
    )


def chunks(
    blocks: Iterable[Waveform], spec: FingerprintSpec, n_segments: int = _CHUNK_SEGMENTS
) -> Iterator[Waveform]:
    """Cut a stream into chunks of complete segments.

    The segments of all chunks are the segments of the stream, in order. Chunks overlap where segments
    do.

    Parameters
    ----------
    blocks : iterable of ndarray, (n,) float32
        The stream, in blocks of any length.
    spec : FingerprintSpec
        Length and hop of a segment.
    n_segments : int
        Segments per chunk.

    Yields
    ------
    ndarray, (n,) float32
        The samples of `n_segments` segments; the last chunk may have fewer. A stream that is shorter than
        one segment is one chunk.
    """
    hop = spec.hop_frames * spec.frontend.hop_length
    chunk_samples, step = (n_segments - 1) * hop + spec.segment_samples, n_segments * hop
    rest: Waveform = np.zeros(0, np.float32)
    is_first = True
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= max(chunk_samples, step):
            yield rest[:chunk_samples]
            rest = rest[step:]
            is_first = False
    if len(rest) >= spec.segment_samples:
        last_segment = (len(rest) - spec.segment_samples) // hop
        yield rest[: last_segment * hop + spec.segment_samples]
    elif len(rest) and is_first:
        yield rest


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise AudioError(f"{clean(str(path))}: {error.strerror or error}") from error


class _Meter:
    """Measures the duration of a stream and the level of its loudest second."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._n_samples = 0
        self._max_power = 0.0

    @property
    def duration_s(self) -> float:
        return self._n_samples / self._rate

    @property
    def loudest_second_db(self) -> float:
        return float(10 * np.log10(max(self._max_power, _MIN_POWER)))

    def measure(self, blocks: Iterable[Waveform]) -> Iterator[Waveform]:
        """Yield the blocks unchanged and measure them."""
        for block in blocks:
            self._n_samples += len(block)
            for second in np.array_split(block, max(1, len(block) // self._rate)):
                self._max_power = max(self._max_power, float(np.mean(np.square(second))))
            yield block
