"""Estimate a segment's embedding from its own code and those of the segments before and after it.

Consecutive segments share a third of their sound, so the neighbours' codes improve the estimate without extra
storage. The estimate is linear, after Wiener, Extrapolation, Interpolation, and Smoothing of Stationary Time
Series, 1949. Gains: docs/experiments.md.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from overheard.fingerprint.frontend import FloatArray

UPDATE_STRIDE = 3  # segments; two that are this far apart have no neighbour in common
REGULARIZATION = 1e-6  # added to the diagonal of a metric, so that it is positive definite


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """A linear estimate of a segment's embedding from three decoded sums: its own and its neighbours'.

    Attributes
    ----------
    before, itself, after : (dim, dim) float32
        ``estimate = sum_before @ before + sum_itself @ itself + sum_after @ after + bias``
    missing : (dim, dim) float32
        At a track's start or end, ``sum_itself @ missing`` replaces the sum of the missing neighbour.
    bias : (dim,) float32
    """

    before: FloatArray
    itself: FloatArray
    after: FloatArray
    missing: FloatArray
    bias: FloatArray

    @classmethod
    def none(cls, dim: int) -> Neighbourhood:
        """Return the estimate that ignores the neighbours and returns the segment's own sum."""
        zeros, bias = np.zeros((dim, dim), dtype=np.float32), np.zeros(dim, dtype=np.float32)
        return cls(zeros, np.eye(dim, dtype=np.float32), zeros, zeros, bias)

    @property
    def dim(self) -> int:
        """Size of an embedding; 0 if the tables have inconsistent shapes."""
        matrices = (self.before, self.itself, self.after, self.missing)
        consistent = self.bias.ndim == 1 and all(m.shape == self.bias.shape * 2 for m in matrices)
        return len(self.bias) if consistent else 0

    def estimates(
        self, sums: FloatArray, before: FloatArray | None = None, after: FloatArray | None = None
    ) -> FloatArray:
        """Return estimates ``(n, dim)`` float32 of embeddings.

        Parameters
        ----------
        sums : (n, dim) float32
            Decoded sums of the segments.
        before, after : (n, dim) float32 or None
            Decoded sums of their neighbours; if None, the segments have no neighbours.
        """
        if before is None or after is None:
            before = after = sums @ self.missing
        estimates: FloatArray = before @ self.before + sums @ self.itself + after @ self.after + self.bias
        return estimates

    def track_estimates(self, sums: FloatArray) -> FloatArray:
        """Return the estimates ``(n, dim)`` of a track from its sums ``(n, dim)`` in time order."""
        first, last = sums[:1] @ self.missing, sums[-1:] @ self.missing
        return self.estimates(sums, np.concatenate([first, sums[:-1]]), np.concatenate([sums[1:], last]))

    def wanted_sums(self, embeddings: FloatArray, sums: FloatArray) -> FloatArray:
        """Return the sums ``(n, dim)`` that minimize the squared error of a track's estimates.

        Each sum is optimal if the two sums on either side of it stay as they are. It is therefore valid to
        change every :data:`UPDATE_STRIDE`-th sum at once, not all of them.

        Parameters
        ----------
        embeddings : (n, dim) float32
        sums : (n, dim) float32
            The present sums.
        """
        errors = embeddings - self.track_estimates(sums)
        zeros = np.zeros_like(errors[:1])
        gradient = errors @ self.itself.T
        gradient += np.concatenate([errors[1:], zeros]) @ self.before.T
        gradient += np.concatenate([zeros, errors[:-1]]) @ self.after.T
        wanted: FloatArray = sums + np.linalg.solve(self.metric, gradient.T).T
        return wanted

    @property
    def metric(self) -> FloatArray:
        """The matrix ``(dim, dim)``: an error e of a sum adds ``e @ metric @ e`` to the squared error."""
        matrices = (self.before, self.itself, self.after)
        products = sum((matrix @ matrix.T for matrix in matrices), start=np.zeros_like(self.itself))
        metric: FloatArray = products + REGULARIZATION * np.eye(len(products), dtype=np.float32)
        return metric
