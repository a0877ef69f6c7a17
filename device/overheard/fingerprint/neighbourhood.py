"""What the segments before and after tell of a segment: they share a third of its sound.

A code is what a segment's few bytes say by themselves; the estimate from it and its neighbours' codes is much
nearer to the embedding, and costs no byte. The idea is the linear smoothing of Wiener, Extrapolation,
Interpolation, and Smoothing of Stationary Time Series, 1949.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from overheard.fingerprint.frontend import FloatArray

APART = 3  # segments: none is a neighbour of both
SMALLEST = 1e-6  # added to a metric's diagonal, lest a direction that nothing depends on stop its factoring


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """A linear estimate of a segment's embedding from three decoded sums.

    Attributes
    ----------
    before, itself, after : (dim, dim) float32, by which rows of sums are multiplied
    missing : (dim, dim) float32, what a segment at a track's end tells of the neighbour that it lacks
    bias : (dim,) float32
    """

    before: FloatArray
    itself: FloatArray
    after: FloatArray
    missing: FloatArray
    bias: FloatArray

    @classmethod
    def none(cls, dim: int) -> Neighbourhood:
        """Return one in which neighbours tell nothing."""
        nothing, bias = np.zeros((dim, dim), dtype=np.float32), np.zeros(dim, dtype=np.float32)
        return cls(nothing, np.eye(dim, dtype=np.float32), nothing, nothing, bias)

    @property
    def dim(self) -> int:
        """Size of an embedding; 0 where the tables do not fit together."""
        matrices = (self.before, self.itself, self.after, self.missing)
        fit = self.bias.ndim == 1 and all(matrix.shape == self.bias.shape * 2 for matrix in matrices)
        return len(self.bias) if fit else 0

    def estimates(
        self, sums: FloatArray, before: FloatArray | None = None, after: FloatArray | None = None
    ) -> FloatArray:
        """Return estimates ``(n, dim)`` of embeddings by their neighbours' sums; each is alone where None."""
        if before is None or after is None:
            before = after = sums @ self.missing
        estimates: FloatArray = before @ self.before + sums @ self.itself + after @ self.after + self.bias
        return estimates

    def track_estimates(self, sums: FloatArray) -> FloatArray:
        """Return the estimates of a whole track, ``(n, dim)`` in time order."""
        first, last = sums[:1] @ self.missing, sums[-1:] @ self.missing
        return self.estimates(sums, np.concatenate([first, sums[:-1]]), np.concatenate([sums[1:], last]))

    def wanted_sums(self, embeddings: FloatArray, sums: FloatArray) -> FloatArray:
        """Return the sums ``(n, dim)`` that would serve the estimates of a track best.

        Each is the best where those that share an estimate with it stay what they are: they hold for segments
        that are :data:`APART`.
        """
        errors = embeddings - self.track_estimates(sums)
        none = np.zeros_like(errors[:1])
        gradient = errors @ self.itself.T
        gradient += np.concatenate([errors[1:], none]) @ self.before.T
        gradient += np.concatenate([none, errors[:-1]]) @ self.after.T
        wanted: FloatArray = sums + np.linalg.solve(self.metric, gradient.T).T
        return wanted

    @property
    def metric(self) -> FloatArray:
        """The symmetric matrix ``(dim, dim)`` by which an error of a sum spoils estimates."""
        matrices = (self.before, self.itself, self.after)
        spoilt = sum((matrix @ matrix.T for matrix in matrices), start=np.zeros_like(self.itself))
        metric: FloatArray = spoilt + SMALLEST * np.eye(len(spoilt), dtype=np.float32)
        return metric
