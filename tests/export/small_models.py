"""Networks and pictures for the tests of the export."""

from __future__ import annotations

from typing import Any

import numpy as np

from overheard.fingerprint.codebooks import CODEWORDS, CodebookStage
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.quality import PATCH, QualityEstimator
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.spec import SPEC
from overheard_train.encoders import build_encoder
from overheard_train.recipes import RECIPES

COHORT = Cohort(np.zeros(5, dtype=np.uint16), np.arange(110, dtype=np.uint8).reshape(5, 22))


def make_quality(seed: int = 0) -> QualityEstimator:
    """An estimator as small as can be, of nothing."""
    rng = np.random.default_rng(seed)
    shapes = ((PATCH * PATCH, 3), (3, 3), (6, 2), (2, 1))
    weights = tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    biases = tuple(np.zeros(shape[1], dtype=np.float32) for shape in shapes)
    return QualityEstimator(weights, biases)  # type: ignore[arg-type]


def make_quantizer(seed: int, n_cells: int, *stage_bytes: int) -> Quantizer:
    """A quantizer with the tables of a fitted one, of nothing."""
    rng = np.random.default_rng(seed)
    words = (rng.standard_normal((n, CODEWORDS, SPEC.dim), dtype=np.float32) for n in stage_bytes)
    return Quantizer(unit(seed, n_cells, SPEC.dim), *map(CodebookStage, words))


def make_encoder(seed: int) -> Any:
    """A network as small as can be, with statistics as training leaves them."""
    import keras

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("float32")
    encoder = build_encoder(RECIPES["trial"].encoder, SPEC)
    encoder(segments(64, seed)[..., None], training=True)
    return encoder


def segments(n: int, seed: int) -> np.ndarray:
    """Smooth random pictures, normalized as segments are."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((n, SPEC.n_frames // 4, SPEC.frontend.n_mels // 4)).astype(np.float32)
    fine = coarse.repeat(4, axis=1).repeat(4, axis=2) + 0.2 * rng.standard_normal(
        (n, SPEC.n_frames, SPEC.frontend.n_mels)
    )
    return (fine - fine.mean(axis=(1, 2), keepdims=True)).astype(np.float32)


def unit(seed: int, n: int, dim: int) -> np.ndarray:
    """Unit vectors about some centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((20, dim))[rng.integers(20, size=n)] + 0.5 * rng.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
