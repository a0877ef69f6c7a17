"""What an encoder costs the device: multiply-adds, and weights, a byte each once they are int8."""

from __future__ import annotations

import math
from collections.abc import Iterator

import keras
from keras import layers


def multiply_adds(encoder: keras.Model) -> int:
    """Return the multiply-adds of one segment; batch norms are folded, and the rest is small beside these."""
    total = 0
    for layer in _with_kernels(encoder):
        places = math.prod(layer.output.shape[1:-1])  # (height, width), or none of a dense layer
        total += places * math.prod(layer.kernel.shape)  # (..., inputs of a group, outputs)
    return int(total)


def n_kernel_weights(encoder: keras.Model) -> int:
    """Return how many weights the kernels have; biases are some hundreds more, of four bytes each."""
    return int(sum(math.prod(layer.kernel.shape) for layer in _with_kernels(encoder)))


def _with_kernels(encoder: keras.Model) -> Iterator[keras.layers.Layer]:
    return (layer for layer in encoder.layers if isinstance(layer, layers.Conv2D | layers.Dense))
