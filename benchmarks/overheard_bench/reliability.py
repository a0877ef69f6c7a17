"""Compare the confidence of matches with how often they are right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard_bench.output import Result, figure, markdown
from overheard_bench.score import Answer, percent, target, wilson

N_BINS = 10
MIN_QUERIES = 50  # of a tenth that must be reliable; fewer say little
MAX_ERROR_POINTS = 5.0
GREEN, GREY = "#4d9221", "#dddddd"


def reliability(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the reliability of all best matches, and that of the recognized ones alone.

    A best match is right if it is the query's own track; of unknown music, none is.
    """
    matches = [answer for answer in answers if answer.confidence is not None]
    return {
        "best_matches": summary(matches),
        "recognized": summary([answer for answer in matches if answer.recognized]),
    }


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the Brier score, and for each tenth of confidence the mean confidence and the observed rate.

    Source: Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78,
    1950.
    """
    confidences = np.array([answer.confidence for answer in answers], dtype=float)
    right = np.array([is_right(answer) for answer in answers], dtype=float)
    tenths = np.minimum((confidences * N_BINS).astype(int), N_BINS - 1)
    rows = []
    for tenth in range(N_BINS):
        chosen = tenths == tenth
        n, n_right = int(chosen.sum()), int(right[chosen].sum())
        mean = round(100 * float(confidences[chosen].mean()), 2) if n else None
        observed = percent(n_right, n) if n else None
        error = None if mean is None or observed is None else round(mean - observed, 2)
        rows.append(
            {
                "from_percent": tenth * 100 // N_BINS,
                "n": n,
                "right": n_right,
                "confidence_percent": mean,
                "right_percent": observed,
                "right_interval": wilson(n_right, n),
                "error_points": error,
            }
        )
    brier = round(float(np.mean((confidences - right) ** 2)), 5) if len(answers) else None
    return {"n": len(answers), "brier": brier, "tenths": rows}


def is_right(answer: Answer) -> bool:
    """Return whether the best match is the query's own track."""
    return answer.in_catalogue and answer.best == answer.source


def targets(reliable: Result) -> list[dict[str, Any]]:
    """Compare the largest error of a tenth with enough queries with the limit; none without such a tenth."""
    tenths = reliable["best_matches"]["tenths"]
    errors = [abs(row["error_points"]) for row in tenths if row["n"] >= MIN_QUERIES]
    name = f"confidence: points of error in a tenth with {MIN_QUERIES} queries"
    return [target(name, "at most", MAX_ERROR_POINTS, max(errors))] if errors else []


def table(result: Result) -> str:
    """Return the tables by tenths of confidence, and the Brier scores."""
    reliable = result["reliability"]
    labels = {"best_matches": "all best matches", "recognized": "recognized tracks alone"}
    columns = ["matches", "mean confidence, %", "right, % (95% interval)"]
    header = ["confidence", *(f"{label}: {name}" for label in labels.values() for name in columns)]
    rows = []
    for tenth in range(N_BINS):
        both = [reliable[name]["tenths"][tenth] for name in labels]
        first = both[0]["from_percent"]
        rows.append([f"{first}-{first + 100 // N_BINS}%", *(text for row in both for text in _cells(row))])
    scores = ", ".join(
        f"{reliable[name]['brier']:.4f} for {label}"
        for name, label in labels.items()
        if reliable[name]["brier"] is not None
    )
    return f"{markdown(header, rows)}\nBrier score (0 is perfect): {scores}.\n"


def _cells(row: Result) -> list[str]:
    if not row["n"]:
        return ["0", "", ""]
    low, high = row["right_interval"]
    return [
        str(row["n"]),
        f"{row['confidence_percent']:.1f}",
        f"{row['right_percent']:.1f} ({low:.0f}-{high:.0f})",
    ]


def plot(path: Path, result: Result) -> bool:
    """Draw how often matches are right over their confidence, with intervals, and how many there are."""

    def draw(canvas: Any) -> None:
        panels = canvas.subplots(1, 2)
        names = {"best_matches": "all best matches", "recognized": "recognized tracks"}
        for axes, (name, title) in zip(panels, names.items(), strict=True):
            rows = [row for row in result["reliability"][name]["tenths"] if row["n"]]
            axes.plot([0, 100], [0, 100], color=GREY)
            axes.vlines([row["confidence_percent"] for row in rows], *_intervals(rows), color="black")
            sizes = [10 + 40 * np.log10(row["n"]) for row in rows]
            points = [[row[f"{kind}_percent"] for row in rows] for kind in ("confidence", "right")]
            axes.scatter(*points, sizes, color=GREEN, zorder=3)
            for row in rows:
                place = (row["confidence_percent"], row["right_percent"])
                axes.annotate(str(row["n"]), place, (7, -9), textcoords="offset points", fontsize=8)
            axes.set(xlim=(-3, 103), ylim=(-3, 103), xlabel="mean confidence, %", ylabel="right, %")
            axes.set_title(f"{title} (line: 95% interval)")

    return figure(path, draw, (10, 4.8))


def _intervals(rows: Sequence[Result]) -> tuple[list[float], list[float]]:
    return [row["right_interval"][0] for row in rows], [row["right_interval"][1] for row in rows]
