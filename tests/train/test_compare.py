"""The comparison's table and picture."""

from __future__ import annotations

import json
from pathlib import Path

from overheard_train.compare import NAMES, RESULTS, plot, table


def test_the_committed_table_is_that_of_the_committed_rows(tmp_path: Path) -> None:
    rows = json.loads((RESULTS / "recipes.json").read_text(encoding="utf-8"))
    assert (RESULTS / "recipes.md").read_text(encoding="utf-8") == table(rows)
    assert set(rows) <= set(NAMES)
    plot(rows, tmp_path / "recipes.png")
    assert (tmp_path / "recipes.png").read_bytes().startswith(b"\x89PNG")


def test_a_row_says_its_budget_precision_and_outcome() -> None:
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
        "overall": {"right_percent": 41.25, "out_named": 3, "out_n": 800},
        "at_one_percent": {"right_percent": 42.0},
        "bytes_per_min": 734.6,
        "retrieval": retrieval,
    }
    lines = table({"ours": row}).splitlines()
    assert "| ours | 1.25 M | 8.8 | float32 | 32 | 700 | 41.2 | 42.0 | 3/800 | 735 |" in lines
    assert "| ours | int8 | 5.0 | 10.0 | 15.0 | 25.0 | 50.0 |" in lines
