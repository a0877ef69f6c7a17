# mypy: allow-subclassing-any
# Keras has no type information: its layers are of type Any, which strict mypy does not let us subclass.
"""Layers that encoders share, in the form that TensorFlow trains fast and converts to few operators."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


@keras.saving.register_keras_serializable("overheard")
class FusedBatchNorm(layers.BatchNormalization):
    """Batch normalization with TensorFlow's fused kernel, which Keras 3 does not use in training."""

    def call(self, inputs: Any, training: bool | None = None, mask: None = None) -> Any:
        """Normalize ``(batch, height, width, channels)``, with the statistics of the batch when training."""
        if not training:
            return super().call(inputs, training=training)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=tf.zeros(0),
            variance=tf.zeros(0),
            epsilon=self.epsilon,
            is_training=True,
        )
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + tf.cast(now, moving.dtype) * (1 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable("overheard")
class UnitNorm(layers.Layer):
    """L2 normalization that TensorFlow Lite fuses to one operator, unlike keras.layers.UnitNormalization."""

    def call(self, inputs: Any) -> Any:
        """Return ``(batch, dim)`` of unit norm."""
        return tf.math.l2_normalize(inputs, axis=-1)


@keras.saving.register_keras_serializable("overheard")
class Sample(layers.Layer):
    """Keep a fixed random selection of rows and columns, as J. Woo's report does with spectrograms.

    Parameters
    ----------
    rows, columns : number of each to keep; their order stays
    seed : of the selection, which is part of the network
    """

    def __init__(self, rows: int, columns: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.columns, self.seed = rows, columns, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Select rows and columns of inputs ``(batch, height, width, channels)``."""
        height, width = input_shape[1:3]
        if height is None or width is None:
            raise ValueError(f"height and width must be known: {input_shape}")
        rng = np.random.default_rng(self.seed)
        sizes = ((height, self.rows), (width, self.columns))
        self._selected = [np.sort(rng.choice(n, kept, replace=False)).astype("int32") for n, kept in sizes]

    def call(self, inputs: Any) -> Any:
        """Return ``(batch, rows, columns, channels)``."""
        return ops.take(ops.take(inputs, self._selected[0], axis=1), self._selected[1], axis=2)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "rows": self.rows, "columns": self.columns, "seed": self.seed}


def convolution(
    x: keras.KerasTensor,
    channels: int,
    size: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    relu: bool = True,
    padding: str = "same",
) -> keras.KerasTensor:
    """Apply convolution, batch normalization and ReLU: one int8 operator after conversion."""
    x = layers.Conv2D(channels, size, stride, padding=padding, use_bias=False)(x)
    x = FusedBatchNorm(momentum=0.98)(x)
    return layers.ReLU()(x) if relu else x


def project(x: keras.KerasTensor, dim: int, regularizer: str | Any = None) -> keras.KerasTensor:
    """Flatten features, project them linearly and normalize; ``(batch, dim)`` float32 of unit norm."""
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(dim, name="projection", dtype="float32", kernel_regularizer=regularizer)(x)
    return UnitNorm(dtype="float32", name="embedding")(x)


def divide_and_encode(x: keras.KerasTensor, dim: int, hidden: int = 0) -> keras.KerasTensor:
    """Split features into ``dim`` slices, encode each slice to one value, and normalize.

    A grouped 1x1 convolution does this in one operator; a dense layer per slice would take hundreds.

    Source: Lai et al., Simultaneous Feature Learning and Hash Coding with Deep Neural Networks (1504.03410),
    section 3.2; with ``hidden`` units, the two levels of Now Playing (1711.10958) and of Chang et al.
    (2010.11910).

    Parameters
    ----------
    hidden : units per slice in the first level; 0 has one level only

    Returns
    -------
    (batch, dim) float32 of unit norm
    """
    features = x.shape[-1] * x.shape[-2] * x.shape[-3]
    if features % dim:
        raise ValueError(f"{features} features cannot be divided into {dim} slices")
    x = layers.Reshape((1, 1, features), dtype="float32")(x)
    if hidden:
        x = layers.Conv2D(dim * hidden, 1, groups=dim, activation="relu", dtype="float32")(x)
    x = layers.Conv2D(dim, 1, groups=dim, dtype="float32", name="encode")(x)
    x = layers.Flatten(name="flatten", dtype="float32")(x)
    return UnitNorm(dtype="float32", name="embedding")(x)
