"""Encoders: output, cost, and the layers that they share."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", reason="training needs requirements-train.txt")

import keras

from overheard.errors import OverheardError
from overheard_train.encoders import build_encoder
from overheard_train.encoders.cost import multiply_adds, n_kernel_weights
from overheard_train.encoders.layers import Sample, divide_and_encode
from overheard_train.recipes import RECIPES, Recipe
from overheard_train.registry import Part

SMALLER: dict[str, dict[str, Any]] = {
    "nafp": {"widths": (8,) * 7 + (128,), "hidden": 2},
    "woo": {"size": 50, "hidden": 16},
}


def small(recipe: Recipe) -> Part:
    """Return the recipe's encoder, made narrower if it takes long to build."""
    return Part(recipe.encoder.name, {**recipe.encoder.options, **SMALLER.get(recipe.encoder.name, {})})


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_embeds_its_own_segments(name: str) -> None:
    recipe = RECIPES[name]
    encoder = build_encoder(small(recipe), recipe.spec)
    shape = (3, recipe.spec.n_frames, recipe.spec.frontend.n_mels, 1)
    segments = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    embeddings = np.asarray(
        encoder(segments, training=True)
    )  # untrained deep networks need the batch's statistics
    assert embeddings.shape == (3, recipe.spec.dim)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-4)
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "million", "n_bytes"), [("overheard", 150, 4_000_000), ("overheard-tiny", 10, 350_000)]
)
def test_our_encoders_stay_within_their_cost_limits(name: str, million: int, n_bytes: int) -> None:
    encoder = build_encoder(RECIPES[name].encoder, RECIPES[name].spec)
    assert multiply_adds(encoder) <= million * 10**6
    assert n_kernel_weights(encoder) < n_bytes


def test_the_cost_matches_a_calculation_by_hand() -> None:
    inputs = keras.Input((8, 6, 2))
    x = keras.layers.Conv2D(5, 3, 2, padding="same")(inputs)  # 4 x 3 positions, 3 * 3 * 2 * 5 weights
    x = keras.layers.Conv2D(10, 1, groups=5)(x)  # 4 x 3 positions, 1 * 1 * 1 * 10 weights
    outputs = keras.layers.Dense(7)(keras.layers.Flatten()(x))
    network = keras.Model(inputs, outputs)
    assert multiply_adds(network) == 12 * 90 + 12 * 10 + 120 * 7
    assert n_kernel_weights(network) == 90 + 10 + 840


def test_a_sample_keeps_its_rows_and_columns_in_order() -> None:
    image = np.arange(12 * 9, dtype=np.float32).reshape(1, 12, 9, 1)
    one, other = (np.asarray(Sample(5, 4)(image))[0, :, :, 0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (5, 4)
    assert np.all(np.diff(one, axis=0) > 0)
    assert np.all(np.diff(one, axis=1) > 0)
    assert not np.array_equal(one, np.asarray(Sample(5, 4, seed=1)(image))[0, :, :, 0])


def test_each_slice_is_encoded_independently() -> None:
    inputs = keras.Input((2, 3, 4))
    network = keras.Model(inputs, divide_and_encode(inputs, 6, hidden=3))
    before_norm = keras.Model(network.inputs, network.get_layer("encode").output)
    features = np.random.default_rng(0).standard_normal((1, 2, 3, 4)).astype(np.float32)
    changed = features.copy()
    changed[0, 0, 0] += 1  # the first slice of four features
    one, other = (before_norm.predict_on_batch(x).ravel() for x in (features, changed))
    assert np.flatnonzero(np.abs(one - other) > 1e-6).tolist() == [0]
    with pytest.raises(ValueError, match="24 features cannot be divided into 7"):
        divide_and_encode(inputs, 7)


def test_unknown_encoders_are_listed() -> None:
    recipe = dataclasses.replace(RECIPES["trial"], encoder=Part("transformer"))
    with pytest.raises(OverheardError, match="unknown encoder transformer; choose one of nafp, now_playing"):
        build_encoder(recipe.encoder, recipe.spec)
