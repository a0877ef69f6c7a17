"""Fingerprint one audio file in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from overheard.catalogue.track_list import TrackEntry
from overheard.errors import AudioError
from overheard.fingerprint.spec import FingerprintSpec
from overheard.hear.decode import decode
from overheard.hear.tags import read_tags
from overheard.text import clean

if TYPE_CHECKING:
    from overheard.fingerprint.embedder import Embedder

MIN_DURATION_S = 1.0  # shorter files are sound effects; audio shorter than a segment (1.6 s) is padded
SILENCE_DB = -70.0  # of full scale, below gate.close_db: the level gate would never open for such a file
_CHUNK_SEGMENTS = 128  # two minutes of audio at one segment per second: about 4 MB as float32
_MIN_POWER = 1e-20  # avoids the logarithm of 0

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
    """Fingerprinter with the embedder and quantizer of a model file, on one thread.

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
        self._embedder: Embedder | None = None  # created on first use: the parent process needs none
        self.digest: str = self._model.digest
        self.spec: FingerprintSpec = self._model.spec
        self.code_bytes: int = self._model.quantizer.widths[0 if compact else -1]

    def embed(self, waveform: Waveform) -> npt.NDArray[np.float32]:
        """Return embeddings (n, dim) of a waveform (m,) in [-1, 1], one per hop."""
        from overheard.fingerprint.embedder import Embedder, fingerprint

        if self._embedder is None:
            self._embedder = Embedder(self._model, n_threads=1)
        return fingerprint(self._embedder, waveform)

    def encode(
        self, embeddings: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return packed_cells (n,) and codes (n, code_bytes) of all embeddings (n, dim) of a track."""
        return self._model.encode_track(embeddings, self.code_bytes)


class Cancelled(Exception):
    """The user stopped the run."""


def fingerprint_file(
    path: Path, fingerprinter: Fingerprinter, cancelled: Callable[[], bool] = lambda: False
) -> TrackEntry:
    """Decode and fingerprint a file.

    Parameters
    ----------
    path : Path
        An audio file.
    fingerprinter : Fingerprinter
        Embeds and encodes the audio.
    cancelled : callable
        Polled once per chunk of audio; if true, the file is abandoned.

    Raises
    ------
    AudioError
        If the file is unreadable, silent or too short.
    Cancelled
        If `cancelled` returned True.
    """
    file_status = _stat(path)
    spec = fingerprinter.spec
    rate = spec.frontend.sample_rate
    meter = _Meter(rate)
    embeddings = []
    for chunk in chunks(meter.measure(decode(path, rate)), spec):
        if cancelled():
            raise Cancelled
        embeddings.append(fingerprinter.embed(chunk))
    if meter.duration_s < MIN_DURATION_S:
        raise AudioError(f"{clean(str(path))}: too short ({meter.duration_s:.1f} s)")
    if meter.loudest_second_db < SILENCE_DB:
        raise AudioError(f"{clean(str(path))}: silent throughout")
    tags = read_tags(path)
    packed_cells, codes = fingerprinter.encode(np.concatenate(embeddings))
    return TrackEntry(
        title=tags.title,
        artist=tags.artist,
        album=tags.album,
        path=str(path),
        duration_s=meter.duration_s,
        size=file_status.st_size,
        mtime_ns=file_status.st_mtime_ns,
        packed_cells=packed_cells,
        codes=codes,
    )


def chunks(
    blocks: Iterable[Waveform], spec: FingerprintSpec, n_segments: int = _CHUNK_SEGMENTS
) -> Iterator[Waveform]:
    """Cut a stream into chunks of complete segments.

    The segments of all chunks are the segments of the whole stream, in order. Chunks overlap where segments
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
