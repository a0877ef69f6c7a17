"""The table and the chart of the recipe comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compare import NAMES, main, plot, table
from overheard_bench import RESULTS


def test_the_committed_table_matches_the_committed_rows(tmp_path: Path) -> None:
    rows = json.loads((RESULTS / "recipes.json").read_text(encoding="utf-8"))
    assert (RESULTS / "recipes.md").read_text(encoding="utf-8") == table(rows)
    assert set(rows) <= set(NAMES)
    plot(rows, tmp_path / "recipes.png")
    assert (tmp_path / "recipes.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_shows_budget_precision_and_accuracy() -> None:
    retrieval = [
        {
            "variant": "int8",
            "length_s": n,
            "n_queries": 10,
            "n_catalogue": 99,
            "track": n / 20,
            "exact": 0,
            "near": 0,
        }
        for n in (1, 2, 3, 5, 10)
    ]
    row = {
        "parameters": 1_250_000,
        "multiply_adds": 8_800_000,
        "training": [{"environment": {"precision": "float32"}}],
        "cpu_minutes": 32.0,
        "steps": 700,
        "overall": {"right_percent": 41.25, "false_positives": 3, "out_n": 800},
        "at_one_percent": {"right_percent": 42.0},
        "bytes_per_min": 734.6,
        "retrieval": retrieval,
    }
    lines = table({"ours": row}).splitlines()
    assert "| ours | 1.25 M | 8.8 | float32 | 32 | 700 | 41.2 | 42.0 | 3/800 | 735 |" in lines
    assert "| ours | int8 | 5.0 | 10.0 | 15.0 | 25.0 | 50.0 |" in lines


def test_a_damaged_result_or_unknown_recipe_is_a_one_line_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = ["--results", str(tmp_path), "--work", str(tmp_path / "work")]
    assert main(["trial", "big", *work]) == 2
    assert capsys.readouterr().err.startswith("compare.py: unknown recipe big; choose one of")
    (tmp_path / "recipes.json").write_text("half a")
    assert main(["trial", *work]) == 2
    assert "recipes.json is damaged; delete it" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
