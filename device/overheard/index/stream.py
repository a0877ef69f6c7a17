"""Fingerprint a stream of audio in bounded memory, or the parts of a stream one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from overheard.fingerprint.spec import FingerprintSpec
from overheard.index.fingerprinter import Cancelled, Codes, Fingerprinter, Waveform

MIN_DURATION_S = 1.0  # shorter files are sound effects; audio shorter than a segment (1.6 s) is padded
SILENCE_DB = -70.0  # of full scale, below gate.close_db: the level gate would never open for such a file
_CHUNK_SEGMENTS = 128  # two minutes of audio at one segment per second: about 4 MB as float32
_MIN_POWER = 1e-20  # avoids the logarithm of 0


class NoMusicError(Exception):
    """Why a stream has no fingerprint: it is too short or silent."""


def fingerprint_stream(
    blocks: Iterable[Waveform], fingerprinter: Fingerprinter, cancelled: Callable[[], bool]
) -> tuple[float, Codes]:
    """Return the duration of a stream in seconds, and its packed cells and codes.

    Raises
    ------
    NoMusicError
        If the stream is silent or too short.
    Cancelled
        If `cancelled`, which is polled once per chunk of audio, returns True.
    """
    spec = fingerprinter.spec
    meter = _Meter(spec.frontend.sample_rate)
    embeddings = []
    for chunk in chunks(meter.measure(blocks), spec):
        if cancelled():
            raise Cancelled
        embeddings.append(fingerprinter.embed(chunk))
    if meter.duration_s < MIN_DURATION_S:
        raise NoMusicError(f"too short ({meter.duration_s:.1f} s)")
    if meter.loudest_second_db < SILENCE_DB:
        raise NoMusicError("silent throughout")
    return meter.duration_s, fingerprinter.encode(np.concatenate(embeddings))


class Parts:
    """Cut a stream into parts, which are read one after the other.

    Parameters
    ----------
    blocks : iterable of ndarray, (n,) float32
        The stream.
    """

    def __init__(self, blocks: Iterable[Waveform]) -> None:
        self._blocks = iter(blocks)
        self._rest: Waveform = np.zeros(0, np.float32)

    def take(self, n_samples: int) -> Iterator[Waveform]:
        """Yield the next samples in blocks; fewer if the stream ends."""
        while n_samples > 0:
            block = self._rest if len(self._rest) else next(self._blocks, None)
            if block is None:
                return
            head, self._rest = block[:n_samples], block[n_samples:]
            n_samples -= len(head)
            yield head

    def rest(self) -> Iterator[Waveform]:
        """Yield all that is left of the stream."""
        if len(self._rest):
            yield self._rest
        yield from self._blocks


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
