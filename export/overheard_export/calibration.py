"""Fit the weights and penalties of a model's match score to trials, and write them into its manifest.

A trial is one query with the evidence for its best match. Each query of a track in the catalogue is asked
twice: with its own track and without it. Queries of music that was never in the catalogue are asked once.
Logistic regression weighs the evidence. Each query length then gets the penalty at which the requested share
of the queries without their track would be false positives. The penalties are a smooth function of the
length, since few of the trials of one length lie near the threshold. No length's penalty accepts a match
that is most probably wrong: sounds unlike all music have such matches. A second curve converts the weighted
evidence to the probability that a match is right.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog, minimize

from overheard.errors import ModelError
from overheard.files import atomic_write, read_regular
from overheard.fingerprint.json_values import JsonValueError, parse_object
from overheard.fingerprint.model import load_model
from overheard.recognize.matching.scoring import FIELDS, MAX_ARGUMENT, Scoring
from overheard_train.checkout import CHECKOUT

Floats = npt.NDArray[np.float64]

THRESHOLD = 4.0  # a convention: the penalties move each length's scores so that one threshold fits all
LOWEST_LOG_ODDS = -1.0  # of an accepted match of any length
RIDGE = 1e-3  # keeps the weights finite if the evidence separates the trials perfectly
MAX_LENGTH_S = 3600  # of a query
MAX_VALUE = 1e9  # of a feature
MAX_TRIALS_BYTES = 1 << 28  # some hundred thousand trials take 30 MB
FALSE_POSITIVES = 0.01  # of the queries of one length; the limit below leaves fewer of long ones
LIMITS = ((0.0, 0.2), (0.8, 1.0))  # of the lowest and the highest confidence
TINY = 1e-9  # keeps logarithms of probabilities finite
START = (0.005, 0.995, 0.0, 0.0)  # of the fit: these two, the slope's logarithm, the offset


@dataclasses.dataclass(frozen=True)
class Trial:
    """The evidence for a query's best match, and whether this match is the correct track."""

    length_s: int
    in_catalogue: bool
    right: bool
    features: tuple[float, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``overheard-export calibrate``."""
    args = parser().parse_args(argv)
    if args.model is None and CHECKOUT is None:
        raise ModelError("an installed package's own model stays as it is", "use --model FILE.json")
    model = load_model(args.model)
    trials = read_trials(args.trials, model.digest, model.network_digest)
    manifest = dict(model.manifest)
    for name, each in trials.items():
        manifest[name] = calibrate(each, args.false_positives)
        Scoring.from_manifest({"scoring": manifest[name]})  # what the device cannot read is not written
        print(f"{name}: {json.dumps(manifest[name])}\n{describe(each, manifest[name])}")
    with atomic_write(model.path) as file:
        file.write((json.dumps(manifest, indent=1) + "\n").encode())
    print(f"written to {model.path}")
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``overheard-export calibrate``."""
    built = argparse.ArgumentParser(
        prog="overheard-export calibrate",
        description="Fit the weights and penalties of a model's match score. Write them into its manifest.",
    )
    built.add_argument("trials", type=Path, metavar="TRIALS.json", help="output of benchmarks/trials.py")
    built.add_argument(
        "--model",
        type=Path,
        metavar="FILE.json",
        help="manifest of the model (default: the checkout's model)",
    )
    built.add_argument(
        "--false-positives",
        type=share,
        default=FALSE_POSITIVES,
        metavar="SHARE",
        help="share of queries of unknown music that may be recognized (default: %(default)s)",
    )
    # The earlier name, for one release. No default: that of the new name counts.
    built.add_argument(
        "--false-accepts",
        dest="false_positives",
        type=share,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    return built


def share(text: str) -> float:
    """Parse a number between 0 and 1, both excluded."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def read_trials(path: Path, digest: str, network: str) -> dict[str, list[Trial]]:
    """Read the trials of a model, by the field of the manifest that they calibrate.

    Raises
    ------
    ModelError
        If the file is damaged or its trials were made with another model.
    """
    remedy = "make the file again with benchmarks/trials.py"
    try:
        content = parse_object(read_regular(path, MAX_TRIALS_BYTES))
    except (OSError, JsonValueError) as error:
        raise ModelError(f"{path} cannot be read ({error})", remedy) from error
    lists = content.get("trials")
    if not isinstance(lists, dict) or not all(isinstance(rows, list) for rows in lists.values()):
        raise ModelError(f"{path} is not a file of trials", remedy)
    if content.get("digest") != digest:
        raise ModelError(f"{path} has trials of model {content.get('digest')}, not of {digest}", remedy)
    if content.get("network", network) != network:
        raise ModelError(f"{path} has trials of another network", remedy)
    for name in lists.keys() - set(FIELDS):
        raise ModelError(f"{path} has an unknown field {name!r}", remedy)
    trials = {
        name: [_trial(row, f"{path}: trial {number} of {name}", remedy) for number, row in enumerate(rows, 1)]
        for name, rows in lists.items()
    }
    if any({trial.in_catalogue for trial in each} != {True, False} for each in trials.values()):
        raise ModelError(f"{path} lacks trials with or without the query's own track", remedy)
    return trials


def _trial(row: Any, place: str, remedy: str) -> Trial:
    valid = isinstance(row, list) and len(row) == 4 and isinstance(row[3], list)
    if not valid or not all(map(_is_number, (*row[:3], *row[3]))):
        raise ModelError(f"{place} is invalid", remedy)
    if not 1 <= row[0] <= MAX_LENGTH_S or len(row[3]) != len(Scoring.weights):
        problem = f"it has a length of {row[0]:.9g} s and {len(row[3])} features"
        raise ModelError(f"{place} does not fit the score of this overheard: {problem}", remedy)
    return Trial(int(row[0]), bool(row[1]), bool(row[2]), tuple(map(float, row[3])))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < MAX_VALUE  # not NaN, which JSON may hold


def calibrate(trials: Sequence[Trial], false_positives: float) -> dict[str, Any]:
    """Fit weights and penalties; return the manifest's field for one kind of code.

    Parameters
    ----------
    trials : with and without the queries' own tracks
    false_positives : share of the queries without their track that may be recognized, between 0 and 1
    """
    features = np.array([trial.features for trial in trials])
    right = np.array([trial.right for trial in trials], dtype=float)
    weights = fit_logistic(features, right)
    log_odds = features @ weights
    lengths = np.array([trial.length_s for trial in trials])
    without_own = ~np.array([trial.in_catalogue for trial in trials])
    curve = fit_quantile(length_terms(lengths[without_own]), log_odds[without_own], 1 - false_positives)
    lengths_s = sorted({trial.length_s for trial in trials})
    quantiles = np.maximum(length_terms(np.array(lengths_s)) @ curve, LOWEST_LOG_ODDS)
    return {
        "weights": [round(float(weight), 4) for weight in weights],
        "lengths_s": lengths_s,
        "penalties": [round(float(value) - THRESHOLD, 4) for value in quantiles],
        "threshold": THRESHOLD,
        "confidence": fit_confidence(log_odds, right, without_own),
        "chosen_on": {
            "part": "calibration and training tracks",
            "trials": len(trials),
            "false_positives": false_positives,
        },
    }


def length_terms(lengths_s: npt.NDArray[np.int64]) -> Floats:
    """Return the terms of the penalty ``(n, 3)``: a polynomial of second degree in the length's logarithm."""
    logarithms = np.log(lengths_s)
    return np.stack([np.ones(len(lengths_s)), logarithms, logarithms**2], axis=1)


def describe(trials: Sequence[Trial], scoring: Mapping[str, Any]) -> str:
    """Return the outcomes on the trials that were fitted: a check, not a result to report."""
    lines = []
    for length, penalty in zip(scoring["lengths_s"], scoring["penalties"], strict=True):
        of_length = [trial for trial in trials if trial.length_s == length]
        scores = np.array([trial.features for trial in of_length]) @ np.array(scoring["weights"]) - penalty
        recognized = scores >= scoring["threshold"]
        inside = np.array([trial.in_catalogue for trial in of_length])
        right = np.array([trial.right for trial in of_length])
        correct, false = np.mean((recognized & right)[inside]), np.mean(recognized[~inside])
        lines.append(f"{length:>3} s: {correct:.1%} correctly identified, {false:.1%} false positives")
    return "\n".join(lines)


def fit_quantile(features: Floats, values: Floats, quantile: float) -> Floats:
    """Return the linear model ``(d,)`` of a quantile of `values`, by quantile regression.

    Source: Koenker and Bassett, Regression Quantiles, Econometrica 46, 1978. This solves the dual of their
    linear program, which has only d constraints; the dual values of these constraints are the model.
    """
    balance = (1 - quantile) * features.sum(axis=0)
    solution = linprog(-values, A_eq=features.T, b_eq=balance, bounds=(0, 1), method="highs")
    if not solution.success:
        problem = f"the trials have no quantile ({solution.message})"
        raise ModelError(problem, "make more trials with benchmarks/trials.py --n")
    model: Floats = -solution.eqlin.marginals
    return model


def fit_confidence(log_odds: Floats, right: Floats, without_own: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Return slope, offset and limits of the curve from log-odds to the probability that a match is right.

    It is the logistic curve between two limits of the highest likelihood. Queries with and without their own
    track weigh equally: the probability is that for music of which half is known.
    """
    share = float(np.mean(without_own))
    importance = np.where(without_own, 0.5 / share, 0.5 / (1 - share)) / len(right)

    def loss(values: Floats) -> tuple[float, Floats]:
        lowest, highest, logarithm, offset = values
        slope = np.exp(logarithm)
        curve = 1 / (1 + np.exp(-np.clip(slope * log_odds + offset, -MAX_ARGUMENT, MAX_ARGUMENT)))
        probability = np.clip(lowest + (highest - lowest) * curve, TINY, 1 - TINY)
        value = -np.sum(importance * (right * np.log(probability) + (1 - right) * np.log(1 - probability)))
        outer = importance * ((1 - right) / (1 - probability) - right / probability)
        inner = outer * (highest - lowest) * curve * (1 - curve)
        terms = [outer * (1 - curve), outer * curve, inner * slope * log_odds, inner]
        return float(value), np.array([term.sum() for term in terms])

    bounds = [*LIMITS, (None, None), (None, None)]
    lowest, highest, logarithm, offset = minimize(loss, START, jac=True, bounds=bounds, method="L-BFGS-B").x
    fitted = {"slope": np.exp(logarithm), "offset": offset, "lowest": lowest, "highest": highest}
    return {name: round(float(value), 4) for name, value in fitted.items()}


def fit_logistic(features: Floats, labels: Floats) -> Floats:
    """Return the weights ``(d,)`` of a logistic regression whose last feature is 1."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    mean[-1], spread[-1] = 0.0, 1.0
    scaled = (features - mean) / spread

    def loss(weights: Floats) -> tuple[float, Floats]:
        log_odds = scaled @ weights
        value = np.mean(np.logaddexp(0, log_odds) - labels * log_odds) + RIDGE * np.sum(weights[:-1] ** 2)
        gradient = scaled.T @ (1 / (1 + np.exp(-log_odds)) - labels) / len(labels)
        gradient[:-1] += 2 * RIDGE * weights[:-1]
        return float(value), gradient

    solution = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B")
    weights: Floats = solution.x / spread
    weights[-1] -= float(np.sum((solution.x * mean / spread)[:-1]))
    return weights
