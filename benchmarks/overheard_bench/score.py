"""Judge answers to queries and count the outcomes, with confidence intervals and targets."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from overheard.events import Match, Play, Track
from overheard.recognize.recognizer import Identification
from overheard_bench.protocol import Query

OFFSET_TOLERANCE_S = 1.0
# Targets, in percent unless the name says otherwise. They were set before the first measurement.
MAX_FALSE_POSITIVES_PERCENT = 1.0
CONDITION_TARGETS = {
    "clean": 99.5,
    "noise0": 88.0,
    "mic10": 94.0,
    "mic5": 89.0,
    "mic0": 77.0,
    "mic-5": 64.0,
    "far10": 94.0,
    "mic10_spd": 93.0,
}
LENGTH_TARGETS = {2: 72.0, 3: 86.0, 5: 93.0, 10: 97.0}  # by length in s, all conditions
OVERALL_TARGET = 87.0
MAX_BYTES_PER_MIN = 1500.0
MAX_COMPACT_BYTES_PER_MIN = 750.0
MAX_EXHAUSTIVE_LOSS_POINTS = 2.0  # percentage points below exhaustive search


@dataclasses.dataclass(frozen=True)
class Answer:
    """The judged answer to one query."""

    id: str
    condition: str
    length_s: int
    source: str
    in_catalogue: bool
    recognized: tuple[str, ...]  # corpus paths of all recognized tracks, in order
    outcome: str  # right, wrong or none; for a track outside the catalogue: "false positive" or none
    right_offset: bool  # right, and the position in the track is within OFFSET_TOLERANCE_S
    near_duplicate: bool  # wrong, but a listed near-duplicate of the right track
    best: str | None  # corpus path of the best candidate, even below the threshold
    score: float | None
    threshold: float | None
    confidence: float | None = None  # of the play, or of the best candidate if there is none; 0-1


def judge(
    query: Query,
    identification: Identification,
    corpus_path: Callable[[Track], str],
    duplicates: Mapping[str, frozenset[str]],
    aliases: Mapping[str, str],
) -> Answer:
    """Judge one answer. It is wrong if it contains another track, even beside the right one.

    Parameters
    ----------
    corpus_path : from a recognized track to its path in the corpus
    duplicates : near-duplicates of each track, by corpus path
    aliases : the kept track of each exact copy, by corpus path
    """
    plays = identification.plays if identification.verdict == "recognized" else ()
    recognized, best = tuple(corpus_path(play.track) for play in plays), identification.best
    source = aliases.get(query.source, query.source)
    others = [path for path in recognized if path != source]
    if query.track is None:
        outcome = "false positive" if recognized else "none"
    else:
        outcome = "wrong" if others else ("right" if recognized else "none")
    right_offset = outcome == "right" and any(
        abs(play.offset_s - play.start_s - query.offset_s) <= OFFSET_TOLERANCE_S for play in plays
    )
    return Answer(
        id=query.id,
        condition=query.condition,
        length_s=query.length_s,
        source=source,
        in_catalogue=query.track is not None,
        recognized=recognized,
        outcome=outcome,
        right_offset=right_offset,
        near_duplicate=outcome == "wrong" and set(others) <= duplicates.get(query.source, frozenset()),
        best=None if best is None else corpus_path(best.track),
        **_scores(best, plays),
    )


def _scores(best: Match | None, plays: Sequence[Play]) -> dict[str, float | None]:
    """Return score, threshold and confidence of an answer."""
    if best is None:
        return dict.fromkeys(("score", "threshold", "confidence"))
    confidence: float | None = plays[0].confidence if plays else best.confidence
    return {
        "score": float(best.score),
        "threshold": float(best.threshold),
        "confidence": None if confidence is None else float(confidence),
    }


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a share, in percent; 95% with the default `z`.

    Source: Wilson, Probable Inference, JASA 22, 1927.
    """
    if n == 0:
        return 0.0, 100.0
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return round(100 * max(0.0, middle - half), 2), round(100 * min(1.0, middle + half), 2)


def percent(part: int, n: int) -> float:
    """Return a share in percent; 0 if `n` is 0."""
    return round(100 * part / n, 2) if n else 0.0


def count(answers: Iterable[Answer]) -> dict[str, int]:
    """Count the outcomes of queries whose track is in the catalogue."""
    known = [a for a in answers if a.in_catalogue]
    return {"n": len(known)} | {
        name: sum(a.outcome == name for a in known) for name in ("right", "wrong", "none")
    }


def detail(answers: Sequence[Answer]) -> dict[str, Any]:
    """Count the outcomes, with percentages, intervals, offsets and queries outside the catalogue."""
    known = [a for a in answers if a.in_catalogue]
    out = [a for a in answers if not a.in_catalogue]
    counts = count(known)
    false_positives = sum(a.outcome == "false positive" for a in out)
    shares = {
        f"{name}_percent": percent(counts[name], counts["n"]) for name in ("right", "wrong", "none")
    } | {f"{name}_interval": wilson(counts[name], counts["n"]) for name in ("right", "wrong", "none")}
    return (
        counts
        | shares
        | {
            "right_offset": sum(a.right_offset for a in known),
            "wrong_near_duplicate": sum(a.near_duplicate for a in known),
            "best_is_right": sum(a.best == a.source for a in known),
            "out_n": len(out),
            "false_positives": false_positives,
            "false_positive_percent": percent(false_positives, len(out)),
            "false_positive_interval": wilson(false_positives, len(out)),
        }
    )


def tables(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the counts by condition and length, and pooled; benchmarks/README.md describes the fields."""
    conditions = list(dict.fromkeys(a.condition for a in answers))
    lengths = sorted({a.length_s for a in answers})
    cells = {
        (c, s): [a for a in answers if (a.condition, a.length_s) == (c, s)]
        for c in conditions
        for s in lengths
    }
    out = [a for a in answers if not a.in_catalogue]
    return {
        "rows": [{"condition": c, "length_s": s} | count(cell) for (c, s), cell in cells.items()],
        "out_of_catalogue": {"n": len(out), "recognized": sum(a.outcome == "false positive" for a in out)},
        "cells": [{"condition": c, "length_s": s} | detail(cell) for (c, s), cell in cells.items()],
        "by_condition": {c: detail([a for a in answers if a.condition == c]) for c in conditions},
        "by_length": {str(s): detail([a for a in answers if a.length_s == s]) for s in lengths},
        "overall": detail(answers),
        "at_one_percent": at_false_positives(answers, int(len(out) * MAX_FALSE_POSITIVES_PERCENT / 100)),
    }


def at_false_positives(answers: Sequence[Answer], n_false_positives: int) -> dict[str, float]:
    """Return the share of right answers if `n_false_positives` unknown queries were recognized.

    `excess` is added to each threshold. It is selected on these same answers, to compare searches that score
    differently: the result is not a measure of accuracy.
    """
    out = sorted((excess(a) for a in answers if not a.in_catalogue), reverse=True)
    known = [a for a in answers if a.in_catalogue]
    least = out[n_false_positives] if n_false_positives < len(out) else -math.inf
    right = sum(a.best == a.source and excess(a) > least for a in known)
    return {
        "excess": round(least, 5) if math.isfinite(least) else 0.0,
        "false_positives": n_false_positives,
        "right_percent": percent(right, len(known)),
    }


def exhaustive_tables(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the pooled tables of exhaustive search."""
    every = tables(answers)
    return {key: every[key] for key in ("by_condition", "by_length", "overall", "at_one_percent")}


def excess(answer: Answer) -> float:
    """Return how far the best match is above its threshold; minus infinity if there is no match."""
    if answer.score is None or answer.threshold is None:
        return -math.inf
    return answer.score - answer.threshold


def targets(result: Mapping[str, Any], compact: bool = False) -> list[dict[str, Any]]:
    """Compare a result with the targets: name, "at least" or "at most", limit, measured, met.

    Compact packs only have targets for false positives and size.
    """
    false_positives = result["overall"]["false_positive_percent"]
    bytes_per_min = result["catalogue"]["bytes_per_min"]
    max_bytes = MAX_COMPACT_BYTES_PER_MIN if compact else MAX_BYTES_PER_MIN
    listed = [
        target("false positives, %", "at most", MAX_FALSE_POSITIVES_PERCENT, false_positives),
        *([] if compact else _accuracy_targets(result)),
        target("bytes per minute", "at most", max_bytes, bytes_per_min),
    ]
    if "exhaustive" in result and not compact:
        # Codes and float embeddings score differently: compare them at equal false positives.
        exact, coded = (each["at_one_percent"]["right_percent"] for each in (result["exhaustive"], result))
        lost = round(exact - coded, 2)
        listed.append(target("points below exhaustive search", "at most", MAX_EXHAUSTIVE_LOSS_POINTS, lost))
    return listed


def _accuracy_targets(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    by_condition, by_length = result["by_condition"], result["by_length"]
    pools = [(name, limit, by_condition.get(name)) for name, limit in CONDITION_TARGETS.items()]
    pools += [(f"{s} s", limit, by_length.get(str(s))) for s, limit in LENGTH_TARGETS.items()]
    pools.append(("all", OVERALL_TARGET, result["overall"]))
    return [
        target(f"{name}, right %", "at least", limit, pool["right_percent"])
        for name, limit, pool in pools
        if pool is not None
    ]


def target(name: str, kind: str, limit: float, measured: float) -> dict[str, Any]:
    """Compare one figure with its limit; `kind` is "at least" or "at most"."""
    met = measured >= limit if kind == "at least" else measured <= limit
    return {"target": name, "kind": kind, "limit": limit, "measured": measured, "met": met}
