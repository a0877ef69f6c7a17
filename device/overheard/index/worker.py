"""From an audio file to a track with its fingerprint, in bounded memory."""

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

if TYPE_CHECKING:
    from overheard.fingerprint.embedder import Embedder

MIN_DURATION_S = 1.0
SILENCE_DB = -70.0  # of full scale; a file whose loudest second stays below it has nothing to recognize
_CHUNK_SEGMENTS = 128

Waveform = npt.NDArray[np.float32]


class Fingerprinter(Protocol):
    """What indexing needs of a model."""

    @property
    def digest(self) -> str:
        """As ``Model.digest``."""

    @property
    def spec(self) -> FingerprintSpec:
        """As ``Model.spec``."""

    @property
    def code_bytes(self) -> int:
        """Bytes of a code."""

    def embed(self, waveform: Waveform) -> npt.NDArray[np.float32]:
        """Return embeddings (n, dim) of the segments of a waveform, one per hop."""

    def encode(
        self, embeddings: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return packed_cells (n,) and codes (n, code_bytes) of a whole track's embeddings."""


class ModelFingerprinter:
    """The real one: embedder and quantizer of a model file, on one thread."""

    def __init__(self, model_path: Path | None = None, compact: bool = False) -> None:
        """Load a model, None for the packaged one. Raises ModelError.

        Parameters
        ----------
        compact : keep only the first stage of each code: about half the bytes
        """
        from overheard.fingerprint.model import load_model

        self._model = load_model(model_path)
        self._embedder: Embedder | None = None
        self.digest: str = self._model.digest
        self.spec: FingerprintSpec = self._model.spec
        self.code_bytes: int = self._model.quantizer.widths[0 if compact else -1]

    def embed(self, waveform: Waveform) -> npt.NDArray[np.float32]:
        """Return the embeddings of a waveform."""
        from overheard.fingerprint.embedder import Embedder, fingerprint

        if self._embedder is None:
            self._embedder = Embedder(self._model, n_threads=1)
        return fingerprint(self._embedder, waveform)

    def encode(
        self, embeddings: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return packed_cells and codes of a track's embeddings."""
        return self._model.encode_track(embeddings, self.code_bytes)


class Cancelled(Exception):
    """The user wants to stop."""


def fingerprint_file(
    path: Path, fingerprinter: Fingerprinter, cancelled: Callable[[], bool] = lambda: False
) -> TrackEntry:
    """Decode and fingerprint a file.

    Raises
    ------
    AudioError
        If it is unreadable, silent or too short.
    Cancelled
        When `cancelled` says so, asked every few seconds of audio.
    """
    facts = _stat(path)
    spec = fingerprinter.spec
    rate = spec.frontend.sample_rate
    tally = _Tally(rate)
    embeddings = []
    for chunk in chunks(tally.watch(decode(path, rate)), spec):
        if cancelled():
            raise Cancelled
        embeddings.append(fingerprinter.embed(chunk))
    if tally.duration_s < MIN_DURATION_S:
        raise AudioError(f"{path}: too short ({tally.duration_s:.1f} s)")
    if tally.loudest_db < SILENCE_DB:
        raise AudioError(f"{path}: silent throughout")
    tags = read_tags(path)
    packed_cells, codes = fingerprinter.encode(np.concatenate(embeddings))
    return TrackEntry(
        title=tags.title,
        artist=tags.artist,
        album=tags.album,
        path=str(path),
        duration_s=tally.duration_s,
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        packed_cells=packed_cells,
        codes=codes,
    )


def chunks(
    blocks: Iterable[Waveform], spec: FingerprintSpec, n_segments: int = _CHUNK_SEGMENTS
) -> Iterator[Waveform]:
    """Cut a stream so that the chunks' fingerprints, put together, are the fingerprint of the whole.

    Yields
    ------
    ndarray, (n,) float32
        Just the samples of `n_segments` segments, the last of fewer; audio shorter than one segment as it is.
    """
    hop = spec.hop_frames * spec.frontend.hop_length
    size, step = (n_segments - 1) * hop + spec.segment_samples, n_segments * hop
    rest: Waveform = np.zeros(0, np.float32)
    any_yet = False
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= max(size, step):
            yield rest[:size]
            rest = rest[step:]
            any_yet = True
    if len(rest) >= spec.segment_samples:
        last = (len(rest) - spec.segment_samples) // hop
        yield rest[: last * hop + spec.segment_samples]
    elif len(rest) and not any_yet:
        yield rest


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror or error}") from error


class _Tally:
    """Length of a stream, and the level of its loudest second."""

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._n_samples = 0
        self._power = 0.0

    @property
    def duration_s(self) -> float:
        return self._n_samples / self._rate

    @property
    def loudest_db(self) -> float:
        return float(10 * np.log10(max(self._power, 1e-20)))

    def watch(self, blocks: Iterable[Waveform]) -> Iterator[Waveform]:
        for block in blocks:
            self._n_samples += len(block)
            for second in np.array_split(block, max(1, len(block) // self._rate)):
                self._power = max(self._power, float(np.mean(np.square(second))))
            yield block
