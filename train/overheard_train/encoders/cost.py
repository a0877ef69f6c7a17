"""Count what an encoder costs a device: multiply-adds, and weights of one byte each after int8 export."""

from __future__ import annotations

import math
from collections.abc import Iterator

import keras
from keras import layers


def multiply_adds(encoder: keras.Model) -> int:
    """Return the multiply-adds per segment of convolutions and dense layers.

    The export folds batch norms into them; all other layers cost little in comparison.
    """
    total = 0
    for layer in _with_kernels(encoder):
        positions = math.prod(layer.output.shape[1:-1])  # (height, width), empty for a dense layer
        total += positions * math.prod(layer.kernel.shape)  # (..., input channels per group, output channels)
    return int(total)


def n_kernel_weights(encoder: keras.Model) -> int:
    """Return the number of weights in all kernels; a few hundred biases of four bytes come on top."""
    return int(sum(math.prod(layer.kernel.shape) for layer in _with_kernels(encoder)))


def _with_kernels(encoder: keras.Model) -> Iterator[keras.layers.Layer]:
    return (layer for layer in encoder.layers if isinstance(layer, layers.Conv2D | layers.Dense))
