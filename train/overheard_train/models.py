"""The network: a patch stem, 3x3 convolutions, which two CPU cores train fast, and an L2 projection."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from overheard.spec import SPEC, FingerprintSpec


@keras.saving.register_keras_serializable("overheard")
class FusedBatchNorm(layers.BatchNormalization):
    """Batch normalization by TensorFlow's fused kernel, which Keras 3 does not call in training."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: None = None) -> tf.Tensor:
        """Normalize ``(batch, height, width, channels)``; statistics of the batch when training."""
        if not training:
            return super().call(inputs, training=False)
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


def _conv(x: keras.KerasTensor, channels: int, stride: int = 1, relu: bool = True) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 3, stride, padding="same", use_bias=False)(x)
    x = FusedBatchNorm(momentum=0.98)(x)
    return layers.ReLU()(x) if relu else x


def _residual(x: keras.KerasTensor) -> keras.KerasTensor:
    channels = x.shape[-1]
    y = _conv(_conv(x, channels), channels, relu=False)
    return layers.ReLU()(layers.Add()([x, y]))


def build_encoder(
    widths: tuple[int, ...] = (64, 128, 256),
    blocks: tuple[int, ...] = (1, 1, 1),
    spec: FingerprintSpec = SPEC,
) -> keras.Model:
    """Build the encoder: normalized log-mel segments to embeddings.

    Parameters
    ----------
    widths : channels of each stage; each stage after the first halves time and frequency
    blocks : residual blocks of each stage

    Returns
    -------
    keras.Model from (batch, n_frames, n_mels, 1) to (batch, dim), unit norm, float32
    """
    inputs = keras.Input((spec.n_frames, spec.frontend.n_mels, 1), name="log_mel")
    x = layers.Conv2D(widths[0], 4, 4, use_bias=False)(inputs)  # (n_frames / 4, n_mels / 4, widths[0])
    x = layers.ReLU()(FusedBatchNorm(momentum=0.98)(x))
    for stage, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
        if stage:
            x = _conv(x, width, stride=2)
        for _ in range(n_blocks):
            x = _residual(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(spec.dim, name="projection", dtype="float32")(x)
    outputs = UnitNorm(dtype="float32", name="embedding")(x)
    return keras.Model(inputs, outputs, name="encoder")


@keras.saving.register_keras_serializable("overheard")
class UnitNorm(layers.Layer):
    """L2 normalization that TensorFlow Lite fuses to one operator (keras.layers.UnitNormalization is not)."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return ``(batch, dim)`` of unit norm."""
        return tf.math.l2_normalize(inputs, axis=-1)
