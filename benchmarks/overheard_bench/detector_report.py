"""Render the detector's results as Markdown tables and as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard_bench.detector import BEGINNING_S
from overheard_bench.output import Result, figure, markdown
from overheard_bench.report import CONDITIONS

GREEN, RED, GREY = "#4d9221", "#c51b7d", "#dddddd"
SHOWN_S = 12.0  # of the delays


def table(result: Result) -> str:
    """Return the tables of tracks, of sounds without music, and of synthetic sounds, and the cost."""
    cost, network, both = result["cost"], result["detector"], result["with_opinion"]
    return "\n".join(
        [
            tracks("tracks, the detector alone", result["tracks"]),
            tracks(f"the first {BEGINNING_S:.0f} s of these tracks, with the second opinion", both["tracks"]),
            without_music("sound without music, the detector alone", result["without_music"]),
            without_music(
                "sound without music, with the second opinion",
                both["without_music"],
                ["reports of unknown music"],
            ),
            synthetic(result["synthetic"], both["synthetic"]),
            f"Network: {network['bytes']:,} bytes. Processor time: {cost['ms_per_s']:.3f} ms per second of "
            f"audio, {cost['ratio']:.2f} times that of the front-end in the same run.\n",
        ]
    )


def tracks(title: str, rows: Result) -> str:
    """Return the table of how soon tracks are detected."""
    cells = [
        [
            f"{CONDITIONS[name]} (`{name}`)",
            *(row[key] for key in ("in_time_percent", "after_audible_percent")),
            *(seconds(row[key]) for key in ("delay_s_median", "delay_s_p90")),
            row["music_percent"],
        ]
        for name, row in rows.items()
    ]
    shares = "% detected in 3 s", "% detected in 3 s of audible music", "% of the time as music"
    header = [title, *shares[:2], "delay, median", "delay, 90th percentile", shares[2]]
    return markdown(header, cells)


def without_music(title: str, rows: Result, more: Sequence[str] = ()) -> str:
    """Return the table of false wake-ups; with a column for reports of unknown music if it is in `more`."""
    keys = ["hours", "wake_ups", "wake_ups_per_hour", "music_percent", *(["unknown_music"] if more else [])]
    cells = [[name, *(row[key] for key in keys)] for name, row in rows.items()]
    return markdown([title, "hours", "false wake-ups", "per hour", "% of the time as music", *more], cells)


def synthetic(alone: Result, both: Result) -> str:
    """Return the table of synthetic sounds, without and with the second opinion."""
    keys = ("sounds_with_music_percent", "music_percent")
    cells = [[name, *(row[key] for row in (alone[name], both[name]) for key in keys)] for name in alone]
    columns = ["% of clips with a wake-up", "% of the time as music"]
    return markdown(["synthetic sound", *columns, *(f"{each}, with the opinion" for each in columns)], cells)


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
