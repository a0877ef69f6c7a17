# mypy: allow-subclassing-any
# Keras has no type information: its layers are of type Any, which strict mypy does not let us subclass.
"""NT-Xent, the normalized temperature-scaled cross entropy, with optional queue and quantization."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from overheard_train.losses.code import ProductCode

EXCLUDED = -1e9  # a logit that does not contribute


class NTXent(keras.layers.Layer):
    """Contrast each row with all others of the batch, and with a queue of earlier catalogue rows.

    Sources: Chen et al., SimCLR (2002.05709), eq. 1; Chang et al. (2010.11910), section 2.1, for audio;
    Khosla et al. (2004.11362), eq. 2, for the mean over positives; Wang et al. (1912.06798) for the queue.

    Parameters
    ----------
    temperature : a smaller one gives more weight to the nearest negatives
    queue : number of earlier embeddings that are negatives too, except those of a row's own track
    code_bytes : quantize every second catalogue row to this many bytes, so that embeddings tolerate it; 0
        quantizes none
    commitment : weight of the mean squared distance between a row and its code
    views : rows per pair; the batch holds the first rows of all pairs, then all second rows, and so on
    shared : weight, from 0 to 1, of a comparison with the mean of all rows' negatives instead of a row's own;
        recognition uses one threshold for all queries
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
        """Create codebooks and an empty queue for embeddings ``(n, dim)``."""
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
            embeddings, penalty = quantize_catalogue_rows(self.code, embeddings, pairs, self.views)
        logits = ops.matmul(embeddings, ops.transpose(embeddings)) / self.temperature
        itself = ops.eye(ops.shape(embeddings)[0], dtype="float32")
        is_positive = ops.cast(ops.equal(pairs[:, None], pairs[None, :]), "float32") - itself
        same_track = ops.cast(ops.equal(tracks[:, None], tracks[None, :]), "float32")
        logits = logits + EXCLUDED * (same_track - is_positive)  # other moments of a track can sound the same
        all_logits = logits
        if self.queue_size:
            all_logits = ops.concatenate([logits, self._queued(embeddings, tracks)], axis=1)
            self._enqueue(embeddings, tracks)
        positive_logit = ops.sum(logits * is_positive, axis=1) / ops.sum(is_positive, axis=1)
        loss = ops.mean(ops.logsumexp(all_logits, axis=1) - positive_logit)
        if self.shared:
            loss = (1 - self.shared) * loss + self.shared * self._shared_loss(
                logits, is_positive, positive_logit
            )
        hits = ops.take_along_axis(is_positive, ops.argmax(logits, axis=1)[:, None], axis=1)
        return loss + self.commitment * penalty, ops.mean(hits)

    def _shared_loss(self, logits: Any, is_positive: Any, positive_logit: Any) -> Any:
        """Contrast each row's positives with the mean of all rows' negatives."""
        negatives = ops.logsumexp(logits + EXCLUDED * is_positive)
        rows = ops.cast(ops.shape(logits)[0], "float32")
        return ops.mean(ops.logaddexp(positive_logit, negatives - ops.log(rows)) - positive_logit)

    def _queued(self, embeddings: Any, tracks: Any) -> Any:
        logits = ops.matmul(embeddings, ops.transpose(self.queue)) / self.temperature
        queued = self.queue_tracks[None, :]  # -1 in the empty part
        kept = ops.logical_and(ops.not_equal(tracks[:, None], queued), queued >= 0)
        return ops.where(kept, logits, EXCLUDED)

    def _enqueue(self, embeddings: Any, tracks: Any) -> None:
        # Catalogue rows only: a query is compared with nothing else.
        n_pairs = ops.shape(embeddings)[0] // self.views
        newest = ops.stop_gradient(embeddings[:n_pairs])
        self.queue.assign(ops.concatenate([newest, self.queue], axis=0)[: self.queue_size])
        self.queue_tracks.assign(
            ops.concatenate([tracks[:n_pairs], self.queue_tracks], axis=0)[: self.queue_size]
        )


def quantize_catalogue_rows(code: ProductCode, embeddings: Any, pairs: Any, views: int) -> tuple[Any, Any]:
    """Quantize the catalogue row of every second pair; degraded rows are queries, which are never stored.

    Parameters
    ----------
    embeddings : (n, dim), the catalogue rows of all pairs first
    pairs : (n,) number of each row's pair
    views : rows per pair

    Returns
    -------
    The embeddings, some of them quantized, and the mean squared distance of catalogue rows to their codes.
    """
    n_pairs = ops.shape(embeddings)[0] // views
    catalogue, queries = embeddings[:n_pairs], embeddings[n_pairs:]
    quantized, distance = code(catalogue)
    selected = ops.cast(pairs[:n_pairs, None] % 2 == 0, "float32")
    rows = selected * quantized + (1 - selected) * catalogue
    return ops.concatenate([rows, queries], axis=0), distance
