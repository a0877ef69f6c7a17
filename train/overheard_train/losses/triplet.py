# mypy: allow-subclassing-any
# Keras has no type information: its layers are of type Any, which strict mypy does not let us subclass.
"""Triplet losses with random or semi-hard negatives and all or the hardest positives of the batch."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

FAR = 1e3  # larger than any distance between unit vectors
POSITIVES = ("each", "hard")
NEGATIVES = ("random", "semi_hard")


class Triplet(keras.layers.Layer):
    """Pull each anchor to its positives until its negatives are farther by a margin.

    Sources: Schroff et al., FaceNet (1503.03832), eqs. 1 and 4, as in Now Playing (1711.10958) and J. Woo's
    report; Araz et al. (2025), for music in real rooms, with the hardest positive.

    Parameters
    ----------
    margin : of squared distances, or of distances
    squared : whether distances are squared
    positives : "each" row of the anchor's pair, or "hard": only the farthest
    negatives : "random", or "semi_hard": the nearest one that is farther than the positive
    views : rows per pair; the batch holds the first rows of all pairs, then all second rows, and so on
    """

    def __init__(
        self,
        margin: float = 0.2,
        squared: bool = True,
        positives: str = "each",
        negatives: str = "semi_hard",
        views: int = 2,
    ) -> None:
        super().__init__(dtype="float32")
        if positives not in POSITIVES or negatives not in NEGATIVES:
            raise ValueError(f"positives must be one of {POSITIVES}, negatives one of {NEGATIVES}")
        self.margin, self.squared, self.views = margin, squared, views
        self.positives, self.negatives = positives, negatives

    def call(self, embeddings: Any, labels: Any) -> tuple[Any, Any]:
        """Return the loss and the accuracy within the batch; see :mod:`overheard_train.losses`."""
        pairs, tracks = labels[:, 0], labels[:, 1]
        distances = self._distance(ops.matmul(embeddings, ops.transpose(embeddings)))
        nearest = ops.argmin(distances + FAR * ops.eye(ops.shape(embeddings)[0]), axis=1)
        hits = ops.cast(ops.equal(ops.take(pairs, nearest), pairs), "float32")
        to_positives = self._positives(embeddings)
        if self.negatives == "random":  # the previous row, of another pair
            far = self._distance(ops.sum(embeddings * ops.roll(embeddings, 1, axis=0), axis=1))
            far = ops.where(
                ops.equal(tracks, ops.roll(tracks, 1)), FAR, far
            )  # of the same track: no negative
            to_negatives = [far for _ in to_positives]
        else:
            other = ops.not_equal(tracks[:, None], tracks[None, :])
            to_negatives = [_semi_hard(distances, other, near) for near in to_positives]
        losses = [
            ops.mean(ops.maximum(near - far + self.margin, 0))
            for near, far in zip(to_positives, to_negatives, strict=True)
        ]
        return sum(losses) / len(losses), ops.mean(hits)

    def _distance(self, cosines: Any) -> Any:
        squares = ops.maximum(2 - 2 * cosines, 1e-9)  # the gradient of the root is infinite at 0
        return squares if self.squared else ops.sqrt(squares)

    def _positives(self, embeddings: Any) -> list[Any]:
        """Return the distances ``(n,)`` from every row to its positives, one array per positive."""
        n_pairs = ops.shape(embeddings)[0] // self.views
        near = [
            self._distance(ops.sum(embeddings * ops.roll(embeddings, view * n_pairs, axis=0), axis=1))
            for view in range(1, self.views)
        ]
        if self.positives == "each":
            return near
        hardest = near[0]
        for distance in near[1:]:
            hardest = ops.maximum(hardest, distance)
        return [hardest]


def _semi_hard(distances: Any, other: Any, near: Any) -> Any:
    """Return the distance to the nearest row of another track beyond ``near``, or else to the farthest row.

    With negatives that are nearer than the positive, a training collapses early.
    """
    beyond = ops.logical_and(other, distances > near[:, None])
    nearest = ops.min(ops.where(beyond, distances, FAR), axis=1)
    farthest = ops.max(ops.where(other, distances, 0), axis=1)
    return ops.where(nearest < FAR, nearest, farthest)
