"""How thresholds are fitted, and the page of the worst queries; nothing here measures."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.io import wavfile

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

calibrate = pytest.importorskip("calibrate")
import worst
from overheard_bench import score
from protocol import Query


def test_a_quantile_is_fitted_smoothly_over_the_lengths() -> None:
    rng = np.random.default_rng(0)
    lengths = np.repeat([2, 3, 5, 10], 5000)
    values = np.log(lengths) + rng.gumbel(size=len(lengths))
    curve = calibrate.fit_quantile(calibrate._length_terms(lengths), values, 0.99)
    fitted = calibrate._length_terms(np.array([2, 3, 5, 10])) @ curve
    expected = np.log([2, 3, 5, 10]) - np.log(-np.log(0.99))
    np.testing.assert_allclose(fitted, expected, atol=0.35)
    above = values > calibrate._length_terms(lengths) @ curve
    assert np.mean(above) == pytest.approx(0.01, abs=0.001)


def test_weights_tell_right_from_wrong() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(4000) < 0.5
    features = np.stack([right + rng.standard_normal(4000), rng.standard_normal(4000), np.ones(4000)], axis=1)
    weights = calibrate.fit_logistic(features, right.astype(float))
    np.testing.assert_allclose(weights, [1.0, 0.0, -0.5], atol=0.15)


def answer(outcome: str, in_catalogue: bool, excess: float | None) -> score.Answer:
    value = None if excess is None else 4.0 + excess
    threshold = None if excess is None else 4.0
    best = None if excess is None else "music/b.ogg"
    return score.Answer(
        "q", "mic5", 2, "music/a.ogg", in_catalogue, (), outcome, False, False, best, value, threshold
    )


def test_what_went_most_wrong() -> None:
    assert worst.wrongness(answer("right", True, 2.0)) is None
    assert worst.wrongness(answer("none", False, -3.0)) is None
    assert worst.wrongness(answer("none", True, -3.0)) == 3.0
    assert worst.wrongness(answer("wrong", True, 1.5)) == 1.5
    assert worst.wrongness(answer("named", False, 0.5)) == 0.5
    assert worst.wrongness(answer("none", True, None)) == np.inf


LEVELS = {"a": 1000, "b": 2000}


def test_the_page_plays_the_query_what_it_is_and_what_was_thought(tmp_path: Path) -> None:
    rate = worst.SAMPLE_RATE
    music = {f"music/{name}.ogg": np.full(20 * rate, level, np.int16) for name, level in LEVELS.items()}
    corpus = SimpleNamespace(load=music.__getitem__)
    heard = Query("q", "mic5", 2, "music/a.ogg", 1.0, "music/a.ogg", np.full(2 * rate, 0.5, np.float32))
    page = worst.write_page(
        tmp_path / "new",
        [
            worst.Wrong(3.0, 0, heard, answer("none", True, -3.0), 10.0),
            worst.Wrong(0.0, 1, heard, answer("none", True, None), None),
        ],
        corpus,
    )
    text = page.read_text(encoding="utf-8")
    assert "mic5, 2 s: none, 3.0 off" in text
    assert "music/b.ogg at 10.0 s" in text
    assert "<td>nothing" in text
    sounds = {path.name: wavfile.read(path)[1] for path in page.parent.glob("*.wav")}
    assert all(f'src="{name}"' in text for name in sounds)
    assert len(sounds) == 5
    assert len(sounds["001-query.wav"]) == 2 * rate
    assert sounds["001-query.wav"][0] == 16384
    assert len(sounds["001-is.wav"]) == 6 * rate
    assert sounds["001-is.wav"][0] == 1000
    assert len(sounds["001-thought.wav"]) == 8 * rate
    assert sounds["001-thought.wav"][0] == 2000
