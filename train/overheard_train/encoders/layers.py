"""Layers that the encoders share, on TensorFlow in the form that trains and converts well."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops


def _on_tensorflow() -> bool:
    return bool(keras.backend.backend() == "tensorflow")


@keras.saving.register_keras_serializable("overheard")
class FusedBatchNorm(layers.BatchNormalization):
    """Batch normalization by TensorFlow's fused kernel, which Keras 3 does not call in training."""

    def call(self, inputs: Any, training: bool | None = None, mask: None = None) -> Any:
        """Normalize ``(batch, height, width, channels)``; statistics of the batch when training."""
        if not training or not _on_tensorflow():
            return super().call(inputs, training=training)
        import tensorflow as tf

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
    """L2 normalization that TensorFlow Lite fuses to one operator (keras.layers.UnitNormalization is not)."""

    def call(self, inputs: Any) -> Any:
        """Return ``(batch, dim)`` of unit norm."""
        if _on_tensorflow():
            import tensorflow as tf

            return tf.math.l2_normalize(inputs, axis=-1)
        return ops.normalize(inputs, axis=-1, order=2, epsilon=1e-12)


@keras.saving.register_keras_serializable("overheard")
class Sample(layers.Layer):
    """Keeps a fixed random choice of rows and columns, as J. Woo's report does of its spectrograms.

    Parameters
    ----------
    rows, columns : how many of each, in their order
    seed : of the choice, which belongs to the network
    """

    def __init__(self, rows: int, columns: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows, self.columns, self.seed = rows, columns, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Choose among ``(batch, height, width, channels)``."""
        import numpy as np

        rng = np.random.default_rng(self.seed)
        sizes = ((input_shape[1], self.rows), (input_shape[2], self.columns))
        self._chosen = [
            np.sort(rng.choice(have, want, replace=False)).astype("int32") for have, want in sizes
        ]

    def call(self, inputs: Any) -> Any:
        """Return ``(batch, rows, columns, channels)``."""
        return ops.take(ops.take(inputs, self._chosen[0], axis=1), self._chosen[1], axis=2)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds it."""
        return {**super().get_config(), "rows": self.rows, "columns": self.columns, "seed": self.seed}


def convolution(
    x: keras.KerasTensor,
    channels: int,
    size: int | tuple[int, int] = 3,
    stride: int | tuple[int, int] = 1,
    relu: bool = True,
    padding: str = "same",
) -> keras.KerasTensor:
    """Convolution, batch normalization, ReLU: one int8 operator after conversion."""
    x = layers.Conv2D(channels, size, stride, padding=padding, use_bias=False)(x)
    x = FusedBatchNorm(momentum=0.98)(x)
    return layers.ReLU()(x) if relu else x


def project(x: keras.KerasTensor, dim: int, regularizer: str | Any = None) -> keras.KerasTensor:
    """Flatten features, project them linearly and normalize: ``(batch, dim)`` float32 of unit norm."""
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(dim, name="projection", dtype="float32", kernel_regularizer=regularizer)(x)
    return UnitNorm(dtype="float32", name="embedding")(x)


def divide_and_encode(x: keras.KerasTensor, dim: int, hidden: int = 0) -> keras.KerasTensor:
    """Split features into ``dim`` slices and encode each to one value of its own; then normalize.

    Grouped 1x1 convolutions: as many dense layers as slices make hundreds of operators. Source: Lai et al.,
    Simultaneous Feature Learning and Hash Coding with Deep Neural Networks (1504.03410), section 3.2; with
    ``hidden`` units a slice the two levels of Now Playing (1711.10958) and of Chang et al. (2010.11910).
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
