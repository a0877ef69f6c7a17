"""J. Woo's encoder: three convolutions with max pooling, a wide dense layer, a normalized projection."""

from __future__ import annotations

import keras
from keras import layers, regularizers

from overheard.fingerprint.spec import FingerprintSpec
from overheard_train.encoders.layers import Sample, project


def woo(spec: FingerprintSpec, size: int = 50, hidden: int = 4096) -> keras.Model:
    """Build the encoder of J. Woo, Neural Fingerprinter (2020), section 5.

    Parameters
    ----------
    size : number of random rows and columns that the network sees: 50 or 128
    hidden : units of the dense layer

    Returns
    -------
    keras.Model from (batch, n_frames, n_mels, 1) to (batch, dim), float32 of unit norm
    """
    small, large = regularizers.L2(2e-4), regularizers.L2(1e-3)
    options = {"activation": "relu", "kernel_initializer": "he_uniform"}
    inputs = keras.Input((spec.n_frames, spec.frontend.n_mels, 1), name="log_mel")
    x = Sample(size, size)(inputs)
    x = layers.Conv2D(128, 3, kernel_regularizer=small, **options)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(128, 3, kernel_regularizer=small, **options)(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(256, 3, kernel_regularizer=small, **options)(x)
    x = layers.Flatten(name="features")(x)
    x = layers.Dense(hidden, kernel_regularizer=large, **options)(x)
    return keras.Model(inputs, project(x, spec.dim, large), name="encoder")
