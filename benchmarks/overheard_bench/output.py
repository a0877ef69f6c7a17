"""Results as JSON, as a table for the README, and as a picture."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def publish(
    folder: Path,
    name: str,
    result: Mapping[str, Any],
    table: str,
    plot: Callable[[Path, Mapping[str, Any]], bool],
) -> None:
    """Write NAME.json, NAME.md and NAME.png, and print the table."""
    write_json(folder / f"{name}.json", result)
    write_text(folder / f"{name}.md", table)
    plot(folder / f"{name}.png", result)
    print(table)
    print(f"written to {folder}")


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result in one piece."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def accuracy_tables(result: Mapping[str, Any]) -> str:
    """Return the tables of an accuracy result."""
    lengths = [int(s) for s in result["by_length"]]
    cells = {(c["condition"], c["length_s"]): c for c in result["cells"]}
    rows: list[list[object]] = []
    for name, pooled in result["by_condition"].items():
        row: list[object] = [name, *(f"{cells[name, s]['right_percent']:.0f}" for s in lengths)]
        rows.append(row + _pooled(pooled))
    pooled_right = [f"{result['by_length'][str(s)]['right_percent']:.1f}" for s in lengths]
    rows.append(["**all**", *pooled_right, *_pooled(result["overall"])])
    names = ["right, %", *(f"{s} s" for s in lengths), "all lengths (95%)", "wrong", "none", "named unknown"]
    catalogue, out = result["catalogue"], result["overall"]
    text = markdown(names, rows) + (
        f"\n{out['n']} queries of tracks in the catalogue, {out['out_n']} of tracks that are not: "
        f"{out['out_named']} of those were named ({_share(out, 'out_named')}). "
        f"Catalogue: {catalogue['tracks']} tracks, {catalogue['hours']:.1f} h, "
        f"{catalogue['bytes_per_min']:.0f} bytes a minute.\n"
    )
    if "exhaustive" in result:
        same = _share(result["exhaustive"]["overall"], "right")
        exact, coded = (r["at_one_percent"]["right_percent"] for r in (result["exhaustive"], result))
        text += f"\nExhaustive search over float embeddings: {same} right at the same threshold, "
        text += f"{exact:.1f}% where 1% of the unknown are named; the pack {coded:.1f}% there.\n"
    bars = [
        [b["bar"], f"{b['kind']} {b['limit']:g}", b["measured"], "yes" if b["met"] else "no"]
        for b in result["bars"]
    ]
    return text + "\n" + markdown(["bar", "asked", "measured", "met"], bars)


def _share(counts: Mapping[str, Any], name: str) -> str:
    low, high = counts[f"{name}_interval"]
    return f"{counts[f'{name}_percent']:.1f}% [{low:.1f}-{high:.1f}]"


def _pooled(counts: Mapping[str, Any]) -> list[object]:
    shares = [f"{counts['wrong_percent']:.1f}", f"{counts['none_percent']:.1f}"]
    return [_share(counts, "right"), *shares, f"{counts['out_named']}/{counts['out_n']}"]


def figure(path: Path, draw: Any, size: tuple[float, float]) -> bool:
    """Draw into a PNG. Without matplotlib there is none, and a line says so."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        logger.warning("no %s: matplotlib is not installed (pip install matplotlib)", path.name)
        return False
    canvas = pyplot.figure(figsize=size, layout="constrained")
    draw(canvas)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=110)
    pyplot.close(canvas)
    return True


def accuracy_plot(path: Path, result: Mapping[str, Any]) -> bool:
    """Draw right answers by condition and length beside the pooled ones with their intervals and bars."""

    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2, width_ratios=[1, 1.5])
        _grid(left, result)
        _stacks(right, result)
        canvas.suptitle(f"{result['catalogue']['tracks']} tracks, {result['catalogue']['hours']:.1f} h")

    return figure(path, draw, (11, 4.5))


def _grid(axes: Any, result: Mapping[str, Any]) -> None:
    conditions, lengths = list(result["by_condition"]), [int(s) for s in result["by_length"]]
    cells = {(c["condition"], c["length_s"]): c["right_percent"] for c in result["cells"]}
    values = [[cells[c, s] for s in lengths] for c in conditions]
    axes.imshow(values, vmin=0, vmax=100, cmap="YlGn", aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            axes.text(
                x, y, f"{value:.0f}", ha="center", va="center", color="white" if value > 70 else "black"
            )
    axes.set_xticks(range(len(lengths)), [f"{s} s" for s in lengths])
    axes.set_yticks(range(len(conditions)), conditions)
    axes.set_title("right, %")


def _stacks(axes: Any, result: Mapping[str, Any]) -> None:
    """Draw stacked outcomes, an interval about right, and a tick at the bar."""
    pools = list(result["by_condition"].items()) + [(f"{s} s", v) for s, v in result["by_length"].items()]
    pools.append(("all", result["overall"]))
    limits = {b["bar"].split(",")[0]: b["limit"] for b in result["bars"] if b["bar"].endswith("right %")}
    limits["all"] = limits.get("over all", 0.0)
    names = [name for name, _ in pools]
    base = [0.0] * len(pools)
    for outcome, colour in (("right", "#4d9221"), ("wrong", "#c51b7d"), ("none", "#dddddd")):
        values = [pool[f"{outcome}_percent"] for _, pool in pools]
        axes.bar(names, values, bottom=base, color=colour, label=outcome)
        base = [b + v for b, v in zip(base, values, strict=True)]
    for x, (name, pool) in enumerate(pools):
        axes.vlines(x, *pool["right_interval"], color="black", linewidth=1.2)
        if name in limits:
            axes.hlines(limits[name], x - 0.45, x + 0.45, color="black", linestyle=":", linewidth=1.5)
    axes.tick_params(axis="x", rotation=60)
    axes.set_ylim(0, 100)
    axes.set_title("answers, % (line: 95% interval of right; dots: the bar)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))


def latency_plot(path: Path, result: Mapping[str, Any]) -> bool:
    """Draw what a second of audio costs, stage by stage, for each runtime and scene."""
    bars = {
        f"{runtime}\n{scene}": found["stages"]
        for runtime, scenes in result["runtimes"].items()
        for scene, found in scenes.items()
        if isinstance(found, dict)
    }

    def draw(canvas: Any) -> None:
        axes = canvas.subplots()
        base = [0.0] * len(bars)
        stages = [name for name in next(iter(bars.values()), {}) if not name.startswith("whole")]
        for stage in stages:
            values = [found[stage]["mean_ms"] for found in bars.values()]
            axes.bar(list(bars), values, bottom=base, label=stage)
            base = [b + v for b, v in zip(base, values, strict=True)]
        rest = [found["whole path"]["mean_ms"] - b for found, b in zip(bars.values(), base, strict=True)]
        axes.bar(list(bars), [max(0.0, r) for r in rest], bottom=base, label="the rest", color="#cccccc")
        axes.set_ylabel("ms of processor a second of audio")
        axes.legend()

    return figure(path, draw, (1.5 + 2.2 * len(bars), 4.5))


def power_plot(path: Path, result: Mapping[str, Any]) -> bool:
    """Draw processor time by scene, and beside it the energy over idle where a meter is."""
    found = {scene: values for scene, values in result["scenes"].items() if values is not None}
    meters = [name for name, state in result["meters"].items() if state == "measured"]

    def draw(canvas: Any) -> None:
        panels = canvas.subplots(1, 1 + len(meters), squeeze=False)[0]
        panels[0].bar(list(found), [values["cpu_s_per_hour"] for values in found.values()], color="#4d9221")
        panels[0].set_ylabel("CPU-seconds an hour of listening")
        for axes, meter in zip(panels[1:], meters, strict=True):
            joules = [values["energy"][meter]["net_j_per_hour"] for values in found.values()]
            axes.bar(list(found), joules, color="#c51b7d")
            axes.set_ylabel(f"J an hour over idle ({meter})")

    return figure(path, draw, (6 + 5 * len(meters), 4))


def listening_table(result: Mapping[str, Any]) -> str:
    """Return the table of a listening result."""
    rows: list[list[object]] = []
    for condition, known in result["known"].items():
        unknown = result["unknown"][condition]
        delays = (known["named_after_s_median"], known["named_after_s_p90"])
        rows.append(
            [
                condition,
                f"{known['right_percent']:.1f}",
                f"{known['wrong_percent']:.1f}",
                f"{known['tracks_named']} of {known['tracks']}",
                *("never" if delay is None else f"{delay:.1f}" for delay in delays),
                f"{unknown['named_plays']} in {unknown['hours']:.1f} h",
            ]
        )
    header = [
        "whole tracks, played",
        "% of time named rightly",
        "wrongly",
        "tracks named",
        "after s (median)",
        "after s (p90)",
        "named when unknown",
    ]
    without_music = [
        [what, f"{found['named_plays']} in {found['hours']:.1f} h"]
        for what, found in result["without_music"].items()
    ]
    return f"{markdown(header, rows)}\n{markdown(['no music, but', 'named'], without_music)}"


def listening_plot(path: Path, result: Mapping[str, Any]) -> bool:
    """Draw how much of the time known music is named, and how often unknown music is."""

    def draw(canvas: Any) -> None:
        left, right = canvas.subplots(1, 2)
        known, unknown = result["known"], {**result["unknown"], **result["without_music"]}
        left.bar(list(known), [found["right_percent"] for found in known.values()], color="#4d9221")
        left.set_ylim(0, 100)
        left.set_title("known music: % of the time named rightly")
        named = [found["named_plays_per_hour"] for found in unknown.values()]
        right.bar(list(unknown), named, color="#c51b7d")
        right.set_title("unknown music, and none: names an hour")

    return figure(path, draw, (10, 4))
