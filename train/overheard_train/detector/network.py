"""The architecture of the music detector, and its training."""

from __future__ import annotations

import dataclasses
import logging

import keras
import numpy as np
import numpy.typing as npt

from overheard.fingerprint.frontend import FloatArray
from overheard.hear.texture import N_FEATURES
from overheard_train.detector.examples import KINDS, UNLABELLED
from overheard_train.detector.store import Examples

log = logging.getLogger(__name__)

HIDDEN = (32, 12)
CLIP = 4.0  # deviations from the mean
DROPOUT = 0.15  # of features
BATCH = 256
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 3e-2


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A network from normalized features ``(batch, N_FEATURES)`` to ``(batch, 1)``, the log-odds of music."""

    network: keras.Model
    mean: FloatArray
    deviation: FloatArray
    loss: float

    def normalized(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return features with mean 0 and deviation 1, clipped."""
        values: FloatArray = (features.astype(np.float32) - self.mean) / self.deviation
        return np.clip(values, -CLIP, CLIP)

    def outputs(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the log-odds for features ``(n, N_FEATURES)``."""
        made: FloatArray = self.network.predict(self.normalized(features), batch_size=4096, verbose=0)[:, 0]
        return made


def build() -> keras.Model:
    """Build the network: two hidden layers."""
    inputs = keras.Input((N_FEATURES,), name="features")
    x = keras.layers.Dropout(DROPOUT)(inputs)
    for width in HIDDEN:
        x = keras.layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="log_odds")(x), name="music_detector")


def rows_of(examples: Examples) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.uint8]]:
    """Return the labelled seconds of all scenes: features ``(n, N_FEATURES)`` and labels ``(n,)``."""
    labels = np.asarray(examples.labels).reshape(-1)
    features = np.asarray(examples.features).reshape(-1, N_FEATURES)
    return features[labels != UNLABELLED], labels[labels != UNLABELLED]


def fit(examples: Examples, epochs: int, seed: int) -> Fitted:
    """Train the network; the seed determines its initial weights and the order of the examples."""
    features, labels = rows_of(examples)
    is_music = (labels == KINDS.index("music")).astype(np.float32)
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-3
    keras.utils.set_random_seed(seed)
    steps = max(1, len(labels) // BATCH) * epochs
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=LEARNING_RATE, warmup_steps=max(1, steps // 30)
    )
    network = build()
    fitted = Fitted(network, mean.round(5).astype(np.float32), deviation.round(5).astype(np.float32), 0.0)
    network.compile(
        keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    history = network.fit(
        fitted.normalized(features), is_music[:, None], batch_size=BATCH, epochs=epochs, verbose=0
    )
    loss = float(history.history["loss"][-1])
    log.info("%d epochs of %d seconds: loss %.4f", epochs, len(labels), loss)
    return dataclasses.replace(fitted, loss=loss)
