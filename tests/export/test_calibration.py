"""Test the calibration: the fit, the file of trials, and the manifest that it writes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overheard.errors import ModelError
from overheard.fingerprint.model import load_model
from overheard.recognize.matching.scoring import Confidence
from overheard_export import calibration, cli
from overheard_export.calibration import Trial

# What benchmarks/calibrate.py, which this module replaces, computed from `synthetic_trials`.
BEFORE = {
    "weights": [1.5991, 1.0589, -3.0884],
    "lengths_s": [2, 3, 5, 10],
    "penalties": [-2.8867, -2.7885, -2.4291, -1.5214],
    "threshold": 4.0,
    "chosen_on": {"part": "calibration and training tracks", "trials": 2000, "false_positives": 0.02},
}


def synthetic_trials() -> list[Trial]:
    rng = np.random.default_rng(7)
    trials = []
    for number in range(2000):
        length_s, in_catalogue = (2, 3, 5, 10)[number % 4], bool(number // 4 % 2)
        right = in_catalogue and bool(rng.random() < 0.9)
        similarity = round(float(rng.normal(2 * right + 0.1 * length_s)), 6)
        margin = round(float(rng.normal(right)), 6)
        trials.append(Trial(length_s, in_catalogue, right, (similarity, margin, 1.0)))
    return trials


def complete(trials: list[Trial]) -> list[Trial]:
    """Return the trials with all features of the score, three of which say nothing."""
    rng = np.random.default_rng(8)
    noise = np.round(rng.normal(size=(len(trials), 3)), 6).tolist()
    return [
        dataclasses.replace(trial, features=(trial.features[0], a, trial.features[1], b, c, 1.0))
        for trial, (a, b, c) in zip(trials, noise, strict=True)
    ]


def rows(trials: list[Trial]) -> list[list[Any]]:
    return [[t.length_s, t.in_catalogue, t.right, list(t.features)] for t in trials]


@pytest.fixture
def model_path(tmp_path: Path) -> Path:
    shipped = load_model().path
    for file in shipped.parent.glob(f"{shipped.stem}.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / shipped.name


def write_trials(folder: Path, content: object) -> Path:
    path = folder / "trials.json"
    path.write_text(json.dumps(content))
    return path


def test_a_quantile_is_a_smooth_function_of_the_length() -> None:
    rng = np.random.default_rng(0)
    lengths = np.repeat([2, 3, 5, 10], 5000)
    values = np.log(lengths) + rng.gumbel(size=len(lengths))
    curve = calibration.fit_quantile(calibration.length_terms(lengths), values, 0.99)
    fitted = calibration.length_terms(np.array([2, 3, 5, 10])) @ curve
    expected = np.log([2, 3, 5, 10]) - np.log(-np.log(0.99))
    np.testing.assert_allclose(fitted, expected, atol=0.35)
    above = values > calibration.length_terms(lengths) @ curve
    assert np.mean(above) == pytest.approx(0.01, abs=0.001)


def test_weights_separate_right_from_wrong() -> None:
    rng = np.random.default_rng(1)
    right = rng.random(4000) < 0.5
    features = np.stack([right + rng.standard_normal(4000), rng.standard_normal(4000), np.ones(4000)], axis=1)
    weights = calibration.fit_logistic(features, right.astype(float))
    np.testing.assert_allclose(weights, [1.0, 0.0, -0.5], atol=0.15)


def confident_trials(n: int, known_share: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log-odds whose confidence is known, what is right, and which queries are without their track."""
    rng = np.random.default_rng(3)
    without_own = rng.random(n) >= known_share
    log_odds = np.where(without_own, rng.normal(-2, 1, n), rng.normal(2, 1, n))
    # Densities of both kinds give log-odds of 4 z; 2% of the known are wrong whatever their log-odds.
    right = ~without_own & (rng.random(n) < 0.98)
    return log_odds, right.astype(float), without_own


@pytest.mark.parametrize("known_share", [0.5, 0.3])
def test_confidence_is_the_share_of_right_matches_if_half_of_the_music_is_known(known_share: float) -> None:
    curve = Confidence.from_dict(calibration.fit_confidence(*confident_trials(60000, known_share)))
    for log_odds in (-2.0, -0.5, 0.0, 0.5, 3.0):
        assert curve.of(log_odds) == pytest.approx(0.98 / (1 + np.exp(-4 * log_odds)), abs=0.015)


def test_a_few_confident_mistakes_do_not_flatten_the_curve() -> None:
    curve = Confidence.from_dict(calibration.fit_confidence(*confident_trials(20000)))
    assert curve.highest == pytest.approx(0.98, abs=0.004)
    assert curve.of(1.0) - curve.of(-1.0) > 0.93


def test_the_same_trials_give_the_same_numbers_as_before() -> None:
    calibrated = calibration.calibrate(synthetic_trials(), 0.02)
    assert calibrated.pop("confidence")
    assert calibrated == BEFORE
    assert "  2 s: 50.8% correctly identified, 2.0% false positives" in calibration.describe(
        synthetic_trials(), BEFORE
    )


@pytest.mark.parametrize("option", ["--false-positives", "--false-accepts"])  # the second for one release
def test_the_command_writes_the_fields_that_have_trials(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    before = json.loads(model_path.read_text())
    trials = complete(synthetic_trials())
    path = write_trials(tmp_path, {"digest": before["digest"], "trials": {"scoring": rows(trials)}})
    arguments = ["calibrate", str(path), "--model", str(model_path), option, "0.02"]
    assert cli.main(arguments) == 0
    fitted = calibration.calibrate(trials, 0.02)
    assert calibration.describe(trials, fitted) in capsys.readouterr().out
    written = json.loads(model_path.read_text())
    assert written == before | {"scoring": fitted}
    assert fitted["penalties"] == pytest.approx(BEFORE["penalties"], abs=0.5)  # noise changes little
    curve = load_model(model_path).manifest["scoring"]["confidence"]
    assert Confidence.from_dict(curve).of(-3.0) < 0.1 < 0.9 < Confidence.from_dict(curve).of(3.0)
    assert model_path.read_text().startswith('{\n "manifest_version"')


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([], "not a JSON object"),
        ({"trials": {"scoring": 7}}, "not a file of trials"),
        ({"trials": []}, "not a file of trials"),
        ({"digest": "0123", "trials": {}}, "of model 0123"),
        ({"trials": {"speed": [[2, True, True, [1.0]], [2, False, False, [1.0]]]}}, "unknown field 'speed'"),
        ({"trials": {"scoring": [[2, True, True, [1.0] * 6]]}}, "lacks trials"),
        ({"trials": {"scoring": [[2, True]]}}, r"trial 1 of scoring is invalid.*make the file again"),
        ({"trials": {"scoring": [[2, True, True, ["high"]]]}}, "is invalid"),
        ({"trials": {"scoring": [[2, True, True, [1.0] * 5]]}}, r"does not fit the score.*5 features"),
        ({"trials": {"scoring": [[0, True, True, [1.0] * 6]]}}, "length of 0 s"),
        ({"trials": {"scoring": [[10**400, True, True, [1.0] * 6]]}}, "is invalid"),
    ],
)
def test_an_invalid_file_is_an_error_and_writes_nothing(
    model_path: Path, tmp_path: Path, content: object, problem: str
) -> None:
    before = model_path.read_bytes()
    if isinstance(content, dict):
        content = {"digest": json.loads(before)["digest"], **content}
    with pytest.raises(ModelError, match=problem):
        calibration.main([str(write_trials(tmp_path, content)), "--model", str(model_path)])
    assert model_path.read_bytes() == before


def test_the_help_shows_only_the_new_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        calibration.main(["--help"])
    assert "--false-positives" in (shown := capsys.readouterr().out)
    assert "accepts" not in shown


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["calibrate", str(tmp_path / "none.json")]) == 2
    assert "benchmarks/trials.py" in capsys.readouterr().err


def test_a_named_pipe_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "trials.json")
    assert cli.main(["calibrate", str(tmp_path / "trials.json")]) == 2
    assert "not a regular file" in capsys.readouterr().err
