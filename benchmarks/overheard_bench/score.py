"""Answers to queries, counted: cells, pools, intervals, bars."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from overheard.events import Track
    from overheard.recognize.pipeline import Identification
    from protocol import Query

OFFSET_TOLERANCE_S = 1.0
OUT_OF_CATALOGUE_BAR = 1.0  # percent named, at most
CONDITION_BARS = {
    "clean": 99.5,
    "noise0": 88.0,
    "mic10": 94.0,
    "mic5": 89.0,
    "mic0": 77.0,
    "mic-5": 64.0,
    "far10": 94.0,
    "mic10_spd": 93.0,
}
LENGTH_BARS = {2: 72.0, 3: 86.0, 5: 93.0, 10: 97.0}  # conditions pooled
OVERALL_BAR = 87.0
BYTES_PER_MIN_BAR = 1500.0
COMPACT_BYTES_PER_MIN_BAR = 750.0  # at most
EXHAUSTIVE_LOSS_BAR = 2.0  # points lost over all to exhaustive search, at most


@dataclasses.dataclass(frozen=True)
class Answer:
    """What became of one query."""

    id: str
    condition: str
    length_s: int
    source: str
    in_catalogue: bool
    named: tuple[str, ...]  # corpus paths of all plays, in order
    outcome: str  # right, wrong or none; out of the catalogue: named or none
    right_offset: bool  # right, and the place in the track within a second
    twin: bool  # wrong, but a listed near-duplicate of the right track
    best: str | None  # corpus path of the best candidate, even below the threshold
    score: float | None
    threshold: float | None


def judge(
    query: Query,
    found: Identification,
    corpus_path: Callable[[Track], str],
    twins: Mapping[str, frozenset[str]],
    aliases: Mapping[str, str],
) -> Answer:
    """Judge one answer. A single play of another track makes it wrong, whatever else was named.

    `aliases` gives the track under which the pack holds a file's exact copy.
    """
    plays = found.plays if found.verdict == "recognized" else ()
    named = tuple(corpus_path(play.track) for play in plays)
    source = aliases.get(query.source, query.source)
    others = [path for path in named if path != source]
    if query.track is None:
        outcome = "named" if named else "none"
    else:
        outcome = "wrong" if others else ("right" if named else "none")
    right_offset = outcome == "right" and any(
        abs(play.offset_s - play.start_s - query.offset_s) <= OFFSET_TOLERANCE_S for play in plays
    )
    best = found.best
    return Answer(
        id=query.id,
        condition=query.condition,
        length_s=query.length_s,
        source=source,
        in_catalogue=query.track is not None,
        named=named,
        outcome=outcome,
        right_offset=right_offset,
        twin=outcome == "wrong" and set(others) <= twins.get(query.source, frozenset()),
        best=None if best is None else corpus_path(best.track),
        score=None if best is None else float(best.score),
        threshold=None if best is None else float(best.threshold),
    )


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95% interval of a share, in percent."""
    if n == 0:
        return 0.0, 100.0
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return round(100 * max(0.0, middle - half), 2), round(100 * min(1.0, middle + half), 2)


def percent(part: int, n: int) -> float:
    """Return a share in percent, 0 of nothing being 0."""
    return round(100 * part / n, 2) if n else 0.0


def count(answers: Iterable[Answer]) -> dict[str, int]:
    """Count the outcomes of queries that are in the catalogue."""
    known = [a for a in answers if a.in_catalogue]
    return {"n": len(known)} | {
        name: sum(a.outcome == name for a in known) for name in ("right", "wrong", "none")
    }


def detail(answers: Sequence[Answer]) -> dict[str, Any]:
    """Count with percentages, intervals and what the plain counts leave out."""
    known = [a for a in answers if a.in_catalogue]
    out = [a for a in answers if not a.in_catalogue]
    counts = count(known)
    named = sum(a.outcome == "named" for a in out)
    shares = {
        f"{name}_percent": percent(counts[name], counts["n"]) for name in ("right", "wrong", "none")
    } | {f"{name}_interval": wilson(counts[name], counts["n"]) for name in ("right", "wrong", "none")}
    return (
        counts
        | shares
        | {
            "right_offset": sum(a.right_offset for a in known),
            "wrong_twin": sum(a.twin for a in known),
            "best_is_right": sum(a.best == a.source for a in known),
            "out_n": len(out),
            "out_named": named,
            "out_named_percent": percent(named, len(out)),
            "out_named_interval": wilson(named, len(out)),
        }
    )


def tables(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return `rows`, `out_of_catalogue` and the pooled tables."""
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
        "out_of_catalogue": {"n": len(out), "named": sum(a.outcome == "named" for a in out)},
        "cells": [{"condition": c, "length_s": s} | detail(cell) for (c, s), cell in cells.items()],
        "by_condition": {c: detail([a for a in answers if a.condition == c]) for c in conditions},
        "by_length": {str(s): detail([a for a in answers if a.length_s == s]) for s in lengths},
        "overall": detail(answers),
        "at_one_percent": at_named(answers, int(len(out) * OUT_OF_CATALOGUE_BAR / 100)),
    }


def at_named(answers: Sequence[Answer], n_named: int) -> dict[str, float]:
    """Say how many would be right were the threshold moved until `n_named` unknown queries are named.

    `excess` is what is added to each threshold, found on these very answers: to compare two ways of searching
    that score differently, not a figure to claim.
    """
    out = sorted((excess(a) for a in answers if not a.in_catalogue), reverse=True)
    known = [a for a in answers if a.in_catalogue]
    least = out[n_named] if n_named < len(out) else -math.inf
    right = sum(a.best == a.source and excess(a) > least for a in known)
    return {
        "excess": round(least, 5) if math.isfinite(least) else 0.0,
        "named": n_named,
        "right_percent": percent(right, len(known)),
    }


def exhaustive_tables(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the pooled tables of exhaustive search."""
    every = tables(answers)
    return {key: every[key] for key in ("by_condition", "by_length", "overall", "at_one_percent")}


def excess(answer: Answer) -> float:
    """Return how far the best match lies over its threshold; minus infinity where nothing lines up."""
    if answer.score is None or answer.threshold is None:
        return -math.inf
    return answer.score - answer.threshold


def bars(result: Mapping[str, Any], compact: bool = False) -> list[dict[str, Any]]:
    """Compare with the issue's bars: name, at least or at most, measured, met; compact packs have few."""

    def bar(name: str, kind: str, limit: float, measured: float) -> dict[str, Any]:
        met = measured >= limit if kind == "at least" else measured <= limit
        return {"bar": name, "kind": kind, "limit": limit, "measured": measured, "met": met}

    found = [
        bar(
            "out of catalogue, named %",
            "at most",
            OUT_OF_CATALOGUE_BAR,
            result["overall"]["out_named_percent"],
        )
    ]
    if compact:
        measured = result["catalogue"]["bytes_per_min"]
        return [*found, bar("bytes per minute", "at most", COMPACT_BYTES_PER_MIN_BAR, measured)]
    for name, limit in CONDITION_BARS.items():
        if name in result["by_condition"]:
            found.append(
                bar(f"{name}, right %", "at least", limit, result["by_condition"][name]["right_percent"])
            )
    for length_s, limit in LENGTH_BARS.items():
        if str(length_s) in result["by_length"]:
            measured = result["by_length"][str(length_s)]["right_percent"]
            found.append(bar(f"{length_s} s, right %", "at least", limit, measured))
    found.append(bar("over all, right %", "at least", OVERALL_BAR, result["overall"]["right_percent"]))
    found.append(bar("bytes per minute", "at most", BYTES_PER_MIN_BAR, result["catalogue"]["bytes_per_min"]))
    if "exhaustive" in result:
        # Codes and floats score differently: compared where each names 1% of the unknown queries.
        exact, coded = (r["at_one_percent"]["right_percent"] for r in (result["exhaustive"], result))
        lost = exact - coded
        found.append(bar("points lost to exhaustive search", "at most", EXHAUSTIVE_LOSS_BAR, round(lost, 2)))
    return found
