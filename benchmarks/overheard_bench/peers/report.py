"""What the peers did, as tables for the eye and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overheard_bench.output import figure, markdown
from overheard_bench.peers.base import LEAST_SCORE

Result = Mapping[str, Any]
COUNTS = ("all lengths (95%)", "wrong", "none", "named unknown")


def tables(result: Result) -> str:
    """Return one line for each peer and setting, then each one's table by condition, then who is missing."""
    text = _summary(result)
    for setting in result["settings"]:
        text += f"\n{_title(setting)}\n\n" + _conditions(setting)
    absent = {**result["not_installed"], **result["failed"]}
    return text + "".join(f"\n{name}: {why}\n" for name, why in absent.items())


def _title(setting: Result) -> str:
    details = [setting["version"], f"`{' '.join(setting['options'])}`" if setting["options"] else None]
    known = ", ".join(filter(None, details))
    return f"**{setting['name']}**" + (f" ({known})" if known else "")


def _summary(result: Result) -> str:
    settings, catalogue = result["settings"], result["catalogue"]
    lengths = list(settings[0]["by_length"])
    names = ["right, %", *(f"{s} s" for s in lengths), *COUNTS, "right at 1%", "threshold", "bytes a minute"]
    rows = [
        [
            setting["name"],
            *(f"{setting['by_length'][s]['right_percent']:.1f}" for s in lengths),
            *_pooled(setting["overall"]),
            f"{setting['at_one_percent']['right_percent']:.1f}",
            "its own" if setting["threshold"] == LEAST_SCORE else setting["threshold"],
            f"{setting['database']['bytes_per_min']:.0f}",
        ]
        for setting in settings
    ]
    out, chosen = settings[0]["overall"], settings[0]["threshold_chosen_on"]
    return markdown(names, rows) + (
        f"\n{out['n']} queries of tracks in the catalogue, {out['out_n']} of tracks that are not, all of the "
        f"report part. Catalogue: {catalogue['tracks']} tracks, {catalogue['hours']:.1f} h. The threshold is "
        f"the least score at which at most 1% of the {chosen['out_n']} queries out of the catalogue of the "
        f"{chosen['part']} part are named; it was chosen there and applied to the report part as it was. "
        "Its own: all that the program reports is within that 1%. Right at 1%: were the threshold moved "
        "until 1% of the report part's own unknown queries are named; to compare rankings.\n"
    )


def _conditions(setting: Result) -> str:
    lengths = [int(s) for s in setting["by_length"]]
    cells = {(c["condition"], c["length_s"]): c for c in setting["cells"]}
    rows: list[list[object]] = []
    for name, pooled in setting["by_condition"].items():
        row: list[object] = [name, *(f"{cells[name, s]['right_percent']:.0f}" for s in lengths)]
        rows.append(row + _pooled(pooled))
    pooled_right = [f"{setting['by_length'][str(s)]['right_percent']:.1f}" for s in lengths]
    rows.append(["**all**", *pooled_right, *_pooled(setting["overall"])])
    return markdown(["right, %", *(f"{s} s" for s in lengths), *COUNTS], rows)


def _pooled(counts: Result) -> list[object]:
    low, high = counts["right_interval"]
    return [
        f"{counts['right_percent']:.1f}% [{low:.1f}-{high:.1f}]",
        f"{counts['wrong_percent']:.1f}",
        f"{counts['none_percent']:.1f}",
        f"{counts['out_named']}/{counts['out_n']}",
    ]


def plot(path: Path, result: Result) -> bool:
    """Draw the right answers of each peer and setting, by condition and by length, with their intervals."""
    settings = result["settings"]

    def draw(canvas: Any) -> None:
        panels = canvas.subplots(1, 2, sharey=True, width_ratios=[2, 1])
        for axes, by, unit in zip(panels, ("by_condition", "by_length"), ("", " s"), strict=True):
            for number, setting in enumerate(settings):
                _bars(axes, setting[by], setting["name"], number, 0.8 / len(settings))
            names = [f"{name}{unit}" for name in settings[0][by]]
            axes.set_xticks([x + 0.4 for x in range(len(names))], names, rotation=60)
        panels[0].set_ylim(0, 100)
        panels[0].set_ylabel("right, % (line: 95% interval)")
        panels[1].legend(loc="upper left", bbox_to_anchor=(1, 1))

    return figure(path, draw, (11, 4.5))


def _bars(axes: Any, pools: Result, name: str, number: int, width: float) -> None:
    places = [x + (number + 0.5) * width for x in range(len(pools))]
    axes.bar(places, [pool["right_percent"] for pool in pools.values()], width, label=name)
    for place, pool in zip(places, pools.values(), strict=True):
        axes.vlines(place, *pool["right_interval"], color="black", linewidth=1)
