"""Choose the matcher's weights and thresholds, for full and for compact codes.

    python benchmarks/calibrate.py [--n 60] [--false-accepts 0.008]

Queries are of the tracks of the calibration third of the `valid` lists, and of training tracks, which are
many; rooms, noises and microphones are of the calibration part. Each is asked twice: as it is, and of a
catalogue without its track. Logistic regression weighs the evidence; each query length then gets the penalty
at which that share of the queries without their track would be named, smooth over the lengths: a share of few
trials is noise. Writes `scoring` and `compact_scoring` into the model's manifest; nothing of the report part
is looked at.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linprog, minimize

from overheard_bench import CHECKOUT, catalogue, output
from overheard_bench import corpus as corpora
from overheard_bench.corpus import DEFAULT_CORPUS, Corpus
from overheard_bench.shares import on_every_core
from protocol import CACHE, LENGTHS_S, Query, render_queries

THRESHOLD = 4.0  # the score of a match that may be named; what a length asks for goes into its penalty
SEED = 3  # other positions than those that accuracy.py draws
TRAINING_TWINS = CHECKOUT / "train" / "near_duplicates.json"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One question: the evidence found, and whether it points to the right track."""

    length_s: int
    in_catalogue: bool
    right: bool
    features: tuple[float, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--corpus", type=Path, default=DEFAULT_CORPUS)
    parser.add_argument("--model", type=Path, help="manifest of a model other than the shipped one")
    parser.add_argument("--n", type=int, default=60, help="positions per length, each in every condition")
    parser.add_argument(
        "--false-accepts", type=share, default=0.008, help="share of queries without their track"
    )
    parser.add_argument("--full-only", action="store_true", help="leave compact codes uncalibrated")
    args = parser.parse_args(argv)
    from overheard.errors import OverheardError

    try:
        calibrate_model(args)
    except (OverheardError, FileNotFoundError, RuntimeError) as error:
        print(f"calibrate.py: {error}", file=sys.stderr)
        return 2
    return 0


def share(text: str) -> float:
    """Read a share between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def calibrate_model(args: argparse.Namespace) -> None:
    """Ask, fit, and write the manifest."""
    from overheard.fingerprint.model import load_model

    model = load_model(args.model)
    corpus, manifest = Corpus(args.corpus), dict(model.manifest)
    has_compact = len(model.quantizer.widths) > 1 and not args.full_only
    for name, compact in {"scoring": False, **({"compact_scoring": True} if has_compact else {})}.items():
        trials = collect(corpus, model, args.n, compact)
        manifest[name] = calibrate(trials, args.false_accepts)
        print(f"{name}: {json.dumps(manifest[name])}\n{describe(trials, manifest[name])}", flush=True)
    output.write_json(model.path, manifest)


def collect(corpus: Corpus, model: Any, n: int, compact: bool) -> list[Trial]:
    """Ask the calibration queries with and without their own track, on every core."""
    paths = catalogue.catalogue_paths(corpus)
    pack = catalogue.build_pack(corpus, model, paths, CACHE, None, compact)
    for _ in queries(corpus, n):
        pass  # rendered once, before several processes read them
    return on_every_core(functools.partial(ask_share, corpus.root, model.path, pack.path, n))


def ask_share(root: Path, model_path: Path, pack_path: Path, n: int, jobs: int, job: int) -> list[Trial]:
    """Ask every `jobs`-th query, the first of them number `job`."""
    corpus = Corpus(root)
    asked = catalogue.open_asked(corpus, model_path, pack_path)
    numbers = {asked.find(track): number for number, track in enumerate(asked.pack.tracks)}
    numbers |= {copy: numbers[kept] for copy, kept in asked.aliases.items()}
    trials = []
    for query in itertools.islice(queries(corpus, n), job, None, jobs):
        copies = [numbers[path] for path in asked.twins.get(query.source, ()) if path in numbers]
        trials += ask(asked.recognizer, query, numbers[query.source], copies)
    return trials


def queries(corpus: Corpus, n: int) -> Iterator[Query]:
    """Yield queries of the calibration part, and as many of training tracks without near-duplicates."""
    twins = corpora.near_duplicates(TRAINING_TWINS).keys() | corpora.near_duplicates().keys()
    trained = [item.path for item in corpus.of("music", "train") if item.path not in twins]
    for music in (None, trained):
        yield from render_queries("calibration", SEED, n, 0, LENGTHS_S, corpus=corpus.root, music=music)


def ask(recognizer: Any, query: Query, own: int, copies: Collection[int]) -> list[Trial]:
    """Return the trial with the query's own track in the catalogue, and the one without it and its copies."""
    queries, found, rows = recognizer.window_candidates(query.waveform)
    others = recognizer.index.candidates(queries.embeddings[rows], {own, *copies})
    trials = []
    for in_catalogue, candidates in ((True, found), (False, others)):
        evidence = recognizer.matcher.weigh(queries, candidates, rows, recognizer.clip_step_frames)
        if evidence is not None:
            right = evidence.track == own
            trials.append(Trial(query.length_s, in_catalogue, right, evidence.features()))
    return trials


def calibrate(trials: Sequence[Trial], false_accepts: float) -> dict[str, Any]:
    """Fit weights and penalties; returns a manifest's `scoring`."""
    features = np.array([trial.features for trial in trials])
    right = np.array([trial.right for trial in trials], dtype=float)
    weights = fit_logistic(features, right)
    odds = features @ weights
    lengths = np.array([trial.length_s for trial in trials])
    without = ~np.array([trial.in_catalogue for trial in trials])
    curve = fit_quantile(_length_terms(lengths[without]), odds[without], 1 - false_accepts)
    asked = _length_terms(np.array(LENGTHS_S)) @ curve
    return {
        "weights": [round(float(weight), 4) for weight in weights],
        "lengths_s": list(LENGTHS_S),
        "penalties": [round(float(value) - THRESHOLD, 4) for value in asked],
        "threshold": THRESHOLD,
        "chosen_on": {
            "part": "calibration and training tracks",
            "trials": len(trials),
            "false_accepts": false_accepts,
        },
    }


def _length_terms(lengths_s: np.ndarray) -> np.ndarray:
    logarithms = np.log(lengths_s)
    return np.stack([np.ones(len(lengths_s)), logarithms, logarithms**2], axis=1)


def describe(trials: Sequence[Trial], scoring: dict[str, Any]) -> str:
    """Return what the chosen scoring does on the trials that chose it: a check, not a result to report."""
    lines = []
    for length, penalty in zip(scoring["lengths_s"], scoring["penalties"], strict=True):
        asked = [trial for trial in trials if trial.length_s == length]
        odds = np.array([trial.features for trial in asked]) @ np.array(scoring["weights"])
        named = odds - penalty >= scoring["threshold"]
        inside = np.array([trial.in_catalogue for trial in asked])
        right = np.array([trial.right for trial in asked])
        share, false = np.mean((named & right)[inside]), np.mean(named[~inside])
        lines.append(f"{length:>3} s: right {share:.1%}, named without their track {false:.1%}")
    return "\n".join(lines)


def fit_quantile(features: np.ndarray, values: np.ndarray, quantile: float) -> np.ndarray:
    """Return the linear model ``(d,)`` of a quantile of `values`, by quantile regression.

    Source: Koenker and Bassett, Regression Quantiles, Econometrica 46, 1978, by the dual of their linear
    program: as few constraints as features, whose prices are the model.
    """
    balance = (1 - quantile) * features.sum(axis=0)
    found = linprog(-values, A_eq=features.T, b_eq=balance, bounds=(0, 1), method="highs")
    if not found.success:
        raise RuntimeError(f"no quantile of the trials: {found.message}")
    return -found.eqlin.marginals


def fit_logistic(features: np.ndarray, labels: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Return weights of a logistic regression whose last feature is 1."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    mean[-1], spread[-1] = 0.0, 1.0
    scaled = (features - mean) / spread

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ weights
        value = np.mean(np.logaddexp(0, odds) - labels * odds) + ridge * np.sum(weights[:-1] ** 2)
        gradient = scaled.T @ (1 / (1 + np.exp(-odds)) - labels) / len(labels)
        gradient[:-1] += 2 * ridge * weights[:-1]
        return float(value), gradient

    found = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B")
    weights = found.x / spread
    weights[-1] -= float(np.sum((found.x * mean / spread)[:-1]))
    return weights


if __name__ == "__main__":
    raise SystemExit(main())
