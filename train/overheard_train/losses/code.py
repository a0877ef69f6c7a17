"""A product quantizer that learns beside the encoder, so that embeddings lie where codes can tell them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

WORDS = 256


class ProductCode(keras.layers.Layer):
    """Quantize with a straight-through gradient; codebooks follow the embeddings by moving averages.

    Source: van den Oord et al., Neural Discrete Representation Learning (1711.00937), section 3.2 and
    appendix A.1, one codebook a part as in Jegou et al., PAMI 2011.

    Parameters
    ----------
    code_bytes : parts, each coded by one byte; dimensions that do not divide evenly are filled with zeros
    momentum : of the moving averages
    """

    def __init__(self, code_bytes: int, momentum: float = 0.99) -> None:
        super().__init__(dtype="float32")
        self.code_bytes, self.momentum = code_bytes, momentum

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make codebooks for embeddings ``(n, dim)``."""
        dim = int(shape[1] or 0)
        self.width = -(-dim // self.code_bytes)
        self.filling = self.width * self.code_bytes - dim
        spread = keras.initializers.RandomNormal(stddev=dim**-0.5, seed=1)
        sizes = (self.code_bytes, WORDS, self.width)
        self.sums = self.add_weight(shape=sizes, initializer=spread, trainable=False, name="sums")
        self.counts = self.add_weight(shape=sizes[:2], initializer="ones", trainable=False, name="counts")

    def call(self, embeddings: Any) -> tuple[Any, Any]:
        """Return the coded embeddings, of unit norm, and the mean squared distance that pulls them to it."""
        words = self.sums / (self.counts[..., None] + 1e-3)
        parts = ops.reshape(
            ops.pad(embeddings, ((0, 0), (0, self.filling))), (-1, self.code_bytes, self.width)
        )
        parts = ops.transpose(parts, (1, 0, 2))  # (code_bytes, n, width)
        distances = ops.sum(words**2, axis=2)[:, None] - 2 * ops.matmul(
            parts, ops.transpose(words, (0, 2, 1))
        )
        chosen = ops.one_hot(ops.argmin(distances, axis=2), WORDS, dtype="float32")  # (code_bytes, n, WORDS)
        self._follow(ops.stop_gradient(parts), ops.stop_gradient(chosen))
        found = ops.transpose(ops.matmul(chosen, words), (1, 0, 2))
        coded = ops.reshape(found, (-1, self.code_bytes * self.width))[:, : ops.shape(embeddings)[1]]
        coded = ops.stop_gradient(coded)
        distance = ops.mean(ops.sum((embeddings - coded) ** 2, axis=1))
        through = embeddings + coded - ops.stop_gradient(embeddings)
        return ops.normalize(through, axis=1, order=2, epsilon=1e-6), distance

    def _follow(self, parts: Any, chosen: Any) -> None:
        keep = self.momentum
        self.counts.assign(keep * self.counts + (1 - keep) * ops.sum(chosen, axis=1))
        self.sums.assign(keep * self.sums + (1 - keep) * ops.matmul(ops.transpose(chosen, (0, 2, 1)), parts))
