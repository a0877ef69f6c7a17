"""Count how many clips of synthetic sounds were recognized, and render the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from overheard_bench.output import Result, markdown
from overheard_bench.score import percent, target

MAX_RECOGNIZED_PERCENT = 1.0


@dataclasses.dataclass(frozen=True)
class SoundAnswer:
    """What was made of one clip.

    `track` is the corpus path of the recognized track, or None; `confidence` is that of its best match.
    `listened` says whether a listener heard the clip, and `unknown` how often it reported unknown music.
    """

    sound: str
    number: int
    length_s: int
    listened: bool
    track: str | None
    confidence: float
    unknown: int = 0


def summary(heard: Sequence[SoundAnswer]) -> dict[str, Any]:
    """Return the counts by sound and length, and those of the listener."""
    asked = [one for one in heard if not one.listened]
    listened = [one for one in heard if one.listened]
    sounds = list(dict.fromkeys(one.sound for one in heard))
    lengths = sorted({one.length_s for one in asked})
    by_sound = {
        sound: {
            str(s): counts([one for one in asked if (one.sound, one.length_s) == (sound, s)]) for s in lengths
        }
        for sound in sounds
    }
    overall = counts(asked)
    return {
        "sounds": by_sound,
        "by_length": {str(s): counts([one for one in asked if one.length_s == s]) for s in lengths},
        "overall": overall,
        "listen": {
            sound: listened_counts([one for one in listened if one.sound == sound]) for sound in sounds
        },
        "listen_overall": listened_counts(listened),
        "recognized": [dataclasses.asdict(one) for one in heard if one.track],
        "targets": [
            target("clips recognized, %", "at most", MAX_RECOGNIZED_PERCENT, overall["recognized_percent"])
        ],
    }


def counts(heard: Sequence[SoundAnswer]) -> dict[str, Any]:
    """Return how many of these clips were recognized, and the highest confidence of their best matches."""
    recognized = sum(one.track is not None for one in heard)
    return {
        "n": len(heard),
        "recognized": recognized,
        "recognized_percent": percent(recognized, len(heard)),
        "highest_confidence": round(max((one.confidence for one in heard), default=0.0), 4),
    }


def listened_counts(heard: Sequence[SoundAnswer]) -> dict[str, int]:
    """Return in how many of these clips a listener recognized a track, or reported unknown music."""
    return {
        "n": len(heard),
        "recognized": sum(one.track is not None for one in heard),
        "unknown": sum(one.unknown > 0 for one in heard),
    }


def table(result: Result) -> str:
    """Return the table of the sounds."""
    lengths = list(result["by_length"])
    rows = []
    for sound, by_length in result["sounds"].items():
        highest = max(each["highest_confidence"] for each in by_length.values())
        rows.append([sound, *_row(by_length, result["listen"][sound]), f"{100 * highest:.0f}"])
    rows.append(["**all**", *_row(result["by_length"], result["listen_overall"]), ""])
    header = [
        "synthetic sound",
        *(f"{length} s: recognized" for length in lengths),
        "`listen`: recognized",
        "`listen`: unknown music",
        "highest confidence of a clip, %",
    ]
    overall = result["overall"]
    return (
        f"{markdown(header, rows)}\nOf {overall['n']:,} clips, {overall['recognized']} are recognized "
        f"({overall['recognized_percent']:.1f}%). Speech: {result['speech']}.\n"
    )


def _row(by_length: Result, listened: Result) -> list[str]:
    shown = [f"{each['recognized']} of {each['n']}" for each in by_length.values()]
    return [*shown, *(f"{listened[name]} of {listened['n']}" for name in ("recognized", "unknown"))]
