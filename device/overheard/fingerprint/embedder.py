"""Convert segments to embeddings with the int8 network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from overheard.errors import ModelError
from overheard.fingerprint.frontend import FloatArray, log_mel, normalize_segments, slice_segments
from overheard.fingerprint.model import Model
from overheard.fingerprint.query_rows import QueryRows
from overheard.fingerprint.runtime import Network
from overheard.fingerprint.spec import FingerprintSpec

Int8Array = npt.NDArray[np.int8]

MAX_SEGMENTS_AT_ONCE = 256  # about 5 MB of log-mel frames
SILENT_DB = -85.0  # loudest band of a frame that only has the last bit of 16
MAX_SILENT_SHARE = 0.5  # of a segment's frames


@dataclasses.dataclass(frozen=True)
class Queries(QueryRows):
    """Recorded segments as the matcher needs them.

    Attributes
    ----------
    embeddings : (n, dim) float32, unit norm; zeros for a silent segment
    expected : (n,) float32
        Cosine similarity to expect from a correct match, judging by the sound quality alone.
    """

    embeddings: FloatArray
    expected: FloatArray


class Embedder:
    """Run a model's network, one segment at a time.

    Parameters
    ----------
    model : the network and its spec
    n_threads : threads of the runtime; the network is too small to gain from more than one
    runtime : distribution name of the runtime; the preferred installed one if None

    Raises
    ------
    ModelError
        If the network cannot be loaded or its shapes contradict the spec.
    """

    def __init__(self, model: Model, n_threads: int = 1, runtime: str | None = None) -> None:
        self.spec, self.quality = model.spec, model.quality
        self.network = Network(model.tflite, n_threads, runtime)
        shapes = self.network.input_shape, self.network.output_shape
        expected = (1, self.spec.n_frames, self.spec.frontend.n_mels, 1), (1, self.spec.dim)
        if shapes != expected:
            raise ModelError(
                f"the network has input and output shapes {shapes} instead of {expected}",
                "export the model again with overheard-export model",
            )

    def quantize(self, segments: FloatArray) -> Int8Array:
        """Return the network's input ``(n, n_frames, n_mels)`` int8 for log-mel segments in dB."""
        return quantize_input(self.network, normalize_segments(segments, self.spec))

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
        """Return queries for recorded log-mel segments, ``(n, n_frames, n_mels)`` float32 in dB.

        Segments that are mostly digital silence are not embedded: the network makes the same of all silence,
        so that a pause of a telephone's bell would be similar to the end of a track.
        """
        normalized = normalize_segments(segments, self.spec)
        audible = np.mean(segments.max(axis=2) < SILENT_DB, axis=1) <= MAX_SILENT_SHARE
        embeddings = np.zeros((len(segments), self.spec.dim), dtype=np.float32)
        embeddings[audible] = embed_normalized(self.network, normalized[audible])
        return Queries(embeddings, self.quality.expect(normalized))


def quantize_input(network: Network, normalized: FloatArray) -> Int8Array:
    """Return a network's input ``(n, n_frames, n_mels)`` int8 for normalized segments of that shape."""
    scaled = normalized / np.float32(network.input_scale)
    values: Int8Array = np.clip(np.rint(scaled) + network.input_zero_point, -128, 127).astype(np.int8)
    return values


def embed_normalized(network: Network, normalized: FloatArray) -> FloatArray:
    """Embed normalized segments ``(n, n_frames, n_mels)`` with a loaded network.

    Returns
    -------
    (n, dim) float32, unit norm; zeros if the network's int8 output is all zero
    """
    outputs = np.empty((len(normalized), network.output_shape[1]), dtype=np.float32)
    for index, values in enumerate(quantize_input(network, normalized)):
        outputs[index] = network.invoke(values[None, :, :, None])[0]
    outputs -= np.float32(network.output_zero_point)
    outputs /= np.linalg.norm(outputs, axis=1, keepdims=True) + np.float32(1e-9)
    return outputs


def segments_of(waveform: FloatArray, step_frames: int, spec: FingerprintSpec) -> Iterator[FloatArray]:
    """Yield a waveform's log-mel segments in groups, ``(at most 256, n_frames, n_mels)`` float32 in dB.

    Parameters
    ----------
    waveform : (n,) float32 at the spec's sample rate
        Silence is appended if it is shorter than a segment.
    step_frames : frames between the starts of consecutive segments
    """
    if len(waveform) < spec.segment_samples:
        waveform = np.pad(waveform, (0, spec.segment_samples - len(waveform)))
    step = step_frames * spec.frontend.hop_length
    n_segments = (len(waveform) - spec.segment_samples) // step + 1
    for first in range(0, n_segments, MAX_SEGMENTS_AT_ONCE):
        start = first * step
        end = start + (MAX_SEGMENTS_AT_ONCE - 1) * step + spec.segment_samples
        mel = log_mel(waveform[start:end], spec.frontend)
        yield slice_segments(mel, step_frames, spec)


def embed_waveform(embedder: Embedder, waveform: FloatArray, step_frames: int) -> FloatArray:
    """Return the embeddings ``(m, dim)`` float32 of a waveform's segments, see :func:`segments_of`."""
    return np.concatenate(
        [embedder.embed(part) for part in segments_of(waveform, step_frames, embedder.spec)]
    )


def query_waveform(embedder: Embedder, waveform: FloatArray, step_frames: int) -> Queries:
    """Return the queries of a waveform ``(n,)`` float32, one per segment, see :func:`segments_of`."""
    return Queries.join([embedder.query(part) for part in segments_of(waveform, step_frames, embedder.spec)])


def fingerprint(embedder: Embedder, waveform: FloatArray) -> FloatArray:
    """Return a track's embeddings ``(m, dim)`` float32; segment ``i`` starts at ``i * hop_s`` seconds."""
    return embed_waveform(embedder, waveform, embedder.spec.hop_frames)
