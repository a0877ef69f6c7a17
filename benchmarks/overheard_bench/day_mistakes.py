"""List what went wrong in a day: false, missed, late and split plays, each with its scene and the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from overheard.events import Track
from overheard.recognize.explain import explain
from overheard.recognize.recognizer import Recognizer
from overheard.text import clock
from overheard_bench.corpus import SAMPLE_RATE
from overheard_bench.day import EDGE_S, HeardPlay, Outcome, Scene
from overheard_bench.output import Result
from overheard_bench.render import FloatArray

LATE_MARGIN_S = 1.0  # a play begins to be reported when its window is matched

Mistakes = dict[str, list[dict[str, Any]]]


def mistakes(
    outcomes: Sequence[Outcome],
    wrong: Sequence[tuple[HeardPlay, str]],
    why: Callable[[Outcome], str],
    corpus_path: Callable[[Track], str],
) -> Mistakes:
    """Return the mistakes of one listener; times are seconds of its sound.

    Parameters
    ----------
    outcomes, wrong : from `day.judge`
    why : returns the reason that a scene's track was missed, or recognized late
    corpus_path : returns the path of a track of the catalogue in the corpus
    """
    known = [one for one in outcomes if one.scene.is_known]
    return {
        "false": [_false(corpus_path(play.track), play, kind, outcomes) for play, kind in wrong],
        "missed": [_of_scene(one) | {"why": why(one)} for one in known if not one.correct_plays],
        "late": [
            _of_scene(one) | {"delay_s": round(one.delay_s or 0.0, 1), "why": why(one)}
            for one in known
            if one.is_late
        ],
        "split": [_of_scene(one) | {"plays": one.correct_plays} for one in known if one.correct_plays > 1],
    }


def _of_scene(one: Outcome) -> dict[str, Any]:
    return {
        "track": one.scene.track,
        "scene": one.scene.kind,
        "start_s": round(one.start_s, 1),
        "seconds": round(one.scene.seconds, 1),
        "music_percent": round(100 * one.music_s / one.scene.seconds, 1),
    }


def _false(path: str, play: HeardPlay, kind: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    middle_s = min(play.start_s + EDGE_S, play.end_s)
    scenes = [one.scene for one in outcomes if one.start_s <= middle_s]
    return {
        "track": path,
        "scene": kind,
        "playing": scenes[-1].track if scenes else None,
        "start_s": round(play.start_s, 1),
        "seconds": round(play.end_s - play.start_s, 1),
        "why": f"score {play.score:.1f}, confidence {play.confidence:.0%}",
    }


def reason(
    recognizer: Recognizer, render: Callable[[Scene], FloatArray], corpus_path: Callable[[Track], str]
) -> Callable[[Outcome], str]:
    """Return a function that explains why a scene's track was missed or late, with `explain`.

    Parameters
    ----------
    recognizer : with the catalogue of the day
    render : returns the sound of a scene
    corpus_path : as for :func:`mistakes`
    """

    def why(one: Outcome) -> str:
        sound = render(one.scene)
        if one.delay_s is not None:
            sound = sound[: round((one.delay_s - LATE_MARGIN_S) * SAMPLE_RATE)]
        found = explain(recognizer, sound)
        if found.match is None:
            return "; ".join(found.reasons)
        best = f"best match {corpus_path(found.match.track)}, score {found.match.score:.1f}"
        until = "; ".join(found.reasons) or "a window is recognized, but no play starts"
        return f"{best}, threshold {found.match.threshold:.1f}; {until}"

    return why


def listed(result: Result) -> str:
    """Return the mistakes of all listeners as a Markdown list; empty if there are none, or none are known."""
    lines = [
        f"- {kind}, {one['scene']}, listener {number}, {clock(one['start_s'])}: {_words(one)}"
        for number, found in enumerate(result.get("mistakes", ()), 1)
        for kind, ones in found.items()
        for one in ones
    ]
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def _words(one: dict[str, Any]) -> str:
    words = [str(one["track"])]
    if one.get("playing"):
        words.append(f"while {one['playing']} played")
    if "delay_s" in one:
        words.append(f"after {one['delay_s']} s")
    if "plays" in one:
        words.append(f"{one['plays']} plays")
    if "music_percent" in one:
        words.append(f"music detected for {one['music_percent']}% of {one['seconds']} s")
    if "why" in one:
        words.append(one["why"])
    return "; ".join(words)
