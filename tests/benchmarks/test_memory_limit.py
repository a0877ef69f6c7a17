"""Test benchmarks that run within a memory limit, where control groups can be made."""

from __future__ import annotations

import pytest

from overheard_bench import memory_limit
from overheard_bench.memory_limit import ROOT, run_limited


def fill(mb: int) -> dict[str, int]:
    return {"bytes": len(b"\1" * (mb * 10**6))}


def test_a_process_within_the_limit_completes_and_one_beyond_it_is_killed():
    within = run_limited(300, fill, 10)
    if "no control group" in within.get("failed", ""):
        pytest.skip(within["failed"])
    assert within == {"sufficient_mb": 300, "bytes": 10_000_000}
    assert "was killed" in run_limited(300, fill, 600)["failed"]
    assert not [*ROOT.glob("**/overheard-bench-*")]


def test_a_machine_without_control_groups_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(memory_limit, "ROOT", tmp_path / "none")
    assert run_limited(300, fill, 10) == {
        "failed": "no control group can be made (No such file or directory)"
    }
