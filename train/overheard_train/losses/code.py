# mypy: allow-subclassing-any
# Keras has no type information: its layers are of type Any, which strict mypy does not let us subclass.
"""A product quantizer that is trained with the encoder, so that codes distinguish its embeddings."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

CODEWORDS = 256  # per codebook: one byte


class ProductCode(keras.layers.Layer):
    """Quantize with a straight-through gradient; codebooks follow the embeddings by moving averages.

    Source: van den Oord et al., Neural Discrete Representation Learning (1711.00937), section 3.2 and
    appendix A.1; one codebook per part as in Jegou et al., Product Quantization, PAMI 2011.

    Parameters
    ----------
    code_bytes : number of parts, one byte each; zeros pad dimensions that do not divide evenly
    momentum : of the moving averages, per batch
    """

    def __init__(self, code_bytes: int, momentum: float = 0.99) -> None:
        super().__init__(dtype="float32")
        self.code_bytes, self.momentum = code_bytes, momentum

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Create codebooks for embeddings ``(n, dim)``."""
        dim = int(shape[1] or 0)
        self.width = -(-dim // self.code_bytes)
        self.padding = self.width * self.code_bytes - dim
        spread = keras.initializers.RandomNormal(stddev=dim**-0.5, seed=1)
        sizes = (self.code_bytes, CODEWORDS, self.width)
        self.sums = self.add_weight(shape=sizes, initializer=spread, trainable=False, name="sums")
        self.counts = self.add_weight(shape=sizes[:2], initializer="ones", trainable=False, name="counts")

    def call(self, embeddings: Any) -> tuple[Any, Any]:
        """Quantize embeddings ``(n, dim)``.

        Returns
        -------
        The quantized embeddings, ``(n, dim)`` of unit norm, and the mean squared distance to them, a scalar
        whose gradient pulls embeddings to their codes.
        """
        codewords = self.sums / (self.counts[..., None] + 1e-3)
        parts = ops.reshape(
            ops.pad(embeddings, ((0, 0), (0, self.padding))), (-1, self.code_bytes, self.width)
        )
        parts = ops.transpose(parts, (1, 0, 2))  # (code_bytes, n, width)
        distances = ops.sum(codewords**2, axis=2)[:, None] - 2 * ops.matmul(
            parts, ops.transpose(codewords, (0, 2, 1))
        )
        nearest = ops.one_hot(ops.argmin(distances, axis=2), CODEWORDS, dtype="float32")
        self._update(ops.stop_gradient(parts), ops.stop_gradient(nearest))  # (code_bytes, n, CODEWORDS)
        decoded = ops.transpose(ops.matmul(nearest, codewords), (1, 0, 2))
        coded = ops.reshape(decoded, (-1, self.code_bytes * self.width))[:, : ops.shape(embeddings)[1]]
        coded = ops.stop_gradient(coded)
        distance = ops.mean(ops.sum((embeddings - coded) ** 2, axis=1))
        through = embeddings + coded - ops.stop_gradient(embeddings)
        return ops.normalize(through, axis=1, order=2, epsilon=1e-6), distance

    def _update(self, parts: Any, nearest: Any) -> None:
        keep = self.momentum
        sums = ops.matmul(ops.transpose(nearest, (0, 2, 1)), parts)
        self.counts.assign(keep * self.counts + (1 - keep) * ops.sum(nearest, axis=1))
        self.sums.assign(keep * self.sums + (1 - keep) * sums)
