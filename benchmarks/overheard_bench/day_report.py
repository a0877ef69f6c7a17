"""Render the results of a day as a Markdown table and as a picture of the day."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overheard_bench.day import HeardPlay, Outcome
from overheard_bench.day_mistakes import listed
from overheard_bench.output import Result, figure, markdown

GREEN, RED, ORANGE = "#4d9221", "#c51b7d", "#e66101"
COLOURS = {
    "known mic5": "#a1d76a",
    "known mic-5": "#c7e9a8",
    "known under talk": "#d9e8a0",
    "unknown": "#e9a3c9",
    "film": "#fdd0a2",
    "talk": "#9ecae1",
    "babble": "#c6dbef",
    "noise": "#bdbdbd",
    "silence": "#f0f0f0",
}


def table(result: Result) -> str:
    """Return one row for each kind of scene, and a list of the mistakes."""
    header = [
        *("scene", "hours", "scenes", "correct", "% of the time", "missed", "late", "split", "false plays"),
        *("unknown", "detector on, %", "CPU s per hour"),
    ]
    columns = ("correct", "correct_percent_of_time", "missed", "late", "split")
    rows = [
        [
            *(kind, row["hours"], row["scenes"], *(row.get(column, "") for column in columns)),
            *(row["false_plays"], row["unknown_events"], row["music_percent"], row["cpu_s_per_hour"]),
        ]
        for kind, row in result["scenes"].items()
    ]
    return markdown(header, rows) + (
        f"\n{result['hours']} hours, seed {result['seed']}; {result['false_plays_per_day']} false plays per "
        f"24 hours; catalogue of {result['catalogue']['tracks']} tracks.\n" + listed(result)
    )


def timeline(outcomes: Sequence[Outcome], wrong: Sequence[tuple[HeardPlay, str]]) -> dict[str, Any]:
    """Return what the picture shows: scenes, how long their track was shown, and false plays, in seconds."""
    return {
        "scenes": [
            {
                "kind": one.scene.kind,
                "start_s": round(one.start_s, 1),
                "seconds": round(one.scene.seconds, 1),
                "delay_s": None if one.delay_s is None else round(one.delay_s, 1),
                "correct_s": round(one.correct_s, 1),
                "music_s": round(one.music_s, 1),
            }
            for one in outcomes
        ],
        "false_plays": [[round(play.start_s, 1), round(play.end_s, 1)] for play, _ in wrong],
    }


def plot(path: Path, result: Result) -> bool:
    """Draw the scenes of each hour as a row.

    Below them, green is the time with the correct track, orange a missed track, and red a false play. Each
    listener begins a new row.
    """

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        hour = 0
        for line in result["timelines"]:
            last_s = max((s["start_s"] + s["seconds"] for s in line["scenes"]), default=0.0)
            for scene in line["scenes"]:
                _bar(axes, hour, scene["start_s"], scene["seconds"], COLOURS[scene["kind"]], 0.0, 0.55)
                if scene["correct_s"]:
                    begin_s = scene["start_s"] + scene["seconds"] - scene["correct_s"]
                    _bar(axes, hour, begin_s, scene["correct_s"], GREEN, 0.55, 0.2)
                elif scene["kind"].startswith("known"):
                    _bar(axes, hour, scene["start_s"], scene["seconds"], ORANGE, 0.55, 0.2)
            for start_s, end_s in line["false_plays"]:
                _bar(axes, hour, start_s, max(end_s - start_s, 10.0), RED, 0.55, 0.2)
            hour += int(last_s // 3600) + 1
        for kind, colour in COLOURS.items():
            axes.barh([0], [0], color=colour, label=kind)
        axes.barh([0], [0], color=GREEN, label="correct play")
        axes.barh([0], [0], color=ORANGE, label="missed track")
        axes.barh([0], [0], color=RED, label="false play")
        axes.set(xlim=(0, 60), xlabel="minutes", ylabel="hours of listening")
        axes.invert_yaxis()
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1))

    return figure(path, draw, (11, 5))


def _bar(
    axes: Any, hour: int, start_s: float, seconds: float, colour: str, top: float, height: float
) -> None:
    """Draw a span of time; it continues in the next row at the end of an hour."""
    while seconds > 0:
        row, begin_s = hour + int(start_s // 3600), start_s % 3600
        length_s = min(seconds, 3600 - begin_s)
        axes.barh(row + top, length_s / 60, height, begin_s / 60, align="edge", color=colour)
        start_s, seconds = start_s + length_s, seconds - length_s
