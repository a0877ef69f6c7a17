"""Losses: their values against plain NumPy, the queue, and the quantizer within them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training needs requirements-train.txt")

import tensorflow as tf

from overheard.errors import OverheardError
from overheard_train.losses import make_loss
from overheard_train.losses.code import ProductCode
from overheard_train.losses.nt_xent import NTXent, quantize_catalogue_rows
from overheard_train.losses.triplet import Triplet
from overheard_train.recipes import RECIPES
from overheard_train.registry import Part


def unit(seed: int, n: int, dim: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return normalized(vectors)


def normalized(vectors: np.ndarray) -> np.ndarray:
    unit_vectors: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit_vectors


def labels(n_pairs: int, views: int = 2, tracks: list[int] | None = None) -> np.ndarray:
    one = np.stack([np.arange(n_pairs), tracks or np.arange(n_pairs)], axis=1).astype(np.int32)
    return np.tile(one, (views, 1))


def pairs(n_pairs: int, views: int = 2, noise: float = 0.4) -> np.ndarray:
    clean = unit(0, n_pairs)
    degraded = [normalized(clean + noise * unit(view, n_pairs)) for view in range(1, views)]
    degraded[0][:3] = degraded[0][:3][::-1]  # two incorrect pairs
    return np.concatenate([clean, *degraded])


def value(loss: Any, embeddings: np.ndarray, of: np.ndarray) -> tuple[float, float]:
    result, accuracy = loss(embeddings, of)
    return float(result), float(accuracy)


def plain_nt_xent(
    embeddings: np.ndarray, of: np.ndarray, temperature: float, queue: np.ndarray | None = None
) -> tuple[float, float]:
    """SimCLR's equation 1, term by term in float64."""
    rows = embeddings.astype(np.float64)
    losses, hits = [], []
    for i, row in enumerate(rows):
        positives = [k for k in range(len(rows)) if k != i and of[k, 0] == of[i, 0]]
        others = [k for k in range(len(rows)) if of[k, 1] != of[i, 1]] + positives
        similarity = {k: float(row @ rows[k]) / temperature for k in others}
        more = [] if queue is None else list(queue @ row / temperature)
        total = np.log(np.sum(np.exp([*similarity.values(), *more])))
        losses.append(total - np.mean([similarity[k] for k in positives]))
        hits.append(max(similarity, key=similarity.__getitem__) in positives)
    return float(np.mean(losses)), float(np.mean(hits))


@pytest.mark.parametrize("temperature", [0.06, 0.5])
@pytest.mark.parametrize("views", [2, 3])
def test_nt_xent_matches_the_papers_equation(temperature: float, views: int) -> None:
    embeddings, of = pairs(12, views), labels(12, views)
    expected = plain_nt_xent(embeddings, of, temperature)
    assert value(NTXent(temperature), embeddings, of) == pytest.approx(expected, rel=1e-4)
    assert 0.5 < expected[1] < 1


def test_shared_negatives_are_the_mean_over_all_rows() -> None:
    embeddings, of = pairs(12), labels(12)
    rows = embeddings.astype(np.float64)
    similarity = rows @ rows.T / 0.1
    partner = (np.arange(24) + 12) % 24
    wanted = similarity[np.arange(24), partner]
    same = of[:, None, 1] == of[None, :, 1]
    threshold = np.log(np.exp(similarity[~same]).sum() / 24)
    expected = np.mean(np.logaddexp(wanted, threshold) - wanted)
    assert value(NTXent(0.1, shared=1.0), embeddings, of)[0] == pytest.approx(expected, rel=1e-4)
    own = value(NTXent(0.1), embeddings, of)[0]
    half = value(NTXent(0.1, shared=0.5), embeddings, of)[0]
    assert half == pytest.approx((expected + own) / 2, rel=1e-4)


def test_identical_pairs_cost_little_and_collapse_costs_the_logarithm_of_the_batch() -> None:
    loss, accuracy = value(NTXent(0.06), np.concatenate([np.eye(8, dtype=np.float32)] * 2), labels(8))
    assert loss < 1e-3
    assert accuracy == 1
    collapsed, _ = value(NTXent(0.06), np.tile(unit(2, 1), (16, 1)), labels(8))
    assert collapsed == pytest.approx(np.log(15), rel=1e-4)


def test_moments_of_one_track_are_not_negatives() -> None:
    embeddings, of = pairs(8), labels(8, tracks=[0, 0, 1, 2, 3, 4, 5, 6])
    expected = plain_nt_xent(embeddings, of, 0.2)
    assert value(NTXent(0.2), embeddings, of) == pytest.approx(expected, rel=1e-4)
    assert expected[0] < plain_nt_xent(embeddings, labels(8), 0.2)[0]


def test_the_queue_holds_other_tracks_of_earlier_batches() -> None:
    loss = NTXent(0.2, queue=6)
    first, second = pairs(4), unit(9, 8)
    assert value(loss, first, labels(4)) == pytest.approx(plain_nt_xent(first, labels(4), 0.2), rel=1e-4)
    later = labels(4, tracks=[0, 10, 11, 12])  # one track of the first batch again
    without_own = [plain_nt_xent(second, later, 0.2, first[:4])[0], plain_nt_xent(second, later, 0.2)[0]]
    queued, _ = value(loss, second, later)
    assert without_own[1] < queued < without_own[0]
    rows = np.asarray(loss.queue)
    np.testing.assert_allclose(rows, np.concatenate([second[:4], first[:2]]), atol=1e-6)  # the newest first
    assert np.asarray(loss.queue_tracks).tolist() == [0, 10, 11, 12, 0, 1]


def test_only_catalogue_rows_are_queued_and_quantized() -> None:
    embeddings, of = pairs(4, 3), labels(4, 3)
    loss = NTXent(0.2, queue=8, views=3)
    value(loss, embeddings, of)
    np.testing.assert_allclose(np.asarray(loss.queue)[:4], embeddings[:4], atol=1e-6)
    assert np.asarray(loss.queue_tracks).tolist() == [0, 1, 2, 3, -1, -1, -1, -1]
    code = ProductCode(4)
    code.build(embeddings.shape)
    quantized, _ = quantize_catalogue_rows(code, embeddings, of[:, 0], views=3)
    changed = np.abs(np.asarray(quantized) - embeddings).max(axis=1) > 1e-3
    assert np.flatnonzero(changed).tolist() == [0, 2]  # every second pair


def test_every_recipe_and_its_loss_have_the_same_views() -> None:
    for recipe in RECIPES.values():
        assert make_loss(recipe.loss).views == recipe.views, recipe.name


def test_quantization_increases_the_loss() -> None:
    embeddings, of = pairs(64), labels(64)
    plain, _ = value(NTXent(0.2), embeddings, of)
    coded, _ = value(NTXent(0.2, code_bytes=2, commitment=0.0), embeddings, of)
    committed, _ = value(NTXent(0.2, code_bytes=2, commitment=1.0), embeddings, of)
    assert plain < coded < committed


def test_codebooks_follow_the_embeddings() -> None:
    rng, centres = np.random.default_rng(0), unit(4, 20, 10)
    code = ProductCode(3, momentum=0.9)  # three parts of four columns, the last two of them empty
    distances = []
    for _ in range(60):
        drawn = centres[rng.integers(20, size=128)] + 0.02 * rng.standard_normal((128, 10))
        coded, distance = code(normalized(drawn).astype(np.float32))
        distances.append(float(distance))
    assert distances[-1] < 0.15 * distances[0]
    np.testing.assert_allclose(np.linalg.norm(np.asarray(coded), axis=1), 1, atol=1e-3)


def test_gradients_pass_the_quantizer_and_pull_a_pair_together() -> None:
    embeddings = tf.Variable(pairs(32))
    loss = NTXent(0.2, code_bytes=4, commitment=0.0)
    with tf.GradientTape() as tape:
        found, _ = loss(embeddings, labels(32))
    gradient = tape.gradient(found, embeddings).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[::2]).max() > 1e-4
    moved = normalized(embeddings.numpy() - 0.2 * gradient)
    assert value(NTXent(0.2), moved, labels(32))[0] < value(NTXent(0.2), embeddings.numpy(), labels(32))[0]


def test_the_gradient_passes_the_quantizer_unchanged() -> None:
    code, given = ProductCode(4), tf.Variable(unit(7, 6))
    towards = unit(8, 6)
    code.build(given.shape)
    with tf.GradientTape() as tape:
        coded, _ = code(given)
        found = tf.reduce_sum(coded * towards)
    gradient = tape.gradient(found, given).numpy()
    across = (
        towards - np.sum(towards * coded, axis=1, keepdims=True) * coded
    )  # the part that normalization passes
    cosines = np.sum(normalized(gradient) * normalized(np.asarray(across)), axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-4)


def plain_triplet(
    embeddings: np.ndarray, n_pairs: int, views: int, margin: float, squared: bool, hard: bool, semi: bool
) -> float:
    rows = embeddings.astype(np.float64)
    power = 1 if squared else 0.5
    distance = np.maximum(2 - 2 * rows @ rows.T, 1e-9) ** power
    total = []
    for view in range(1, views):
        for i in range(len(rows)):
            positives = [(i - k * n_pairs) % len(rows) for k in range(1, views)]
            near = (
                max(distance[i, k] for k in positives)
                if hard
                else distance[i, (i - view * n_pairs) % len(rows)]
            )
            others = [distance[i, k] for k in range(len(rows)) if k % n_pairs != i % n_pairs]
            beyond = [d for d in others if d > near]
            far = (min(beyond) if beyond else max(others)) if semi else distance[i, (i - 1) % len(rows)]
            total.append(max(near - far + margin, 0))
        if hard:
            break
    return float(np.mean(total))


@pytest.mark.parametrize("positives", ["each", "hard"])
@pytest.mark.parametrize("negatives", ["random", "semi_hard"])
@pytest.mark.parametrize("squared", [True, False])
def test_the_triplet_loss_matches_the_papers_equation(positives: str, negatives: str, squared: bool) -> None:
    embeddings = pairs(10, 3, noise=0.8)
    loss = Triplet(0.3, squared, positives, negatives, views=3)
    expected = plain_triplet(embeddings, 10, 3, 0.3, squared, positives == "hard", negatives == "semi_hard")
    found, accuracy = value(loss, embeddings, labels(10, 3))
    assert found == pytest.approx(expected, rel=1e-4)
    assert expected > 0
    assert 0 < accuracy < 1


def test_a_random_row_of_the_same_track_is_not_a_negative() -> None:
    embeddings = pairs(4, noise=0.8)
    loss = Triplet(3.9, negatives="random")
    expected, _ = value(loss, embeddings, labels(4))
    without, _ = value(
        loss, embeddings, labels(4, tracks=[0, 0, 1, 2])
    )  # excludes one of four, in either view
    distance = 2 - 2 * embeddings.astype(np.float64) @ embeddings.T
    lost = sum(distance[i, (i + 4) % 8] - distance[i, i - 1] + 3.9 for i in (1, 5)) / 8
    assert without == pytest.approx(expected - lost, rel=1e-4)
    assert lost > 0


def test_unknown_losses_and_options_are_errors() -> None:
    with pytest.raises(OverheardError, match="unknown loss arcface; choose one of distil, nt_xent, triplet"):
        make_loss(Part("arcface"))
    with pytest.raises(ValueError, match="negatives one of"):
        Triplet(negatives="easy")
