"""Test the tables of the documentation: they come from the results, and differences are detected."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import scale_fakes
import tables
from overheard_bench.environment import calibrations

ORIGIN: dict[str, Any] = {
    "environment": {
        "date": "2026-11-23T10:00:00Z", "commit": "abc", "processor": "P", "machine": "m", "cores": 2,
        "python": "3.11",
    },
    "model": {
        "name": "overheard", "digest": "0123", "network_bytes": 3900000,
        **calibrations({"scoring": {"threshold": 4.0}}),
    },
}  # fmt: skip
POOL: dict[str, Any] = {
    "n": 200, "right_percent": 87.5, "right_interval": [82, 91.4], "wrong_percent": 1.0, "out_n": 50,
    "false_positives": 1, "false_positive_percent": 2.0, "false_positive_interval": [0.4, 10.5],
}  # fmt: skip
RELIABLE: dict[str, Any] = {
    "n": 9, "brier": 0.02345,
    "tenths": [
        {
            "from_percent": tenth * 10, "n": 9 if tenth == 8 else 0, "confidence_percent": 84.2,
            "right_percent": 88.9, "right_interval": [56.5, 98.0],
        }
        for tenth in range(10)
    ],
}  # fmt: skip
SOUND_COUNTS: dict[str, Any] = {
    "n": 36,
    "recognized": 1,
    "recognized_percent": 2.8,
    "highest_confidence": 0.77,
}
ACCURACY: dict[str, Any] = ORIGIN | {
    "cells": [{"condition": "clean", "length_s": 2} | POOL],
    "by_condition": {"clean": POOL},
    "by_length": {"2": POOL},
    "overall": POOL,
    "catalogue": {"tracks": 500, "hours": 15.2, "bytes": 1500000, "bytes_per_min": 1650.4},
    "at_one_percent": {"right_percent": 88.2},
    "exhaustive": {"at_one_percent": {"right_percent": 89.0}},
    "reliability": {"best_matches": RELIABLE, "recognized": RELIABLE},
}
COMPACT = ACCURACY | {"catalogue": ACCURACY["catalogue"] | {"bytes_per_min": 735.0}}
TINY = ACCURACY | {
    "model": {"name": "overheard-tiny", "digest": "89ab", "network_bytes": 298256},
}
RESULTS: dict[str, Any] = {
    "accuracy": ACCURACY,
    "accuracy-compact": COMPACT,
    "overheard-tiny/accuracy": TINY,
    "tiny/accuracy": TINY | {"model": {"name": "tiny", "digest": "0123", "network_bytes": 349000}},
    "small/accuracy": TINY | {"model": {"name": "small", "digest": "0123", "network_bytes": 1162928}},
    "networks": ORIGIN | {
        "models": {},
        "rows": [
            {
                "indexed_by": "overheard", "queried_by": "small", "right_percent_2_s": 74.5,
                "overall": {"right_percent": 88.25, "false_positives": 11, "out_n": 1800},
                "at_one_percent": {"right_percent": 87.9}, "cpu_ms": 92.4, "cpu_ms_5_s": None,
            }
        ],
    },
    "listening": ORIGIN | {
        "known": {
            "mic5": {
                "right_percent": 98.24, "wrong_percent": 0.0, "tracks": 9, "tracks_recognized": 8,
                "delay_s_median": 4.25, "delay_s_p90": None, "tracks_split": 1,
                "shortest_play_s": 2.5,
            }
        },
        "unknown": {"mic5": {"false_positives": 2, "hours": 1.6}},
        "without_music": {"talk": {"false_positives": 0, "hours": 0.4}},
    },
    "latency": ORIGIN | {
        "runtimes": {
            "ai-edge-litert": {
                "version": "1",
                "catalogue music": {"stages": {"model": {"p50_ms": 1.234, "p95_ms": 2.0, "mean_ms": 1.3}}},
            }
        },
        "listen": {
            "catalogue music": {
                "cpu_ms_per_s": 5.0, "share_of_one_core_percent": 0.5, "cpu_s_per_hour": 18.0,
                "resident_mb": 150.2, "peak_resident_mb": None,
            }
        },
        "index": [{"format": "flac", "x_real_time_by_cpu": 210.4, "cpu_s": 5.0, "audio_s": 1000.0}],
        "reference": {"job": "a product", "cpu_ms": 10.0},
    },
    "power": ORIGIN | {
        "scenes": {
            "silence": {"cpu_s_per_hour": 6.0, "share_of_one_core_percent": 0.17, "energy": "unavailable"},
            "talk": None,
        },
        "meters": {"battery": "unavailable: none"},
        "reference": {"job": "a product", "cpu_ms": 10.0},
    },
    "identify_cost": ORIGIN | {
        "clips": [{"length_s": 60, "cpu_s": 1.5, "cpu_s_per_s": 0.025, "ratio": 0.98}],
        "unknown_clips": [{"length_s": 60, "cpu_s": 1.8, "cpu_s_per_s": 0.03, "ratio": 0.99}],
        "reference_s": 15,
    },
    "scale": ORIGIN | scale_fakes.result(),
    "speeds": ORIGIN | {
        "rows": [
            {
                "kind": "speed", "percent": 3, "n": 30, "right_percent": 90.0, "right_interval": [74.4, 96.5],
                "wrong": 1, "speed_error_percent": 0.12, "position_error_s": None,
                "false_positives": 0, "out_n": 10,
            }
        ],
        "out_n": 10, "false_positives": 0, "false_positive_percent": 0.0,
        "false_positive_interval": [0.0, 27.8], "out_normal": {"n": 10, "false_positives": 0},
    },
    "soak": ORIGIN | {
        "hours": [
            {"resident_kb": 102400 + 512 * hour, "descriptors": 19, "threads": 7, "files": 13, "bytes": 9e5}
            for hour in range(25)
        ],
        "plays_kept": 30, "keep_days": 2, "cpu_s": 90.0,
    },
    "streams": ORIGIN | {
        "seconds": 60.0, "streams": 200, "slow": 10,
        "scenes": {
            "many": {
                "listen_percent": 1.2, "web_percent": 3.4, "listen_mb": 138.7, "web_mb": 86.1,
                "resident_mb": 224.8, "proportional_mb": 170.1, "lost_s": 0.0,
                "statuses_least": 59, "statuses_most": 60, "open": 210,
            }
        },
    },
    "sounds": ORIGIN | {
        "sounds": {"tone": {"2": SOUND_COUNTS}}, "by_length": {"2": SOUND_COUNTS}, "overall": SOUND_COUNTS,
        "listen": {"tone": {"n": 6, "recognized": 0, "unknown": 2}},
        "listen_overall": {"n": 6, "recognized": 0, "unknown": 2}, "speech": "espeak-ng",
    },
}  # fmt: skip


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tables, "MODELS", tmp_path)
    blocks = "\n".join(f"<!-- results:{name} -->\nold\n<!-- /results -->\n" for name in tables.FILES)
    path = tmp_path / "docs" / "benchmarks.md"
    path.parent.mkdir()
    path.write_text(f"# before\n{blocks}after\n")
    return path


def run(page: Path, *arguments: str) -> int:
    return tables.main(["--page", str(page), "--results", str(page.parents[1] / "results"), *arguments])


def store(page: Path, results: dict) -> None:
    for name, result in results.items():
        path = page.parents[1] / "results" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result))


def test_the_documentation_has_the_tables_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["--check"]) == 0, capsys.readouterr()


def test_blocks_without_results_are_empty(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(page, "--check") == 1
    assert run(page) == 0
    assert page.read_text().count("Not measured yet.") == len(tables.FILES)
    assert page.read_text().startswith("# before\n")
    assert page.read_text().endswith("after\n")
    assert run(page, "--check") == 0
    assert "comparison is empty, since there is no accuracy.json" in capsys.readouterr().err


def test_blocks_are_rendered_from_results(page: Path) -> None:
    store(page, RESULTS)
    assert run(page) == 0
    text = page.read_text()
    for expected in (
        "| 87.5 (82-91) |", "Unknown music: 50 queries, with 1 false positives (2.0%, 95% interval 0.4-10.5)",
        "500 tracks, 15.2 hours, 1,500,000 bytes, which is 1,650 bytes per minute",
        "the pack has 88.2% correct answers. Exhaustive search over uncompressed embeddings has 89.0%",
        "| model (ai-edge-litert) | 1.30 | 0.13 | 2.00 |", "| flac | 210 | 0.50 |", "| 150 | unknown |",
        "The reference job, a product on one thread, took 10.0 ms",
        "| mic5 | 98.2 | 0.0 | 8 of 9 | 4.2 | never | not measured | 1 | 2.5 | 2 in 1.6 h |",
        "| talk | 0 in 0.4 h |",
        "| silence | 6.0 | 0.17 | 0.17 | unavailable |", "| talk | not measured |",
        "with model 0123, on P (m, 2 cores)", "| 60 s | 1.500 | 0.0250 | 0.98 |",
        "| 24 h | 111.5 | +11.5% | 19 | 7 | 13 | 900 |",
        "| many | 1.2 | 3.4 | 138.7 | 86.1 | 224.8 | 170.1 | 0.0 | 59 to 60 | 210 |",
        "| search for one segment of a clip, median, CPU ms | 5 | 10 (2.0x) | 20 (4.0x) |",
        "| `overheard`, `--compact` | 87.5 | 87.5 (82-91) | 2.0 | 735 | 3.9 MB | 2026-11-23, abc |",
        "| 80-90% | 9 | 84.2 | 88.9 (56-98) | 9 |", "0.0234 for all best matches",
        "| speed +3% | 90 (74-96) | 1 | 0.12 |  | 0 of 10 |",
        "| tone | 1 of 36 | 0 of 6 | 2 of 6 | 77 |", "Of 36 clips, 1 are recognized (2.8%).",
        "| `overheard-tiny` | 87.5 | 87.5 (82-91) | 2.0 | 1,650 | 0.3 MB | 2026-11-23, abc |",
        "| overheard | small | 88.2 | 11 of 1,800 | 74.5 | 87.9 | 92 | - |",
    ):  # fmt: skip
        assert expected in text
    assert "![" not in text
    assert run(page, "--check") == 0


@pytest.mark.parametrize(
    ("digest", "threshold", "n_outdated"), [("0123", 4.0, 0), ("0123", 5.0, 8), ("4567", 4.0, 14)]
)
def test_results_of_another_model_are_marked(
    page: Path, digest: str, threshold: float, n_outdated: int
) -> None:
    store(page, RESULTS)
    shipped = {"digest": digest, "scoring": {"threshold": threshold}}
    (tables.MODELS / "overheard.json").write_text(json.dumps(shipped))
    assert run(page) == 0
    assert page.read_text().count("Measured with an older model") == n_outdated


def test_a_changed_result_is_detected(page: Path) -> None:
    store(page, RESULTS)
    assert run(page) == 0
    changed = copy.deepcopy(RESULTS)
    changed["accuracy"]["overall"]["right_percent"] = 88.0
    store(page, changed)
    assert run(page, "--check") == 1
    (page.parents[1] / "results" / "accuracy.png").touch()
    assert run(page) == 0
    assert "![accuracy](../results/accuracy.png)" in page.read_text()


@pytest.mark.parametrize("invalid", [{"quick": True}, {"protocol": {"quick": True}}, [], {"by_length": {}}])
def test_an_invalid_result_is_an_error(
    page: Path, invalid: object, capsys: pytest.CaptureFixture[str]
) -> None:
    store(page, {"accuracy": invalid})
    before = page.read_text()
    assert run(page) == 2
    assert page.read_text() == before
    assert "accuracy" in capsys.readouterr().err


@pytest.mark.parametrize("marker", ["<!-- results:power -->", "<!-- /results -->"])
def test_a_missing_marker_is_an_error(page: Path, marker: str) -> None:
    page.write_text(page.read_text().replace(marker, "", 1))
    assert run(page) == 2


def test_an_unknown_block_is_an_error(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page.write_text(page.read_text().replace("results:power", "results:weight"))
    assert run(page) == 2
    assert "unknown block weight; known are accuracy" in capsys.readouterr().err
