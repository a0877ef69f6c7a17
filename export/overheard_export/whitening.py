"""Whitens embeddings after training: directions that all music shares say less, and shrink.

Source: Jegou and Chum, Negative Evidences and Co-occurrences in Image Retrieval, ECCV 2012 (whitening of
retrieval's vectors); the partial power is ours, as docs/experiments.md measured it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from overheard.fingerprint.frontend import FloatArray

if TYPE_CHECKING:
    import keras

FLOOR = 1e-3  # of the mean variance: no direction is stretched without end


def whitening_matrix(embeddings: FloatArray, power: float) -> FloatArray:
    """Return the symmetric matrix ``(dim, dim)`` that takes out a power of the embeddings' covariance.

    Parameters
    ----------
    embeddings : (n, dim) float32
    power : 0 leaves them as they are, 1 makes all directions equal
    """
    variances, directions = np.linalg.eigh(np.cov(embeddings.T))
    relative = np.maximum(variances / variances.mean(), FLOOR)
    return ((directions * relative ** (-power / 2)) @ directions.T).astype(np.float32)


def whiten(encoder: keras.Model, segments: FloatArray, power: float) -> keras.Model:
    """Return the encoder with the whitening in its projection: it costs nothing.

    Parameters
    ----------
    encoder : with a linear layer `projection` before the normalization
    segments : (n, n_frames, n_mels) float32, normalized; of training tracks
    """
    import keras

    whitened = keras.models.clone_model(encoder)
    whitened.set_weights(encoder.get_weights())
    matrix = whitening_matrix(encoder.predict(segments[..., None], batch_size=256, verbose=0), power)
    projection = whitened.get_layer("projection")
    kernel, bias = projection.get_weights()
    projection.set_weights([kernel @ matrix, bias @ matrix])
    return whitened
