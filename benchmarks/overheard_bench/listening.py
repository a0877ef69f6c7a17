"""Summarize what a listener made of whole tracks, talk and noise."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

N_SLOWEST = 10  # tracks whose delays are listed


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of one track, or one stretch of noise or talk, played once from beginning to end.

    `kind` is "known" or "unknown" to the catalogue, or "without_music". `delay_s` is when the track is first
    recognized correctly, or None; `audible_s` is when its first note begins. A play that goes on after a
    pause counts once.
    """

    kind: str
    condition: str
    seconds: float
    right_s: float
    n_wrong: int
    wrong_s: float
    delay_s: float | None
    n_right: int = 0
    shortest_s: float | None = None  # of all plays
    n_unknown: int = 0  # events of unknown music
    wrong: tuple[str, ...] = ()  # titles of the wrong plays
    track: str = ""  # that was played; empty without music
    audible_s: float = 0.0


def by_condition(
    outcomes: Sequence[Outcome], kind: str, conditions: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the summary of each condition."""
    summary = summary_known if kind == "known" else summary_unknown
    return {
        name: summary([one for one in outcomes if (one.kind, one.condition) == (kind, name)])
        for name in conditions
    }


def summary_known(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return for how much of the time the right track is shown, after what delay, and in how many plays."""
    seconds = sum(one.seconds for one in outcomes)
    recognized = [(one.track, one.delay_s) for one in outcomes if one.delay_s is not None]
    delays = [delay for _, delay in recognized]
    after_note = [max(0.0, one.delay_s - one.audible_s) for one in outcomes if one.delay_s is not None]
    shortest = [one.shortest_s for one in outcomes if one.shortest_s is not None]
    return {
        "hours": round(seconds / 3600, 3),
        "right_percent": round(100 * sum(one.right_s for one in outcomes) / seconds, 2),
        "wrong_percent": round(100 * sum(one.wrong_s for one in outcomes) / seconds, 2),
        "wrong_plays": sum(one.n_wrong for one in outcomes),
        "missed": [one.track for one in outcomes if one.delay_s is None],
        "tracks": len(outcomes),
        "tracks_recognized": len(delays),
        "delay_s_median": round(statistics.median(delays), 2) if delays else None,
        "delay_s_p90": round(float(np.quantile(delays, 0.9)), 2) if delays else None,
        "after_first_note_s_median": round(statistics.median(after_note), 2) if after_note else None,
        "after_first_note_s_p90": round(float(np.quantile(after_note, 0.9)), 2) if after_note else None,
        "slowest": dict(sorted(recognized, key=lambda item: -item[1])[:N_SLOWEST]),
        "tracks_split": sum(one.n_right > 1 for one in outcomes),
        "tracks_unknown_and_recognized": sum(one.n_unknown > 0 and one.n_right > 0 for one in outcomes),
        "shortest_play_s": round(min(shortest), 2) if shortest else None,
    }


def summary_unknown(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the false positives: recognitions of unknown music, or without music."""
    hours = sum(one.seconds for one in outcomes) / 3600
    return {
        "hours": round(hours, 3),
        "false_positives": sum(one.n_wrong for one in outcomes),
        "false_positives_per_hour": round(sum(one.n_wrong for one in outcomes) / hours, 3),
        "false_positive_percent": round(100 * sum(one.wrong_s for one in outcomes) / 3600 / hours, 3),
        "wrong": {one.track: one.wrong for one in outcomes if one.wrong},
    }
