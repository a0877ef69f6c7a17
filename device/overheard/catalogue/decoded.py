"""Keep the vectors of segments that were decoded: overlapping windows need mostly the same ones."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from overheard.catalogue.lists import IntArray
from overheard.fingerprint.frontend import FloatArray


class DecodedSegments(ABC):
    """Scoring vectors and hubness penalties of segments, each decoded once while it is in the cache.

    Parameters
    ----------
    dim : length of the vectors
    n_cached : segments in the cache; at least 1
    """

    def __init__(self, dim: int, n_cached: int) -> None:
        # A direct-mapped cache: row n % n_cached may hold segment n.
        self._cached_segments: IntArray = np.full(n_cached, -1, dtype=np.int64)
        self._cached_vectors: FloatArray = np.zeros((n_cached, dim), dtype=np.float32)
        self._cached_penalties: FloatArray = np.zeros(n_cached, dtype=np.float32)

    @abstractmethod
    def _decode(self, segments: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return scoring vectors ``(n, dim)`` and hubness penalties ``(n,)`` of at least one segment."""

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return the scoring vectors ``(n, dim)`` float32 of these segments."""
        return self._decoded(segments)[0]

    def similarities(self, queries: FloatArray, segments: IntArray) -> FloatArray:
        """Return products ``(m, n)`` of queries and scoring vectors, less the segments' hubness penalties."""
        vectors, penalties = self._decoded(segments)
        products: FloatArray = queries @ vectors.T
        products -= penalties
        return products

    def _decoded(self, segments: IntArray) -> tuple[FloatArray, FloatArray]:
        rows = segments % len(self._cached_segments)
        new = self._cached_segments[rows] != segments
        vectors, penalties = self._cached_vectors[rows], self._cached_penalties[rows]
        if new.any():
            vectors[new], penalties[new] = self._decode(segments[new])
            rows = rows[new]
            self._cached_segments[rows] = segments[new]
            self._cached_vectors[rows], self._cached_penalties[rows] = vectors[new], penalties[new]
        return vectors, penalties
