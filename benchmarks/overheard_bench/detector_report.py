"""Render the detector's results as Markdown tables and as a chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from overheard_bench.output import Result, figure, markdown
from overheard_bench.report import CONDITIONS

GREEN, RED, GREY = "#4d9221", "#c51b7d", "#dddddd"
SHOWN_S = 12.0  # of the delays


def table(result: Result) -> str:
    """Return the tables of tracks, of sounds without music, and of synthetic sounds, and the cost."""
    tracks = [
        [
            f"{CONDITIONS[name]} (`{name}`)",
            *(row[key] for key in ("in_time_percent", "after_audible_percent")),
            *(seconds(row[key]) for key in ("delay_s_median", "delay_s_p90")),
            row["music_percent"],
        ]
        for name, row in result["tracks"].items()
    ]
    header = ["tracks of `valid`", "% in 3 s", "% in 3 s of audible music", "median", "p90", "% of the time"]
    without = [
        [name, row["hours"], row["wake_ups"], row["wake_ups_per_hour"], row["music_percent"]]
        for name, row in result["without_music"].items()
    ]
    synthetic = [
        [name, row["sounds_with_music_percent"], row["music_percent"]]
        for name, row in result["synthetic"].items()
    ]
    cost, network = result["cost"], result["detector"]
    return "\n".join(
        [
            markdown(header, tracks),
            markdown(["without music", "hours", "false wake-ups", "per hour", "% of the time"], without),
            markdown(["synthetic sound", "% of clips with a wake-up", "% of the time"], synthetic),
            f"Network: {network['bytes']:,} bytes. Processor time: {cost['ms_per_s']:.3f} ms per second of "
            f"audio, {cost['ratio']:.2f} of what the front-end takes in the same run.\n",
        ]
    )


def seconds(value: float | None) -> str:
    """Return a duration for a table."""
    return "none" if value is None else f"{value:.1f} s"


def plot(path: Path, result: Result) -> bool:
    """Draw the delays of detection by condition, and the share of the time that counts as music."""

    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2)
        for name, delays in result["delays_s"].items():
            found = np.sort([delay for delay in delays if delay is not None])
            share = 100 * np.arange(1, len(found) + 1) / max(1, len(delays))
            left.step(
                [0, *found, SHOWN_S], [0, *share, share[-1] if len(share) else 0], where="post", label=name
            )
        left.axvline(3, color=GREY)
        left.set(xlim=(0, SHOWN_S), ylim=(0, 101), xlabel="seconds after the first sample of the track")
        left.set_title("tracks detected, %")
        left.legend(loc="lower right")
        rows = {name: row["music_percent"] for name, row in result["without_music"].items()}
        rows |= {name: row["music_percent"] for name, row in result["synthetic"].items()}
        right.barh(list(rows), list(rows.values()), color=RED)
        right.invert_yaxis()
        right.set_title("time that counts as music, without music, %")

    return figure(path, draw, (11, 5))
