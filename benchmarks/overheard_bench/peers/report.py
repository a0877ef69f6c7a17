"""Format the results of the peers, beside those of overheard, as Markdown tables and as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overheard_bench.output import figure, markdown
from overheard_bench.peers.base import MIN_SCORE

Result = Mapping[str, Any]
COUNTS = ("all lengths (95% interval)", "incorrect", "no answer", "false positives")
CONDITIONS = {  # short labels; docs/benchmarks.md has the full ones
    "clean": "clean",
    "noise0": "0 dB",
    "mic10": "mic, 10 dB",
    "mic5": "mic, 5 dB",
    "mic0": "mic, 0 dB",
    "mic-5": "mic, -5 dB",
    "far10": "far mic, 10 dB",
    "mic10_spd": "mic, 10 dB, other speed",
}
FEATURES = {"offline": "offline", "own_music": "own music", "always_on": "always on"}


def tables(result: Result, ours: Result | None) -> str:
    """Return the comparison, the table by query length, a table for each setting, and the peers not measured.

    Parameters
    ----------
    result : the content of peers.json
    ours : `results.of_overheard`; None leaves overheard out
    """
    text = f"{comparison(result, ours)}\n{_protocol(result)}\n{_lengths(result, ours)}\n{_threshold(result)}"
    for setting in result["settings"]:
        text += f"\n{_title(setting)}\n\n{_conditions(setting)}"
    absent = {**result["not_installed"], **result["failed"]}
    return text + "".join(f"\n{name}: {reason}\n" for name, reason in absent.items())


def comparison(result: Result, ours: Result | None) -> str:
    """Return one line per program: accuracy by condition, false positives, storage and features."""
    conditions = list(result["settings"][0]["by_condition"])
    labels = [CONDITIONS[name] for name in conditions]
    header = ["% correctly identified", *labels, "all", "% false positives", "bytes per minute"]
    rows = [
        [
            f"**{setting['name']}**" if setting is ours else setting["name"],
            *(f"{setting['by_condition'][name]['right_percent']:.1f}" for name in conditions),
            f"{setting['overall']['right_percent']:.1f}",
            f"{setting['overall']['false_positive_percent']:.1f}",
            f"{setting['database']['bytes_per_min']:,.0f}",
            *("yes" if setting["features"][key] else "no" for key in FEATURES),
        ]
        for setting in _all(result, ours)
    ]
    return markdown([*header, *FEATURES.values()], rows)


def _all(result: Result, ours: Result | None) -> Sequence[Result]:
    return [*([] if ours is None else [ours]), *result["settings"]]


def _protocol(result: Result) -> str:
    counts, catalogue = result["settings"][0]["overall"], result["catalogue"]
    return (
        f"{counts['n']:,} queries of tracks in the catalogue and {counts['out_n']:,} queries of unknown "
        "tracks, all of the report part. mic: recorded in a room with a microphone. dB: ratio of music to "
        "noise. A false positive is an answer to a query of an unknown track. "
        f"Catalogue: {catalogue['tracks']} tracks, {catalogue['hours']:.1f} h. Offline: the program indexes "
        "and identifies without a network. Own music: it builds an index from your files. Always on: it "
        "identifies a microphone's signal continuously. Chromaprint has no search of its own; this benchmark "
        "adds one.\n"
    )


def _lengths(result: Result, ours: Result | None) -> str:
    lengths = list(result["settings"][0]["by_length"])
    header = ["% correctly identified", *(f"{s} s" for s in lengths), *COUNTS, "at 1%", "threshold"]
    rows = [
        [
            setting["name"],
            *(f"{setting['by_length'][s]['right_percent']:.1f}" for s in lengths),
            *_pooled(setting["overall"]),
            f"{setting['at_one_percent']['right_percent']:.1f}",
            _threshold_of(setting),
        ]
        for setting in _all(result, ours)
    ]
    return markdown(header, rows)


def _threshold_of(setting: Result) -> str:
    if "threshold" not in setting:
        return "by length"  # overheard has one for each length of a recording, from the same part
    return "built in" if setting["threshold"] == MIN_SCORE else str(setting["threshold"])


def _threshold(result: Result) -> str:
    chosen = result["settings"][0]["threshold_chosen_on"]
    return (
        f"Threshold: the lowest score at which at most 1% of the {chosen['out_n']} queries of unknown tracks "
        f"in the {chosen['part']} part are false positives. The report part uses it unchanged. Built in: the "
        "program's own minimum gives no more than 1%. At 1%: correctly identified if the threshold is moved "
        "so that 1% of the report part's own unknown queries are false positives. It compares rankings and "
        "is not an accuracy to expect.\n"
    )


def _title(setting: Result) -> str:
    details = [setting["version"], f"`{' '.join(setting['options'])}`" if setting["options"] else None]
    known = ", ".join(filter(None, details))
    return f"**{setting['name']}**" + (f" ({known})" if known else "")


def _conditions(setting: Result) -> str:
    lengths = [int(s) for s in setting["by_length"]]
    cells = {(c["condition"], c["length_s"]): c for c in setting["cells"]}
    rows: list[list[object]] = []
    for name, pooled in setting["by_condition"].items():
        row: list[object] = [name, *(f"{cells[name, s]['right_percent']:.0f}" for s in lengths)]
        rows.append(row + _pooled(pooled))
    pooled_right = [f"{setting['by_length'][str(s)]['right_percent']:.1f}" for s in lengths]
    rows.append(["**all**", *pooled_right, *_pooled(setting["overall"])])
    return markdown(["% correctly identified", *(f"{s} s" for s in lengths), *COUNTS], rows)


def _pooled(counts: Result) -> list[object]:
    low, high = counts["right_interval"]
    return [
        f"{counts['right_percent']:.1f}% [{low:.1f}-{high:.1f}]",
        f"{counts['wrong_percent']:.1f}",
        f"{counts['none_percent']:.1f}",
        f"{counts['false_positives']}/{counts['out_n']}",
    ]


def plot(path: Path, result: Result, ours: Result | None) -> bool:
    """Draw the correct answers of each program by condition and by query length, with 95% intervals."""
    settings = _all(result, ours)

    def draw(canvas: Any) -> None:
        panels = canvas.subplots(1, 2, sharey=True, width_ratios=[2, 1])
        labels = {
            "by_condition": [CONDITIONS[name] for name in settings[0]["by_condition"]],
            "by_length": [f"{length} s" for length in settings[0]["by_length"]],
        }
        for axes, (key, names) in zip(panels, labels.items(), strict=True):
            for number, setting in enumerate(settings):
                _bars(axes, setting[key], setting["name"], number, 0.8 / len(settings))
            axes.set_xticks([x + 0.4 for x in range(len(names))], names, rotation=30, ha="right")
        panels[0].set_ylim(0, 100)
        panels[0].set_ylabel("correctly identified, % (line: 95% interval)")
        panels[1].legend(loc="upper left", bbox_to_anchor=(1, 1))

    return figure(path, draw, (11, 4.5))


def _bars(axes: Any, pools: Result, name: str, number: int, width: float) -> None:
    positions = [x + (number + 0.5) * width for x in range(len(pools))]
    axes.bar(positions, [pool["right_percent"] for pool in pools.values()], width, label=name)
    for position, pool in zip(positions, pools.values(), strict=True):
        axes.vlines(position, *pool["right_interval"], color="black", linewidth=1)
