"""Compare the measured sizes with the targets, which were set before the first measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from overheard_bench.score import target

MAX_RATIOS = {10_000: 1.5, 100_000: 4.0}  # of the cost with the starter pack alone, by drawn tracks
MAX_LOST_POINTS = {10_000: 1.0, 100_000: 2.0}  # of recall, against exhaustive search of the codes
TIMED = {
    "listen.catalogue music.search_match_ms": "`listen`, catalogue music",
    "listen.unknown music.search_match_ms": "`listen`, unknown music",
    "clip.search_match_ms": "known clip of 5 s",
    "unknown_clip.search_match_ms": "unknown clip of 5 s",
}
SEARCHES = {"own": "search of a clip", "listen": "search of `listen`"}
LEAST_MIC10_10S = 97.0  # percent
LARGE = 100_000  # drawn tracks, from which on the following count
MAX_BYTES_PER_MIN, MAX_BYTES_PER_MIN_WITH_DERIVED = 1500.0, 2600.0
MAX_ANONYMOUS_MB, MAX_WARM_OPEN_S = 150.0, 0.5
MAX_PEAK_MB = 400.0
MAX_SCAN_S = 10.0
MAX_ALBUM = {"cpu_s": 5.0, "written_mb": 10.0, "peak_resident_mb": 300.0}

Size = Mapping[str, Any]
Target = dict[str, Any]


def targets(sizes: Sequence[Size], index: Mapping[str, Any] | None = None) -> list[Target]:
    """Return name, "at least" or "at most", limit, measured value and whether it is met.

    Parameters
    ----------
    sizes : what was measured with each catalogue
    index : what `overheard index` costs with the largest of them
    """
    listed = [each for size in sizes for each in (*_ratios(size), *_recall(size), *_large(size))]
    return listed + ([] if index is None else _index(index))


def _index(index: Mapping[str, Any]) -> list[Target]:
    rows = [(f"an album: {name}", limit, index["album"][name]) for name, limit in MAX_ALBUM.items()]
    rows.append(
        (f"{index['scan']['unchanged']:,} unchanged files: wall_s", MAX_SCAN_S, index["scan"]["wall_s"])
    )
    return [
        target(f"`overheard index`, {name}", "at most", limit, value)
        for name, limit, value in rows
        if value is not None
    ]


def _ratios(size: Size) -> list[Target]:
    limit = MAX_RATIOS.get(size["drawn"])
    if limit is None:
        return []
    return [
        target(f"{_tracks(size)}: {label}: search and match, times", "at most", limit, size["ratios"][name])
        for name, label in TIMED.items()
    ]


def _recall(size: Size) -> list[Target]:
    listed = []
    limit, compared = MAX_LOST_POINTS.get(size["drawn"]), size["compared"]
    if limit is not None and "codes" in compared:
        for name, label in SEARCHES.items():
            lost = round(compared["codes"]["at_one_percent"] - compared[name]["at_one_percent"], 2)
            text = f"{_tracks(size)}: {label}: points below exhaustive search"
            listed.append(target(text, "at most", limit, lost))
    if limit is not None and "mic10_10s" in size:
        measured = size["mic10_10s"]["right_percent"]
        listed.append(target(f"{_tracks(size)}: 10 s in mic10, %", "at least", LEAST_MIC10_10S, measured))
    return listed


def _large(size: Size) -> list[Target]:
    if size["drawn"] < LARGE:
        return []
    costs, minutes = size["costs"], size["hours"] * 60
    both = size["pack_bytes"] + size["derived_bytes"]
    rows: list[tuple[str, float, float | None]] = [
        ("bytes per minute, pack", MAX_BYTES_PER_MIN, size["pack_bytes"] / minutes),
        ("bytes per minute, pack and derived index", MAX_BYTES_PER_MIN_WITH_DERIVED, both / minutes),
        ("anonymous MB after listening", MAX_ANONYMOUS_MB, costs["memory"]["anonymous_mb"]),
        ("open, files in memory, s", MAX_WARM_OPEN_S, costs["warm_open"]["wall_s"]),
        ("peak resident MB", MAX_PEAK_MB, costs["memory"]["peak_mb"]),
    ]
    sufficient_mb = costs.get("limited", {}).get("sufficient_mb")
    rows.append(("sufficient memory limit, first open and search, MB", MAX_PEAK_MB, sufficient_mb))
    return [
        target(f"{_tracks(size)}: {name}", "at most", limit, round(value, 3))
        for name, limit, value in rows
        if value is not None
    ]


def _tracks(size: Size) -> str:
    return f"{size['drawn']:,} tracks"
