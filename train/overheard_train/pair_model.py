# mypy: allow-subclassing-any
# Keras has no type information: its classes are of type Any, which strict mypy does not let us subclass.
"""Combine an encoder and its loss into one Keras model that trains on batches of pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from overheard_train.encoders import build_encoder
from overheard_train.losses import make_loss
from overheard_train.recipes import Recipe

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}  # of x86; the last is ARM's


class PairModel(keras.Model):
    """Train an encoder on batches of pairs with :meth:`keras.Model.fit`.

    Parameters
    ----------
    encoder : from (n, n_frames, n_mels, 1) to (n, dim) of unit norm
    objective : a loss of :mod:`overheard_train.losses`
    """

    def __init__(self, encoder: keras.Model, objective: keras.layers.Layer) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective
        self.top1 = keras.metrics.Mean(name="top1")

    def build(self, shape: tuple[int, ...]) -> None:
        """Create the objective's variables, for segments ``(n, n_frames, n_mels)``."""
        self.objective.build((shape[0], self.encoder.output_shape[1]))
        self.built = True

    def call(self, segments: Any, training: bool | None = None) -> Any:
        """Embed segments ``(n, n_frames, n_mels)``."""
        return self.encoder(segments[..., None], training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the objective of embeddings ``y_pred`` with labels ``y``, plus the encoder's penalties."""
        loss, accuracy = self.objective(ops.cast(y_pred, "float32"), y)
        self.top1.update_state(accuracy)
        for penalty in self.encoder.losses:
            loss = loss + penalty
        return loss


def make_model(recipe: Recipe, seed: int = 0, float32: bool | None = None) -> PairModel:
    """Build and compile the model of a recipe.

    Parameters
    ----------
    float32 : train in float32 rather than in mixed bfloat16; None chooses the faster one
    """
    keras.utils.set_random_seed(seed)
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if float32 is None:
        float32 = not (has_gpu or has_bfloat16_instructions())
    keras.mixed_precision.set_global_policy("float32" if float32 else "mixed_bfloat16")
    model = PairModel(build_encoder(recipe.encoder, recipe.spec), make_loss(recipe.loss))
    optimizer = keras.optimizers.AdamW(
        recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm
    )
    model.compile(optimizer=optimizer, jit_compile=has_gpu)  # XLA slows small convolutions on a processor
    shape = (recipe.views * recipe.n_pairs, recipe.spec.n_frames, recipe.spec.frontend.n_mels)
    model.build(shape)
    optimizer.build(model.trainable_variables)
    return model


def has_bfloat16_instructions(cpuinfo: Path = CPUINFO) -> bool:
    """Return whether the processor multiplies bfloat16; one that does not trains far faster in float32.

    Returns
    -------
    False on systems without ``/proc/cpuinfo`` (macOS, Windows).
    """
    try:
        words = cpuinfo.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return not BFLOAT16_FLAGS.isdisjoint(words)
