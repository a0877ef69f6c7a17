"""The fitting of a model's quantizer."""

from __future__ import annotations

import numpy as np
import pytest
from small_models import unit

from overheard.fingerprint.codebooks import CodebookStage
from overheard.fingerprint.quantizer import Quantizer
from overheard_export import codebooks
from overheard_export.codebooks import kmeans, train_quantizer


def test_kmeans_centres_are_nearer_than_random_points() -> None:
    rng = np.random.default_rng(0)
    points = unit(2, 2000, 8)

    def error(centres: np.ndarray) -> float:
        return float(np.min(((points[:, None] - centres) ** 2).sum(axis=2), axis=1).mean())

    centres = kmeans(points, 20, np.random.default_rng(1))
    assert centres.shape == (20, 8)
    assert np.isfinite(centres).all()
    assert error(centres) < 0.75 * error(points[rng.choice(len(points), 20, replace=False)])
    np.testing.assert_array_equal(centres, kmeans(points, 20, np.random.default_rng(1)))


def test_kmeans_takes_fewer_points_than_centres_and_equal_ones() -> None:
    points = np.repeat(unit(3, 3, 4), 2, axis=0)
    centres = kmeans(points, 16, np.random.default_rng(0), 4)
    assert centres.shape == (16, 4)
    assert np.isfinite(centres).all()
    for point in points:
        assert np.abs(centres - point).sum(axis=1).min() < 1e-5


def test_a_trained_quantizer_is_nearer_than_a_random_one() -> None:
    dim = 16
    seen, unseen = np.split(unit(4, 4000, dim), [3000])
    trained = train_quantizer([seen], 16, [2])
    rng = np.random.default_rng(5)
    residuals = seen - seen[rng.integers(len(seen), size=len(seen))]
    words = residuals[rng.integers(len(seen), size=(2, 256))] / 2
    random = Quantizer(seen[:16], CodebookStage(words))

    def error(quantizer: Quantizer, code_bytes: int | None = None) -> float:
        decoded = quantizer.decode(*quantizer.encode(unseen, code_bytes))
        return float(np.mean(np.sum((decoded - unseen) ** 2, axis=1)))

    assert error(trained) < 0.6 * error(random)
    assert error(train_quantizer([seen], 16, [4])) < 0.6 * error(trained)  # more bytes, less error
    staged = train_quantizer([seen], 16, [1, 2])
    assert staged.widths == (1, 3)
    assert error(staged) < 0.7 * error(staged, 1)
    assert error(staged, 1) == pytest.approx(error(train_quantizer([seen], 16, [1])), rel=1e-6)


def test_words_fitted_together_are_nearer_than_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebooks, "ROUNDS", 8)
    seen, unseen = np.split(unit(6, 8000, 8), [7000])
    fitted = train_quantizer([seen], 1, [3]).stages[0]
    left, words = seen - seen.mean(axis=0), []
    for _ in range(3):
        words.append(kmeans(left, 256, np.random.default_rng(0)))
        left = left - words[-1][np.argmin(np.sum(words[-1] ** 2, axis=1) - 2 * left @ words[-1].T, axis=1)]
    greedy = CodebookStage(np.stack(words))
    points = unseen - seen.mean(axis=0)

    def error(stage: CodebookStage) -> float:
        return float(np.mean(np.sum((stage.decode(stage.encode(points)) - points) ** 2, axis=1)))

    assert error(fitted) < 0.99 * error(greedy)


def drifting(seed: int, n_tracks: int, n: int = 60, dim: int = 16) -> list[np.ndarray]:
    """Return tracks whose segments are two thirds what their neighbours are."""
    steps = unit(seed, n_tracks * (n + 2), dim).reshape(n_tracks, n + 2, dim)
    tracks = steps[:, 2:] + 2 * steps[:, 1:-1] + steps[:, :-2]
    return list((tracks / np.linalg.norm(tracks, axis=2, keepdims=True)).astype(np.float32))


def test_neighbours_lower_the_error_of_codes_and_codes_chosen_with_them_lower_it_more() -> None:
    seen, unseen = drifting(7, 60), drifting(8, 10)
    quantizer = train_quantizer(seen, 8, [2, 2])
    plain = Quantizer(quantizer.cells, *quantizer.stages)

    def error(decoded: list[np.ndarray]) -> float:
        pairs = zip(decoded, unseen, strict=True)
        return float(np.mean([np.mean(np.sum((each - track) ** 2, axis=1)) for each, track in pairs]))

    for width in quantizer.widths:
        alone = error([plain.decode(*plain.encode(track, width)) for track in unseen])
        smoothed = error([quantizer.decode_track(*quantizer.encode(track, width)) for track in unseen])
        chosen = error([quantizer.decode_track(*quantizer.encode_track(track, width)) for track in unseen])
        assert chosen < 0.98 * smoothed < 0.96 * alone


def test_words_fitted_to_neighbourhoods_are_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, unseen = drifting(7, 60), drifting(8, 10)

    def error(rounds: int) -> float:
        monkeypatch.setattr(codebooks, "REFINED", rounds)
        quantizer = train_quantizer(seen, 8, [2])
        decoded = [quantizer.decode_track(*quantizer.encode_track(track)) for track in unseen]
        return float(np.mean((np.concatenate(decoded) - np.concatenate(unseen)) ** 2))

    assert error(2) < 0.9 * error(0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_tracks_of_few_segments_are_coded(n: int) -> None:
    quantizer = train_quantizer([*drifting(9, 20), *drifting(10, 3, n)], 4, [2])
    track = drifting(11, 1, n)[0]
    cells, codes = quantizer.encode_track(track)
    assert cells.shape == (n,)
    assert codes.shape == (n, 2)
    assert np.mean(np.sum(quantizer.decode_track(cells, codes) * track, axis=1)) > 0.6
