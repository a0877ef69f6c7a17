"""Compare a query with every float embedding of a catalogue: the reference for codes and index."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from overheard.catalogue.search import N_CANDIDATES, N_COHORT_NEAREST, Candidates, IntArray, top
from overheard.events import Track
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import WEIGHT, hubness


class ExhaustiveCatalogue:
    """A :class:`overheard.catalogue.search.SegmentIndex` that searches float embeddings exhaustively.

    Parameters
    ----------
    tracks : the tracks, in order
    embeddings : one (n_segments, dim) float32 array per track, unit norm
    cohort : (n, dim) float32, unit norm
    """

    def __init__(self, tracks: Sequence[Track], embeddings: Sequence[FloatArray], cohort: FloatArray) -> None:
        self._tracks, self._cohort = tuple(tracks), cohort
        self._impostor_penalties = WEIGHT * hubness(cohort, cohort, among_them=True)
        self.first_segment: IntArray = np.concatenate([[0], np.cumsum([len(e) for e in embeddings])]).astype(
            np.int64
        )
        self._embeddings: FloatArray = np.concatenate(list(embeddings))
        self._penalties = WEIGHT * hubness(self._embeddings, cohort)

    def track(self, number: int) -> Track:
        """Return a track by its number."""
        return self._tracks[number]

    def vectors(self, segments: IntArray) -> FloatArray:
        """Return the embeddings of segments, ``(n, dim)``."""
        return self._embeddings[segments]

    def similarities(self, queries: FloatArray, segments: IntArray) -> FloatArray:
        """Return cosines minus the segments' hubness penalties, ``(m, n)``."""
        cosines: FloatArray = queries @ self._embeddings[segments].T
        return cosines - self._penalties[segments]

    def candidates(
        self, queries: FloatArray, without: Collection[int] = (), share: float = 1.0
    ) -> Candidates:
        """Return the nearest segments of each query, except those of the tracks `without`."""
        tracks = np.repeat(np.arange(len(self._tracks)), np.diff(self.first_segment))
        kept = np.flatnonzero(~np.isin(tracks, list(without)))
        scores = self.similarities(queries, kept)
        pairs = [top(kept, row, N_CANDIDATES) for row in scores]
        against = queries @ self._cohort.T - self._impostor_penalties
        cohort = -np.sort(-against, axis=1)[:, :N_COHORT_NEAREST]
        return Candidates(np.stack([s for s, _ in pairs]), np.stack([v for _, v in pairs]), cohort)
