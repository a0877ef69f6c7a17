"""Contrastive losses over a batch of pairs."""

from __future__ import annotations

import tensorflow as tf


def nt_xent(embeddings: tf.Tensor, temperature: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the normalized temperature-scaled cross entropy.

    Source: Chen et al., SimCLR (2002.05709), eq. 1; for audio Chang et al. (2010.11910), section 2.1.

    Parameters
    ----------
    embeddings : (2 * n_pairs, dim) float32, unit norm; row ``i`` and row ``i + n_pairs`` are a pair
    temperature : smaller looks harder at the nearest negatives

    Returns
    -------
    loss : scalar
    accuracy : scalar, how often the right one of the ``2 * n_pairs - 1`` others is the nearest
    """
    n_pairs = tf.shape(embeddings)[0] // 2
    logits = tf.matmul(embeddings, embeddings, transpose_b=True) / temperature
    logits = tf.linalg.set_diag(logits, tf.fill([2 * n_pairs], -1e9))
    targets = tf.concat([tf.range(n_pairs, 2 * n_pairs), tf.range(n_pairs)], axis=0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    hits = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), targets)
    return tf.reduce_mean(losses), tf.reduce_mean(tf.cast(hits, tf.float32))
