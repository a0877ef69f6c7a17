"""Normalized temperature-scaled cross entropy, with negatives of earlier batches, and through a code."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from overheard_train.losses.code import ProductCode

NEVER = -1e9  # a logit that takes no part


class NTXent(keras.layers.Layer):
    """Contrast each row with all others of the batch, and with a queue of earlier catalogue rows.

    Sources: Chen et al., SimCLR (2002.05709), eq. 1; for audio Chang et al. (2010.11910), 2.1; the mean over
    several positives is Khosla et al. (2004.11362), eq. 2; the queue Wang et al. (1912.06798).

    Parameters
    ----------
    temperature : smaller looks harder at the nearest negatives
    queue : earlier embeddings that serve as negatives too; those of a row's own track do not
    code_bytes : quantize every second catalogue row to so many bytes, so that embeddings learn to survive it
    commitment : weight of the mean squared distance between a row and its code
    views : rows of each pair; the batch holds all pairs' first rows, then all second ones, and so on
    shared : weight of the comparison with what all rows' negatives are on average, rather than a row's own:
        a match is named by a threshold, which is the same for all queries
    """

    def __init__(
        self,
        temperature: float = 0.06,
        queue: int = 0,
        code_bytes: int = 0,
        commitment: float = 1.0,
        views: int = 2,
        shared: float = 0.0,
    ) -> None:
        super().__init__(dtype="float32")
        self.temperature, self.queue_size, self.commitment = temperature, queue, commitment
        self.shared = shared
        self.views = views
        self.code = ProductCode(code_bytes) if code_bytes else None

    def build(self, embeddings: tuple[int | None, ...], *_: Any) -> None:
        """Make the empty queue for embeddings ``(n, dim)``."""
        if self.code is not None:
            self.code.build(embeddings)
        if self.queue_size:
            shape = (self.queue_size, embeddings[1])
            self.queue = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="queue")
            self.queue_tracks = self.add_weight(
                shape=(self.queue_size,),
                initializer=keras.initializers.Constant(-1),
                dtype="int32",
                trainable=False,
                name="queue_tracks",
            )

    def call(self, embeddings: Any, labels: Any) -> tuple[Any, Any]:
        """Return the loss and the accuracy within the batch; see :mod:`overheard_train.losses`."""
        pairs, tracks = labels[:, 0], labels[:, 1]
        penalty = 0.0
        if self.code is not None:
            embeddings, penalty = self._coded(embeddings, pairs)
        logits = ops.matmul(embeddings, ops.transpose(embeddings)) / self.temperature
        itself = ops.eye(ops.shape(embeddings)[0], dtype="float32")
        positive = ops.cast(ops.equal(pairs[:, None], pairs[None, :]), "float32") - itself
        same_track = ops.cast(ops.equal(tracks[:, None], tracks[None, :]), "float32")
        logits = logits + NEVER * (same_track - positive)  # itself, and moments that may well sound the same
        every = logits
        if self.queue_size:
            every = ops.concatenate([logits, self._queued(embeddings, tracks)], axis=1)
            self._enqueue(embeddings, tracks)
        wanted = ops.sum(logits * positive, axis=1) / ops.sum(positive, axis=1)
        loss = ops.mean(ops.logsumexp(every, axis=1) - wanted)
        if self.shared:
            loss = (1 - self.shared) * loss + self.shared * self._against_all(logits, positive, wanted)
        hits = ops.take_along_axis(positive, ops.argmax(logits, axis=1)[:, None], axis=1)
        return loss + self.commitment * penalty, ops.mean(hits)

    def _against_all(self, logits: Any, positive: Any, wanted: Any) -> Any:
        """Contrast each row's positive with the mean row's negatives: one threshold has to fit all rows."""
        negatives = ops.logsumexp(logits + NEVER * positive)
        rows = ops.cast(ops.shape(logits)[0], "float32")
        return ops.mean(ops.logaddexp(wanted, negatives - ops.log(rows)) - wanted)

    def _coded(self, embeddings: Any, pairs: Any) -> tuple[Any, Any]:
        """Quantize the catalogue row of every second pair: the query's is never stored."""
        n_pairs = ops.shape(embeddings)[0] // self.views
        stored, heard = embeddings[:n_pairs], embeddings[n_pairs:]
        coded, distance = self.code(stored)
        chosen = ops.cast(pairs[:n_pairs, None] % 2 == 0, "float32")
        return ops.concatenate([chosen * coded + (1 - chosen) * stored, heard], axis=0), distance

    def _queued(self, embeddings: Any, tracks: Any) -> Any:
        logits = ops.matmul(embeddings, ops.transpose(self.queue)) / self.temperature
        kept = ops.logical_and(
            ops.not_equal(tracks[:, None], self.queue_tracks[None, :]), self.queue_tracks[None, :] >= 0
        )
        return ops.where(kept, logits, NEVER)

    def _enqueue(self, embeddings: Any, tracks: Any) -> None:
        # The catalogue's rows of the batch: what a query meets.
        n_pairs = ops.shape(embeddings)[0] // self.views
        newest = ops.stop_gradient(embeddings[:n_pairs])
        self.queue.assign(ops.concatenate([newest, self.queue], axis=0)[: self.queue_size])
        self.queue_tracks.assign(
            ops.concatenate([tracks[:n_pairs], self.queue_tracks], axis=0)[: self.queue_size]
        )
