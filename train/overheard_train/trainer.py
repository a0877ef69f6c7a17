"""An encoder and its loss as one Keras model, on whichever backend Keras runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import ops

from overheard_train.encoders import build_encoder
from overheard_train.losses import make_loss
from overheard_train.recipes import Recipe

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}  # the last is ARM's


class PairModel(keras.Model):
    """Trains an encoder on batches of pairs with :meth:`keras.Model.fit`.

    Parameters
    ----------
    encoder : (n, n_frames, n_mels, 1) to (n, dim) of unit norm
    objective : a loss of :mod:`overheard_train.losses`
    """

    def __init__(self, encoder: keras.Model, objective: keras.layers.Layer) -> None:
        super().__init__()
        self.encoder, self.objective = encoder, objective
        self.top1 = keras.metrics.Mean(name="top1")

    def build(self, shape: tuple[int, ...]) -> None:
        """Make what the objective remembers, for segments ``(n, n_frames, n_mels)``."""
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
        """Return the objective of embeddings ``y_pred`` with labels ``y`` and the encoder's penalties."""
        loss, accuracy = self.objective(ops.cast(y_pred, "float32"), y)
        self.top1.update_state(accuracy)
        for penalty in self.encoder.losses:
            loss = loss + penalty
        return loss


def make_model(recipe: Recipe, seed: int = 0, float32: bool | None = None) -> PairModel:
    """Build and compile a recipe's model over all devices.

    Parameters
    ----------
    float32 : rather than mixed bfloat16; where None, as is faster here
    """
    distribute()
    keras.utils.set_random_seed(seed)
    if float32 is None:
        float32 = not (_has_accelerator() or processor_multiplies_bfloat16())
    keras.mixed_precision.set_global_policy("float32" if float32 else "mixed_bfloat16")
    model = PairModel(build_encoder(recipe.encoder, recipe.spec), make_loss(recipe.loss))
    optimizer = keras.optimizers.AdamW(
        recipe.learning_rate, weight_decay=recipe.weight_decay, global_clipnorm=recipe.clip_norm
    )
    # XLA makes these small convolutions slower on a processor; JAX knows nothing else.
    jit = "auto" if keras.backend.backend() == "jax" else _has_accelerator()
    model.compile(optimizer=optimizer, jit_compile=jit)
    shape = (recipe.views * recipe.n_pairs, recipe.spec.n_frames, recipe.spec.frontend.n_mels)
    model.build(shape)
    optimizer.build(model.trainable_variables)
    return model


def distribute() -> None:
    """Share each batch out over several accelerators where the backend sees them (JAX)."""
    devices = keras.distribution.list_devices() if keras.backend.backend() == "jax" else []
    if len(devices) > 1 and keras.distribution.distribution() is None:
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices))


def processor_multiplies_bfloat16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether it has instructions for that; without them bfloat16 is slower than float32 by far.

    Where nothing tells (macOS, Windows), it has none.
    """
    try:
        words = cpuinfo.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return not BFLOAT16_FLAGS.isdisjoint(words)


def _has_accelerator() -> bool:
    if keras.backend.backend() == "jax":
        return any(not device.startswith("cpu") for device in keras.distribution.list_devices())
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
