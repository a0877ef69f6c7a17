"""Draw the charts of accuracy, listening, latency and power results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overheard_bench.output import Result, figure

GREEN, RED, GREY = "#4d9221", "#c51b7d", "#dddddd"


def accuracy(path: Path, result: Result) -> bool:
    """Draw the right answers by condition and length, and all outcomes by condition and by length."""

    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2, width_ratios=[1, 1.5])
        _grid(left, result)
        _stacks(right, result)
        canvas.suptitle(f"{result['catalogue']['tracks']} tracks, {result['catalogue']['hours']:.1f} h")

    return figure(path, draw, (11, 4.5))


def _grid(axes: Any, result: Result) -> None:
    conditions, lengths = list(result["by_condition"]), [int(s) for s in result["by_length"]]
    cells = {(c["condition"], c["length_s"]): c["right_percent"] for c in result["cells"]}
    values = [[cells[c, s] for s in lengths] for c in conditions]
    axes.imshow(values, vmin=0, vmax=100, cmap="YlGn", aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            colour = "white" if value > 70 else "black"
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(lengths)), [f"{s} s" for s in lengths])
    axes.set_yticks(range(len(conditions)), conditions)
    axes.set_title("correctly identified, %")


def _stacks(axes: Any, result: Result) -> None:
    """Draw stacked outcomes with the interval of the right answers."""
    pools = [*result["by_condition"].items(), *((f"{s} s", v) for s, v in result["by_length"].items())]
    pools.append(("all", result["overall"]))
    names = [name for name, _ in pools]
    base = [0.0] * len(pools)
    outcomes = (
        ("right", "correctly identified", GREEN),
        ("wrong", "incorrectly identified", RED),
        ("none", "not identified", GREY),
    )
    for outcome, label, colour in outcomes:
        values = [pool[f"{outcome}_percent"] for _, pool in pools]
        axes.bar(names, values, bottom=base, color=colour, label=label)
        base = [b + v for b, v in zip(base, values, strict=True)]
    for x, (_, pool) in enumerate(pools):
        axes.vlines(x, *pool["right_interval"], color="black", linewidth=1.2)
    axes.tick_params(axis="x", rotation=60)
    axes.set_ylim(0, 100)
    axes.set_title("queries, % (line: 95% interval)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def latency(path: Path, result: Result) -> bool:
    """Draw the processor time per second of audio by stage, for each runtime and scene."""
    bars = {
        f"{runtime}\n{scene}": of_scene["stages"]
        for runtime, scenes in result["runtimes"].items()
        for scene, of_scene in scenes.items()
        if scene != "version"
    }

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        base = [0.0] * len(bars)
        stages = [name for name in next(iter(bars.values()), {}) if not name.startswith("whole")]
        for stage in stages:
            values = [times[stage]["mean_ms"] for times in bars.values()]
            axes.bar(list(bars), values, bottom=base, label=stage)
            base = [b + v for b, v in zip(base, values, strict=True)]
        rest = [times["whole path"]["mean_ms"] - b for times, b in zip(bars.values(), base, strict=True)]
        axes.bar(list(bars), [max(0.0, r) for r in rest], bottom=base, label="other", color="#cccccc")
        axes.set_ylabel("CPU ms per second of audio")
        axes.legend()

    return figure(path, draw, (1.5 + 2.2 * len(bars), 4.5))


def power(path: Path, result: Result) -> bool:
    """Draw the processor time by scene, and the energy above idle for each meter."""
    scenes = {scene: values for scene, values in result["scenes"].items() if values is not None}
    meters = [name for name, state in result["meters"].items() if state == "measured"]

    def draw(canvas: Any) -> None:
        panels = canvas.subplots(1, 1 + len(meters), squeeze=False)[0]
        panels[0].bar(list(scenes), [values["cpu_s_per_hour"] for values in scenes.values()], color=GREEN)
        panels[0].set_ylabel("CPU seconds per hour of listening")
        for axes, meter in zip(panels[1:], meters, strict=True):
            joules = [values["energy"][meter]["net_j_per_hour"] for values in scenes.values()]
            axes.bar(list(scenes), joules, color=RED)
            axes.set_ylabel(f"J per hour above idle ({meter})")

    return figure(path, draw, (6 + 5 * len(meters), 4))


def listening(path: Path, result: Result) -> bool:
    """Draw for how much of the time known music is identified, and the false positives per hour."""

    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2)
        known, unknown = result["known"], {**result["unknown"], **result["without_music"]}
        left.bar(list(known), [counts["right_percent"] for counts in known.values()], color=GREEN)
        left.set_ylim(0, 100)
        left.set_title("known music: % of the time correctly identified")
        per_hour = [counts["false_positives_per_hour"] for counts in unknown.values()]
        right.bar(list(unknown), per_hour, color=RED)
        right.set_title("unknown music, or no music: false positives per hour")

    return figure(path, draw, (10, 4))


def speeds(path: Path, result: Result) -> bool:
    """Draw the right answers by the change of speed, with their intervals."""

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        for kind, colour in (("speed", GREEN), ("tempo", RED)):
            rows = [row for row in result["rows"] if row["kind"] == kind]
            changes = [row["percent"] for row in rows]
            axes.plot(changes, [row["right_percent"] for row in rows], "o-", color=colour, label=kind)
            for row in rows:
                axes.vlines(row["percent"], *row["right_interval"], color=colour, linewidth=1)
        axes.set_ylim(0, 102)
        axes.set_xlabel("change, %")
        axes.set_title("10 s, mic10: correctly identified, % (line: 95% interval)")
        axes.legend(loc="lower left")

    return figure(path, draw, (8, 4))
