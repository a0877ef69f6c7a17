"""The table of networks that index and networks that listen."""

from __future__ import annotations

from typing import Any

import pytest

import networks
from overheard.errors import ModelError
from overheard.fingerprint.model import load_model
from overheard.settings import MODELS_DIR
from overheard_bench import networks_report


def test_models_of_another_space_are_refused() -> None:
    models = [load_model(MODELS_DIR / f"{name}.json") for name in ("overheard", "overheard-tiny")]
    networks.check_space(models[:1] * 2)
    with pytest.raises(ModelError, match="overheard-tiny: not of the space of overheard"):
        networks.check_space(models)


def test_the_table_has_a_row_for_each_combination() -> None:
    row: dict[str, Any] = {
        "overall": {"right_percent": 87.84, "false_positives": 3, "out_n": 1600},
        "at_one_percent": {"right_percent": 88.1},
        "right_percent_2_s": 74.0,
        "cpu_ms": 79.4,
        "cpu_ms_5_s": None,
    }
    rows = [{"indexed_by": one, "queried_by": other, **row} for one in "ab" for other in "ab"]
    lines = networks_report.table({"rows": rows}).splitlines()
    assert len(lines) == 6
    assert lines[3] == "| a | b | 87.8 | 3 of 1,600 | 74.0 | 88.1 | 79 | - |"


def test_models_are_given_by_name_or_path() -> None:
    args = networks.parse(["--models", "overheard", "x/y.json", "--quick"])
    assert [path.name for path in args.models] == ["overheard.json", "y.json"]
    assert args.indexers == args.models
    assert args.n == 2


def test_each_network_that_indexes_needs_one_pack(capsys: pytest.CaptureFixture[str]) -> None:
    args = networks.parse(["--models", "overheard", "--packs", "a.pack"])
    assert [path.name for path in args.packs] == ["a.pack"]
    with pytest.raises(SystemExit):
        networks.parse(["--models", "overheard", "x.json", "--packs", "a.pack"])
    assert "--packs needs 2 files" in capsys.readouterr().err
