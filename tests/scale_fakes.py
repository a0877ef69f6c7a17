"""A result of scale.py for the benchmarks' tests."""

from __future__ import annotations

from typing import Any

from overheard_bench.scale_paper import on_paper, ratios
from overheard_bench.scale_targets import targets

POOL: dict[str, Any] = {
    "right_percent": 90.0, "right_interval": [85.0, 94.0], "wrong_percent": 0.5,
    "false_positive_percent": 1.2, "false_positive_interval": [0.4, 3.0],
}  # fmt: skip
ACCURACY: dict[str, Any] = {
    "at_one_percent": 89.5,
    "by_length": {"all": POOL, "2": POOL},
}

RECALL: dict[str, Any] = {
    "queries": 200, "right_percent": 96.5, "right_interval": [93.0, 98.3], "best_is_right_percent": 98.0
}  # fmt: skip


def costs(ms: float) -> dict[str, Any]:
    """Return costs that are all of this many ms or s."""
    each = {"search_match_ms": ms, "all_ms": 2 * ms}
    opening = {"cpu_s": ms, "wall_s": ms, "peak_resident_mb": 90.0}
    return {
        "first_open": opening,
        "cold_open": opening,
        "warm_open": opening,
        "search": {"p50_ms": ms, "p95_ms": ms, "mean_ms": ms},
        "listen_search": {"p50_ms": ms, "p95_ms": ms, "mean_ms": ms},
        "clip": each,
        "unknown_clip": each,
        "unknown_clip_own_speed": each,
        "listen": {"catalogue music": each, "unknown music": each},
        "memory": {"resident_mb": 150.0, "anonymous_mb": 100.0, "mapped_mb": None, "peak_mb": 180.0},
        "album": {"tracks": 12, "cpu_s": ms, "wall_s": ms, "written_mb": 0.07, "peak_resident_mb": 90.0},
    }


def size(drawn: int, ms: float) -> dict[str, Any]:
    """Return a measured size."""
    tracks = 1_000 + drawn
    return {
        "drawn": drawn,
        "tracks": tracks,
        "hours": tracks / 15,
        "segments": 239 * tracks,
        "pack_bytes": 5_000 * tracks,
        "derived_bytes": 3_000 * tracks,
        "costs": costs(ms),
        "ratios": ratios(costs(ms), costs(5.0)),
        "accuracy": ACCURACY,
        "mic10_10s": RECALL,
        "compared": {"own": ACCURACY, "listen": ACCURACY},
    }


def index() -> dict[str, Any]:
    """Return the costs of `overheard index`."""
    run = {"cpu_s": 1.5, "wall_s": 12.0, "peak_resident_mb": 160.0, "written_mb": 0.3}
    return {
        "album": {**run, "tracks": 1_012, "added": 12, "unchanged": 0},
        "scan": {**run, "written_mb": None, "tracks": 10_000, "added": 0, "unchanged": 10_000},
    }


def result() -> dict[str, Any]:
    """Return a result of three sizes, with an exhaustive search and a validation."""
    sizes = [size(0, 5.0), size(9_000, 10.0), size(109_000, 20.0)]
    sizes[0]["compared"]["codes"] = ACCURACY | {"at_one_percent": 91.0}
    compared = dict.fromkeys(("without", "real", "drawn"), ACCURACY)
    return {
        "sizes": sizes,
        "targets": targets(sizes, index()),
        "index": index(),
        "paper": on_paper(sizes),
        "validation": compared | {"queried_tracks": 82, "distractors": 466, "difference_points": 0.0},
    }


def with_large() -> dict[str, Any]:
    """Return a result of the sizes that have targets; 100,000 tracks cost 4.2 times as much."""
    sizes = [size(0, 5.0), size(10_000, 7.0), size(100_000, 21.0)]
    sizes[1]["compared"]["codes"] = ACCURACY | {"at_one_percent": 91.0}
    return {"sizes": sizes}
