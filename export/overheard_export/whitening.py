"""Whiten embeddings after training, so that directions which all music shares count less.

Source: Jegou and Chum, Negative Evidences and Co-occurrences in Image Retrieval, ECCV 2012, which whitens
vectors for retrieval. docs/experiments.md has the measurements for the partial power.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from overheard.fingerprint.frontend import FloatArray

if TYPE_CHECKING:
    import keras

FLOOR = 1e-3  # of the mean variance: limits the gain of directions with little variance


def whitening_matrix(embeddings: FloatArray, power: float) -> FloatArray:
    """Return the symmetric matrix ``(dim, dim)`` that removes a power of the embeddings' covariance.

    Parameters
    ----------
    embeddings : (n, dim) float32
    power : 0 changes nothing, 1 gives all directions the same variance
    """
    variances, directions = np.linalg.eigh(np.cov(embeddings.T))
    relative = np.maximum(variances / variances.mean(), FLOOR)
    matrix: FloatArray = ((directions * relative ** (-power / 2)) @ directions.T).astype(np.float32)
    return matrix


def whiten(encoder: keras.Model, segments: FloatArray, power: float) -> keras.Model:
    """Return the encoder with the whitening merged into its projection, which costs no computation.

    Parameters
    ----------
    encoder : a model with a linear layer `projection` before the normalization
    segments : (n, n_frames, n_mels) float32, normalized, from training tracks
    """
    import keras

    whitened = keras.models.clone_model(encoder)
    whitened.set_weights(encoder.get_weights())
    matrix = whitening_matrix(encoder.predict(segments[..., None], batch_size=256, verbose=0), power)
    projection = whitened.get_layer("projection")
    kernel, bias = projection.get_weights()
    projection.set_weights([kernel @ matrix, bias @ matrix])
    return whitened
