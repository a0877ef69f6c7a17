"""Compare the measured sizes with each other, and extrapolate them to catalogues that were not measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PAPER_TRACKS = (1_000_000, 10_000_000)
MAX_SEGMENTS = 1 << 32  # numbers of segments in a derived index have 32 bits
PI_READ_MB_PER_S = 40.0  # an SD card in sequence; the processor hashes faster
WORKER_GB = 16.0  # memory of one worker of a cluster, whose packs stay in memory


def ratios(costs: Mapping[str, Any], alone: Mapping[str, Any]) -> dict[str, float | None]:
    """Return each time relative to that of the catalogue without drawn tracks, by the path of its name."""
    found: dict[str, float | None] = {}
    for name, value in costs.items():
        if isinstance(value, Mapping):
            within = ratios(value, alone[name])
            found |= {f"{name}.{inner}": ratio for inner, ratio in within.items()}
        elif name.endswith(("_ms", "_s")):
            found[name] = round(value / alone[name], 2) if alone[name] else None
    return found


def on_paper(sizes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Extrapolate bytes and costs from the measured sizes, for each of :data:`PAPER_TRACKS`.

    Bytes and segments are in proportion to tracks. Costs follow the line through the two largest sizes, which
    overrates them if the cost grows slower than the catalogue.
    """
    return [_row(n, sizes) for n in PAPER_TRACKS]


def _row(n_tracks: int, sizes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    largest = sizes[-1]
    factor = n_tracks / largest["tracks"]
    pack_gb = largest["pack_bytes"] * factor / 1e9
    derived_gb = largest["derived_bytes"] * factor / 1e9
    listen_ms = _line(n_tracks, sizes, lambda size: size["costs"]["listen"]["catalogue music"]["all_ms"])
    anonymous_mb = _line(n_tracks, sizes, lambda size: size["costs"]["memory"]["anonymous_mb"] or 0.0)
    n_segments = largest["segments"] * factor
    return {
        "tracks": n_tracks,
        "segments": round(n_segments),
        "pack_gb": round(pack_gb, 1),
        "derived_gb": round(derived_gb, 1),
        "listen_ms": round(listen_ms, 1),
        "streams_per_core": math.floor(1000 / listen_ms),
        "anonymous_mb": round(anonymous_mb),
        "pi_verify_min": round((pack_gb + derived_gb) * 1000 / PI_READ_MB_PER_S / 60, 1),
        "workers_in_memory": math.ceil((pack_gb + derived_gb) / WORKER_GB),
        "segment_numbers_suffice": n_segments < MAX_SEGMENTS,
    }


def _line(
    n_tracks: int, sizes: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float]
) -> float:
    """Extrapolate a value by the line through the two largest sizes, which never falls."""
    before = (sizes[-2]["tracks"], value(sizes[-2])) if len(sizes) > 1 else (0, value(sizes[-1]))
    (x0, y0), (x1, y1) = before, (sizes[-1]["tracks"], value(sizes[-1]))
    slope = max(0.0, (y1 - y0) / (x1 - x0))
    return float(y1 + slope * (n_tracks - x1))
