"""Embed many segments with an int8 network on every core, and compare embeddings."""

from __future__ import annotations

import os

import numpy as np

from overheard.fingerprint.embedder import embed_normalized
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.runtime import Network
from overheard_export.threads import map_on_every_core


class Int8Encoder:
    """An int8 network as a function of normalized segments, with one copy of the network per thread."""

    def __init__(self, tflite: bytes) -> None:
        self._networks = [Network(tflite) for _ in range(os.cpu_count() or 1)]

    def __call__(self, segments: FloatArray) -> FloatArray:
        """Embed ``(n, n_frames, n_mels)``; see :func:`overheard.fingerprint.embedder.embed_normalized`."""
        shares = np.array_split(segments, len(self._networks))
        busy = [pair for pair in zip(self._networks, shares, strict=True) if len(pair[1])]
        if len(busy) < 2:
            return embed_normalized(self._networks[0], segments)
        return np.concatenate(map_on_every_core(lambda pair: embed_normalized(*pair), busy))


def mean_cosine(ones: FloatArray, others: FloatArray) -> float:
    """Return the mean cosine between the rows of two arrays of unit vectors ``(n, dim)``."""
    return float(np.mean(np.sum(ones * others, axis=1)))


def top1(clean: FloatArray, degraded: FloatArray) -> float:
    """Return the share of degraded segments ``(n, dim)`` that are nearest to their own clean one."""
    return float(np.mean(np.argmax(degraded @ clean.T, axis=1) == np.arange(len(clean))))
