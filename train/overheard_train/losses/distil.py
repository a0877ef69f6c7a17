# mypy: allow-subclassing-any
# Keras has no type information: its layers are of type Any, which strict mypy does not let us subclass.
"""Distillation: pull a student's embeddings to those of a teacher, and contrast them with its others."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from overheard_train.losses.nt_xent import EXCLUDED


class Distil(keras.layers.Layer):
    """Place each row where the teacher places the clean segment of its pair, and far from its other segments.

    Both networks then embed into one space, and read and write the same packs.

    Sources: Hinton et al., Distilling the Knowledge in a Neural Network (1503.02531), for the idea; Tian et
    al., Contrastive Representation Distillation (1910.10699), for contrasting a student's embedding with the
    teacher's of other samples, from a memory that holds more than a batch; Budnik and Avrithis, Asymmetric
    Metric Learning for Knowledge Transfer (2006.16331), for students that query what the teacher indexed.

    Parameters
    ----------
    temperature : a smaller one gives more weight to the nearest of the teacher's other segments
    pull : weight of 1 minus the cosine to the teacher's embedding
    shared : weight, from 0 to 1, of a comparison with the mean of all rows' negatives instead of a row's own
    views : rows per pair; the batch holds the first rows of all pairs, then all second rows, and so on
    """

    def __init__(
        self, temperature: float = 0.06, pull: float = 4.0, shared: float = 0.3, views: int = 2
    ) -> None:
        super().__init__(dtype="float32")
        self.temperature, self.pull, self.shared, self.views = temperature, pull, shared, views

    def build(self, *_: Any) -> None:
        """Create nothing: the loss has no variables."""

    def call(self, embeddings: Any, labels: Any) -> tuple[Any, Any]:
        """Return the loss and the accuracy within the batch.

        Parameters
        ----------
        embeddings : (n, dim) the student's, of unit norm
        labels : (n, 2 + dim + n_others * (1 + dim)) float32, see :mod:`overheard_train.losses`; the other
            moments are negatives of all rows
        """
        dim = embeddings.shape[1]
        n_pairs = ops.shape(labels)[0] // self.views
        pairs, tracks, targets = labels[:, 0], labels[:, 1], labels[:, 2 : 2 + dim]
        others = ops.reshape(labels[:n_pairs, 2 + dim :], (-1, 1 + dim))
        teacher = ops.concatenate([targets[:n_pairs], others[:, 1:]])  # each pair once
        logits = ops.matmul(embeddings, ops.transpose(teacher)) / self.temperature  # (n, n_pairs + others)
        of_tracks = ops.concatenate([tracks[:n_pairs], others[:, 0]])
        same_track = ops.cast(ops.equal(tracks[:, None], of_tracks), "float32")
        numbers = ops.concatenate([pairs[:n_pairs], 0 * others[:, 0] - 1])  # the others belong to no pair
        is_own = ops.cast(ops.equal(pairs[:, None], numbers), "float32")
        logits = logits + EXCLUDED * (same_track - is_own)  # other moments of a track can sound the same
        own = ops.sum(logits * is_own, axis=1)
        contrast = ops.mean(ops.logsumexp(logits, axis=1) - own)
        if self.shared:
            contrast = (1 - self.shared) * contrast + self.shared * self._shared_contrast(logits, is_own, own)
        distance = 1 - ops.mean(ops.sum(embeddings * targets, axis=1))
        hits = ops.take_along_axis(is_own, ops.argmax(logits, axis=1)[:, None], axis=1)
        return contrast + self.pull * distance, ops.mean(hits)

    def _shared_contrast(self, logits: Any, is_own: Any, own: Any) -> Any:
        """Contrast each row's own segment with the mean of all rows' negatives."""
        negatives = ops.logsumexp(logits + EXCLUDED * is_own)
        rows = ops.cast(ops.shape(logits)[0], "float32")
        return ops.mean(ops.logaddexp(own, negatives - ops.log(rows)) - own)
