"""Fit a model's quality estimator to pairs of a clean segment and the same segment through a microphone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.quality import QualityEstimator, patches_of
from overheard.fingerprint.spec import FingerprintSpec

if TYPE_CHECKING:
    from overheard_train.data import Data

N_QUALITY_PAIRS = 16_384  # with 3,072, a student's estimator explained 0.07 of the variance
CLEAN_SHARE = 0.125  # share of the pairs whose second segment is not degraded
MAX_SHIFT_S = 0.06  # half the step of a short recording's queries: the nearest is at most this far off
# Sizes and epochs were chosen by hand: the estimators that were compared gained about the same, whether they
# explained 0.29 or 0.5 of the variance, see docs/experiments.md. These layers have 12 thousand weights and
# take 0.05 ms per segment on x86.
N_HIDDEN = (48, 48, 64)
EPOCHS = 24
BATCH = 256
HELD_OUT = 0.1  # 1,638 pairs, for the manifest's quality_explained only


@dataclasses.dataclass(frozen=True)
class QualityFit:
    """An estimator, and the share of the cosines' variance that it explains on held-out pairs."""

    estimator: QualityEstimator
    explained: float


def quality_pairs(
    embed: Callable[[FloatArray], FloatArray],
    spec: FingerprintSpec,
    data: Data,
    n: int,
    embed_clean: Callable[[FloatArray], FloatArray] | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return degraded segments of the training lists, and their similarity to the clean segments.

    Parameters
    ----------
    embed : from normalized segments ``(n, n_frames, n_mels)`` to unit vectors ``(n, dim)``
    embed_clean : the same for the clean segments, if another network indexes them

    Returns
    -------
    (n, n_frames, n_mels) float32, normalized, and (n,) float32 cosines
    """
    from overheard_train.pairs.degradation import UNDEGRADED, Degradation
    from overheard_train.pairs.degraded import make

    maker = make(spec, data, "train", seed=5)
    rng = np.random.default_rng(15)
    all_degraded, cosines = [], []
    n_clean = int(n * CLEAN_SHARE)
    for how, n_pairs in ((UNDEGRADED, n_clean), (Degradation(mask=0), n - n_clean)):
        maker.degradation = dataclasses.replace(how, max_shift_s=MAX_SHIFT_S)
        for first in range(0, n_pairs, BATCH):
            segments, _ = maker.batch(rng, min(BATCH, n_pairs - first))
            clean, degraded = np.split(segments, 2)
            all_degraded.append(degraded)
            cosines.append(np.sum((embed_clean or embed)(clean) * embed(degraded), axis=1))
    return np.concatenate(all_degraded), np.concatenate(cosines)


def train_quality(segments: FloatArray, cosines: FloatArray, seed: int = 0) -> QualityFit:
    """Fit the estimator to degraded segments ``(n, n_frames, n_mels)`` and their cosines ``(n,)``."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("float32")
    patches = patches_of(segments)
    inputs = keras.Input(patches.shape[1:])
    dense = [layers.Dense(n, "relu") for n in N_HIDDEN] + [layers.Dense(1)]
    x = dense[1](dense[0](inputs))
    x = layers.Concatenate()([layers.GlobalAveragePooling1D()(x), layers.GlobalMaxPooling1D()(x)])
    network = keras.Model(inputs, dense[3](layers.Dropout(0.1)(dense[2](x))))
    network.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-3), "mse")
    order = np.random.default_rng(seed).permutation(len(patches))
    tested, fitted = np.split(order, [max(1, int(HELD_OUT * len(order)))])
    network.fit(patches[fitted], cosines[fitted], batch_size=BATCH, epochs=EPOCHS, verbose=0)
    weights, biases = zip(*(layer.get_weights() for layer in dense), strict=True)
    estimator = QualityEstimator(tuple(weights), tuple(biases))
    errors = estimator.expect(segments[tested]) - cosines[tested]
    spread = float(np.mean((cosines[tested] - cosines[fitted].mean()) ** 2))
    return QualityFit(estimator, 1 - float(np.mean(errors**2)) / max(spread, 1e-12))
