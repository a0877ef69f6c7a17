"""Segments to embeddings with the int8 network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from overheard.errors import ModelError
from overheard.fingerprint.frontend import FloatArray, log_mel, normalize_segments, slice_segments
from overheard.fingerprint.model import Model
from overheard.fingerprint.runtime import Network
from overheard.fingerprint.spec import FingerprintSpec

Int8Array = npt.NDArray[np.int8]


@dataclasses.dataclass(frozen=True)
class Queries:
    """What the matcher is told of heard segments.

    Attributes
    ----------
    embeddings : (n, dim) float32, unit norm
    expected : (n,) float32, the similarity to their own track that their sound lets expect
    """

    embeddings: FloatArray
    expected: FloatArray

    @classmethod
    def join(cls, parts: Sequence[Queries]) -> Queries:
        """Return several groups of queries as one."""
        return cls(
            np.concatenate([part.embeddings for part in parts]),
            np.concatenate([part.expected for part in parts]),
        )


class Embedder:
    """Runs a model's network, one segment at a time.

    Parameters
    ----------
    model : the network and its spec
    n_threads : of the runtime; one is right for so small a network
    runtime : distribution name, to compare runtimes; the preferred installed one where None
    """

    def __init__(self, model: Model, n_threads: int = 1, runtime: str | None = None) -> None:
        self.spec, self.quality = model.spec, model.quality
        self.network = Network(model.tflite, n_threads, runtime)
        wanted = (1, self.spec.n_frames, self.spec.frontend.n_mels, 1)
        if self.network.input_shape != wanted or self.network.output_shape != (1, self.spec.dim):
            raise ModelError(
                f"the network's shapes do not fit its spec: {self.network.input_shape} is not {wanted}"
            )

    def quantize(self, segments: FloatArray) -> Int8Array:
        """Return the network's input, ``(n, n_frames, n_mels)`` int8, for log-mel segments in dB."""
        return levels(self.network, normalize_segments(segments, self.spec))

    def embed(self, segments: FloatArray) -> FloatArray:
        """Embed log-mel segments.

        Parameters
        ----------
        segments : (n, n_frames, n_mels) float32, dB

        Returns
        -------
        (n, dim) float32, unit norm
        """
        return embed_normalized(self.network, normalize_segments(segments, self.spec))

    def query(self, segments: FloatArray) -> Queries:
        """Embed log-mel segments, ``(n, n_frames, n_mels)`` float32 in dB, as what was heard."""
        normalized = normalize_segments(segments, self.spec)
        return Queries(embed_normalized(self.network, normalized), self.quality.expect(normalized))


def levels(network: Network, normalized: FloatArray) -> Int8Array:
    """Return a network's input for normalized segments, ``(n, n_frames, n_mels)``."""
    scaled = normalized / np.float32(network.input_scale)
    values: Int8Array = np.clip(np.rint(scaled) + network.input_zero_point, -128, 127).astype(np.int8)
    return values


def embed_normalized(network: Network, normalized: FloatArray) -> FloatArray:
    """Embed normalized segments ``(n, n_frames, n_mels)`` by a loaded network.

    Returns
    -------
    (n, dim) float32 of unit norm; zeros where the network rounds all to nothing
    """
    outputs = np.empty((len(normalized), network.output_shape[1]), dtype=np.float32)
    for index, values in enumerate(levels(network, normalized)):
        outputs[index] = network.invoke(values[None, :, :, None])[0]
    outputs -= np.float32(network.output_zero_point)
    outputs /= np.linalg.norm(outputs, axis=1, keepdims=True) + np.float32(1e-9)
    return outputs


def segments_of(waveform: FloatArray, step_frames: int, spec: FingerprintSpec) -> Iterator[FloatArray]:
    """Yield a whole waveform's log-mel segments, ``(at most 256, n_frames, n_mels)`` dB at a time.

    Parameters
    ----------
    waveform : (n,) float32 at the spec's sample rate; shorter than a segment is padded with silence
    step_frames : frames between the starts of neighbouring segments
    """
    if len(waveform) < spec.segment_samples:
        waveform = np.pad(waveform, (0, spec.segment_samples - len(waveform)))
    step = step_frames * spec.frontend.hop_length
    n_segments = (len(waveform) - spec.segment_samples) // step + 1
    for first in range(0, n_segments, 256):  # bounds memory on long recordings
        start = first * step
        mel = log_mel(waveform[start : start + 255 * step + spec.segment_samples], spec.frontend)
        yield slice_segments(mel, step_frames, spec)


def embed_waveform(embedder: Embedder, waveform: FloatArray, step_frames: int) -> FloatArray:
    """Return the embeddings ``(m, dim)`` of a waveform's segments, see :func:`segments_of`."""
    return np.concatenate(
        [embedder.embed(part) for part in segments_of(waveform, step_frames, embedder.spec)]
    )


def query_waveform(embedder: Embedder, waveform: FloatArray, step_frames: int) -> Queries:
    """Return the queries of a waveform's segments, see :func:`segments_of`."""
    return Queries.join([embedder.query(part) for part in segments_of(waveform, step_frames, embedder.spec)])


def fingerprint(embedder: Embedder, waveform: FloatArray) -> FloatArray:
    """Return a track's embeddings in time order, ``(m, dim)``; number ``i`` starts at ``i * hop_s``."""
    return embed_waveform(embedder, waveform, embedder.spec.hop_frames)
