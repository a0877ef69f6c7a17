"""Our encoder: a patch stem, stages of 3x3 residual blocks, and a normalized projection."""

from __future__ import annotations

import keras
from keras import layers

from overheard.fingerprint.spec import FingerprintSpec
from overheard_train.encoders.layers import FusedBatchNorm, convolution, project


def residual(
    spec: FingerprintSpec,
    widths: tuple[int, ...] = (64, 128, 256),
    blocks: tuple[int, ...] = (1, 1, 1),
) -> keras.Model:
    """Build the encoder; two processor cores train it fast.

    Parameters
    ----------
    widths : channels of each stage; each stage after the first halves time and frequency
    blocks : residual blocks of each stage

    Returns
    -------
    keras.Model from (batch, n_frames, n_mels, 1) to (batch, dim), float32 of unit norm
    """
    inputs = keras.Input((spec.n_frames, spec.frontend.n_mels, 1), name="log_mel")
    x = layers.Conv2D(widths[0], 4, 4, use_bias=False)(inputs)  # (n_frames / 4, n_mels / 4, widths[0])
    x = layers.ReLU()(FusedBatchNorm(momentum=0.98)(x))
    for stage, (width, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
        if stage:
            x = convolution(x, width, stride=2)
        for _ in range(n_blocks):
            y = convolution(convolution(x, width), width, relu=False)
            x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(inputs, project(x, spec.dim), name="encoder")
