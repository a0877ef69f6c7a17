from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="training needs requirements-train.txt")

from overheard_train.losses import nt_xent  # noqa: E402


def unit(seed: int, n: int, dim: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def plain_nt_xent(embeddings: np.ndarray, temperature: float) -> tuple[float, float]:
    """SimCLR's equation 1, term by term in float64."""
    rows = embeddings.astype(np.float64)
    n_pairs, losses, hits = len(rows) // 2, [], []
    for i, row in enumerate(rows):
        partner = (i + n_pairs) % (2 * n_pairs)
        others = [k for k in range(2 * n_pairs) if k != i]
        similarity = {k: float(row @ rows[k]) / temperature for k in others}
        losses.append(np.log(sum(np.exp(s) for s in similarity.values())) - similarity[partner])
        hits.append(max(similarity, key=similarity.__getitem__) == partner)
    return float(np.mean(losses)), float(np.mean(hits))


@pytest.mark.parametrize("temperature", [0.06, 0.5])
def test_the_loss_is_the_papers(temperature: float) -> None:
    clean = unit(0, 12)
    degraded = clean + 0.4 * unit(1, 12)
    degraded /= np.linalg.norm(degraded, axis=1, keepdims=True)
    degraded[:3] = degraded[:3][::-1]  # two pairs that are wrong
    embeddings = np.concatenate([clean, degraded])
    loss, accuracy = nt_xent(tf.constant(embeddings), temperature)
    expected_loss, expected_accuracy = plain_nt_xent(embeddings, temperature)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-4)
    assert float(accuracy) == pytest.approx(expected_accuracy)
    assert 0.5 < expected_accuracy < 1


def test_equal_pairs_cost_little_and_collapse_costs_the_logarithm_of_the_batch() -> None:
    pairs = np.concatenate([np.eye(8, dtype=np.float32)] * 2)
    loss, accuracy = nt_xent(tf.constant(pairs), 0.06)
    assert float(loss) < 1e-3 and float(accuracy) == 1
    loss, _ = nt_xent(tf.constant(np.tile(unit(2, 1), (16, 1))), 0.06)
    assert float(loss) == pytest.approx(np.log(15), rel=1e-4)


def test_gradients_pull_a_pair_together() -> None:
    embeddings = tf.Variable(unit(3, 8))
    with tf.GradientTape() as tape:
        loss, _ = nt_xent(embeddings, 0.2)
    gradient = tape.gradient(loss, embeddings).numpy()
    assert np.isfinite(gradient).all()
    moved = embeddings.numpy() - 0.05 * gradient
    assert plain_nt_xent(moved, 0.2)[0] < float(loss)
