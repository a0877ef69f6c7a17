"""Render the results of scale.py: tables of cost, accuracy and extrapolation, and charts against size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from overheard_bench.output import Result, figure, markdown

KNOWN, UNKNOWN = "catalogue music", "unknown music"
TIMES = {  # label: where the value is in `costs`
    f"`listen`, {KNOWN}: search and match, CPU ms per second": ("listen", KNOWN, "search_match_ms"),
    f"`listen`, {KNOWN}: all, CPU ms per second": ("listen", KNOWN, "all_ms"),
    f"`listen`, {UNKNOWN}: search and match, CPU ms per second": ("listen", UNKNOWN, "search_match_ms"),
    f"`listen`, {UNKNOWN}: all, CPU ms per second": ("listen", UNKNOWN, "all_ms"),
    "known clip of 5 s: search and match, CPU ms": ("clip", "search_match_ms"),
    "known clip of 5 s: all, CPU ms": ("clip", "all_ms"),
    "unknown clip of 5 s: search and match, CPU ms": ("unknown_clip", "search_match_ms"),
    "unknown clip of 5 s: all, CPU ms": ("unknown_clip", "all_ms"),
    "the same, at the tracks' own speed only: search and match, CPU ms": (
        *("unknown_clip_own_speed", "search_match_ms"),
    ),
    "the same, at the tracks' own speed only: all, CPU ms": ("unknown_clip_own_speed", "all_ms"),
    "search for one segment of a clip, mean, CPU ms": ("search", "mean_ms"),
    "search for one segment of a clip, median, CPU ms": ("search", "p50_ms"),
    "search for one segment of a clip, 95th percentile, CPU ms": ("search", "p95_ms"),
    "search for one segment in `listen`, mean, CPU ms": ("listen_search", "mean_ms"),
    "search for one segment in `listen`, median, CPU ms": ("listen_search", "p50_ms"),
    "search for one segment in `listen`, 95th percentile, CPU ms": ("listen_search", "p95_ms"),
    "first open, builds the derived index, CPU s": ("first_open", "cpu_s"),
    "open, files not in memory, s": ("cold_open", "wall_s"),
    "open, files in memory, s": ("warm_open", "wall_s"),
    "add 12 tracks, CPU s": ("album", "cpu_s"),
    "first open within the memory limit, s": ("limited", "first_open", "wall_s"),
}
N_OF_SOUND = 16  # of these, in ms
AMOUNTS = {
    "add 12 tracks, MB written": ("album", "written_mb"),
    "add 12 tracks, peak resident MB": ("album", "peak_resident_mb"),
    "resident MB after listening": ("memory", "resident_mb"),
    "anonymous MB after listening": ("memory", "anonymous_mb"),
    "mapped MB after listening": ("memory", "mapped_mb"),
    "resident MB until then, peak": ("memory", "peak_mb"),
    "sufficient memory limit, first open and search, MB": ("limited", "sufficient_mb"),
}
SEARCHES = {
    "own": "search of a clip",
    "listen": "search of `listen`",
    "codes": "exhaustive search of the codes",
    "floats": "exhaustive search of float embeddings",
}


def scale(result: Result) -> str:
    """Return the tables of cost, of accuracy, and of catalogues that were not measured."""
    sizes = result["sizes"]
    parts = [markdown(["drawn tracks", *(f"{size['drawn']:,}" for size in sizes)], _costs(sizes))]
    parts += [markdown(["drawn tracks", *(f"{size['drawn']:,}" for size in sizes)], _accuracy(sizes))]
    parts += [_index(result["index"])] if "index" in result else []
    parts += [_validation(result["validation"])] if "validation" in result else []
    return "\n".join([*parts, _paper(result["paper"])])


def _costs(sizes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [
        ["tracks", *(f"{size['tracks']:,}" for size in sizes)],
        ["hours", *(f"{size['hours']:,.0f}" for size in sizes)],
        ["bytes per track, pack", *(f"{size['pack_bytes'] / size['tracks']:,.0f}" for size in sizes)],
        ["bytes per minute, pack", *(f"{_per_minute(size, 'pack_bytes'):,.0f}" for size in sizes)],
        [
            "bytes per minute, pack and derived index",
            *(f"{_per_minute(size, 'pack_bytes', 'derived_bytes'):,.0f}" for size in sizes),
        ],
    ]
    for label, path in TIMES.items():
        cells = []
        for size in sizes:
            value, ratio = _at(size["costs"], path), size["ratios"].get(".".join(path))
            shown = "" if ratio is None or size is sizes[0] else f" ({ratio:.1f}x)"
            cells.append("" if value is None else f"{value:.3g}{shown}")
        if any(cells):
            rows.append([label, *cells])
    for label, path in AMOUNTS.items():
        if not all(path[-1] in (_at(size["costs"], path[:-1]) or {}) for size in sizes):
            continue
        values = [_at(size["costs"], path) for size in sizes]
        rows.append([label, *("unknown" if value is None else f"{value:.3g}" for value in values)])
    return rows


def _per_minute(size: Mapping[str, Any], *names: str) -> float:
    return float(sum(size[name] for name in names) / (size["hours"] * 60))


def _at(values: Any, path: Sequence[str]) -> Any:
    """Return a value by the path of its name; None if it was not measured, as by an earlier version."""
    for name in path:
        values = {} if values is None else values
        values = values.get(name)
    return values


def _compared(size: Mapping[str, Any], name: str) -> float | None:
    value: float | None = _at(size, ("compared", name, "at_one_percent"))
    return value


def _accuracy(sizes: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    rows = [
        [
            "% correctly identified",
            *(f"{size['accuracy']['by_length']['all']['right_percent']:.1f}" for size in sizes),
        ],
        ["the same at 1% false positives", *(f"{size['accuracy']['at_one_percent']:.1f}" for size in sizes)],
        *(
            [
                f"at 1% false positives and the tracks' own speed only, {label}",
                *("" if (value := _compared(size, name)) is None else f"{value:.1f}" for size in sizes),
            ]
            for name, label in SEARCHES.items()
            if any(_compared(size, name) is not None for size in sizes)
        ),
    ]
    if all("mic10_10s" in size for size in sizes):
        queries = f"{sizes[0]['mic10_10s']['queries']} queries of 10 s in `mic10`"
        labels = {"right_percent": "% correctly identified", "best_is_right_percent": "% best matches right"}
        for field, label in labels.items():
            rows.append([f"{label}, {queries}", *(f"{size['mic10_10s'][field]:.1f}" for size in sizes)])
    for field, label in (
        ("right_percent", "% correctly identified"),
        ("false_positive_percent", "% false positives"),
    ):
        for length in sizes[0]["accuracy"]["by_length"]:
            name = "all lengths" if length == "all" else f"{length} s"
            if (field, length) != ("right_percent", "all"):
                values = [size["accuracy"]["by_length"][length][field] for size in sizes]
                rows.append([f"{label}, {name}", *(f"{value:.1f}" for value in values)])
    return rows


def _index(found: Mapping[str, Any]) -> str:
    album, scan = found["album"], found["scan"]
    header = [
        "`overheard index`",
        f"12 new tracks in a pack of {album['tracks'] - album['added']:,}",
        f"{scan['unchanged']:,} unchanged files",
    ]
    labels = {
        "cpu_s": "CPU s, besides decoding and fingerprinting",
        "wall_s": "s, on a busy machine",
        "peak_resident_mb": "peak resident MB",
        "written_mb": "MB written",
    }
    rows = [
        [label, *("" if each[name] is None else f"{each[name]:.3g}" for each in (album, scan))]
        for name, label in labels.items()
    ]
    return markdown(header, rows)


def _validation(found: Mapping[str, Any]) -> str:
    rows = [
        [
            label,
            f"{found[name]['by_length']['all']['right_percent']:.1f}",
            f"{found[name]['at_one_percent']:.1f}",
            f"{found[name]['by_length']['all']['false_positive_percent']:.1f}",
        ]
        for name, label in (
            ("without", "none"),
            ("real", f"{found['distractors']} real tracks"),
            ("drawn", f"{found['distractors']} drawn tracks of the same lengths"),
        )
    ]
    header = [
        f"distractors, beside {found['queried_tracks']} tracks",
        "% correctly identified",
        "at 1% false positives",
        "% false positives",
    ]
    return markdown(header, rows)


def _paper(rows: Sequence[Mapping[str, Any]]) -> str:
    header = ["on paper", *(f"{row['tracks']:,} tracks" for row in rows)]
    lines = [
        ["pack, GB", *(f"{row['pack_gb']:,.1f}" for row in rows)],
        ["derived index, GB", *(f"{row['derived_gb']:,.1f}" for row in rows)],
        ["`listen`, CPU ms per second", *(f"{row['listen_ms']:,.0f}" for row in rows)],
        ["microphones or stations per core", *(f"{row['streams_per_core']:,}" for row in rows)],
        ["anonymous MB", *(f"{row['anonymous_mb']:,}" for row in rows)],
        ["minutes to read it once from an SD card", *(f"{row['pi_verify_min']:,.0f}" for row in rows)],
        ["workers of 16 GB that hold it in memory", *(f"{row['workers_in_memory']:,}" for row in rows)],
        [
            "32-bit segment numbers suffice",
            *("yes" if row["segment_numbers_suffice"] else "no" for row in rows),
        ],
    ]
    return markdown(header, lines)


def plot(path: Path, result: Result) -> bool:
    """Draw cost, memory, bytes, recall and false positives against the number of tracks."""
    sizes = result["sizes"]
    tracks = [size["tracks"] for size in sizes]

    def draw(canvas: Any) -> None:
        panels = canvas.subplots(2, 3).ravel()
        listed = list(TIMES.items())
        _lines(
            panels[0], tracks, {label: _series(sizes, path) for label, path in listed[:N_OF_SOUND]}, "CPU ms"
        )
        _lines(panels[1], tracks, {label: _series(sizes, path) for label, path in listed[N_OF_SOUND:]}, "s")
        _lines(panels[2], tracks, {label: _series(sizes, path) for label, path in AMOUNTS.items()}, "MB")
        per_minute = {
            "pack": [_per_minute(size, "pack_bytes") for size in sizes],
            "pack and derived index": [_per_minute(size, "pack_bytes", "derived_bytes") for size in sizes],
        }
        _lines(panels[3], tracks, per_minute, "bytes per minute", log=False)
        recalls = {
            label: [math.nan if (value := _compared(size, name)) is None else value for size in sizes]
            for name, label in SEARCHES.items()
        }
        _lines(panels[4], tracks, recalls, "% correct at 1% false positives", log=False)
        false_positives = {
            name if name == "all" else f"{name} s": [
                size["accuracy"]["by_length"][name]["false_positive_percent"] for size in sizes
            ]
            for name in sizes[0]["accuracy"]["by_length"]
        }
        _lines(panels[5], tracks, false_positives, "% false positives", log=False)

    return figure(path, draw, (17, 10))


def _series(sizes: Sequence[Mapping[str, Any]], path: Sequence[str]) -> list[float]:
    values = [_at(size["costs"], path) for size in sizes]
    return [math.nan if value is None else value for value in values]


def _lines(
    axes: Any, tracks: Sequence[int], series: Mapping[str, Sequence[float]], label: str, log: bool = True
) -> None:
    for name, values in series.items():
        axes.plot(tracks, values, marker="o", label=name)
    axes.set_xscale("log")
    if log:
        axes.set_yscale("log")
    axes.set_xlabel("tracks")
    axes.set_ylabel(label)
    axes.legend(fontsize=7)
