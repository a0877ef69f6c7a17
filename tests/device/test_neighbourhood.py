from __future__ import annotations

import numpy as np
import pytest

from overheard.fingerprint.neighbourhood import UPDATE_STRIDE, Neighbourhood

DIM = 6


def random(seed: int = 0) -> Neighbourhood:
    rng = np.random.default_rng(seed)
    before, itself, after, missing = (
        rng.normal(0, scale, (DIM, DIM)).astype(np.float32) for scale in (0.2, 0.4, 0.2, 0.2)
    )
    return Neighbourhood(before, itself, after, missing, rng.normal(0, 0.1, DIM).astype(np.float32))


def rows(seed: int, n: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


def test_without_neighbours_the_estimates_are_the_sums() -> None:
    sums = rows(1, 9)
    np.testing.assert_allclose(Neighbourhood.none(DIM).track_estimates(sums), sums, atol=1e-6)
    np.testing.assert_allclose(Neighbourhood.none(DIM).estimates(sums), sums, atol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_estimates_use_both_neighbours_and_replace_those_missing_at_the_ends(n: int) -> None:
    neighbourhood, sums = random(), rows(2, n)
    found = neighbourhood.track_estimates(sums)
    for i in range(n):
        before = sums[i - 1] if i else sums[i] @ neighbourhood.missing
        after = sums[i + 1] if i + 1 < n else sums[i] @ neighbourhood.missing
        around = before @ neighbourhood.before + after @ neighbourhood.after
        expected = around + sums[i] @ neighbourhood.itself + neighbourhood.bias
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


def test_a_segment_by_itself_is_a_track_of_one() -> None:
    sums = rows(8, 4)
    alone = np.concatenate([random().track_estimates(row[None]) for row in sums])
    np.testing.assert_allclose(random().estimates(sums), alone, atol=1e-5)


def test_wanted_sums_minimize_the_error_while_the_others_stay() -> None:
    neighbourhood, sums, embeddings = random(), rows(3, 11), rows(4, 11)
    wanted = neighbourhood.wanted_sums(embeddings, sums)

    def error(changed: np.ndarray) -> float:
        return float(np.sum((neighbourhood.track_estimates(changed) - embeddings) ** 2))

    better = sums.copy()
    better[2:-2:UPDATE_STRIDE] = wanted[
        2:-2:UPDATE_STRIDE
    ]  # not at the ends, where it ignores the replaced neighbours
    assert error(better) < 0.9 * error(sums)
    for seed in range(5):
        other = better.copy()
        other[2:-2:UPDATE_STRIDE] += 0.05 * rows(5 + seed, 3)
        assert error(other) > error(better)


def test_the_metric_gives_the_squared_error_of_a_changed_sum() -> None:
    neighbourhood, sums, error = random(), rows(6, 5), rows(7, 1)[0]
    spoilt = sums.copy()
    spoilt[2] += error
    difference = neighbourhood.track_estimates(spoilt) - neighbourhood.track_estimates(sums)
    assert np.sum(difference**2) == pytest.approx(error @ neighbourhood.metric @ error, rel=1e-3)
