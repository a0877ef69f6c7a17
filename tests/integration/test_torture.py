"""A short form of `script/torture`: nothing is lost, and what is lost would be noticed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from overheard.event_json import to_json
from overheard.events import Play, PlayEnded, PlayStarted, Track
from overheard.history.writer import HistorySink

SCRIPT = Path(__file__).parents[2] / "script" / "torture.py"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("part", ["index", "listen", "packs", "commands", "disk", "lock"])
def test_nothing_is_lost(part: str) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(SCRIPT), "--tries", "1", "--seconds", "2", part]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    tries_and_losses = re.search(r" (\d+) +(\d+)  ", done.stdout.splitlines()[-1])
    assert tries_and_losses is not None, done.stdout
    assert tries_and_losses[1] == "1"
    assert tries_and_losses[2] == "0"


@pytest.fixture
def tools() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torture_tools", SCRIPT.with_name("torture_tools.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["torture_tools"] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_a_play_that_is_missing_and_a_wrong_end_are_noticed(tools: ModuleType, tmp_path: Path) -> None:
    history = tmp_path / "history.sqlite"
    track = Track("a" * 12, "Title", "", "", "/x", "music", 60.0)
    saved = Play(track, 0.0, 5.0, 0.0, 5.0, 0.9)
    sink = HistorySink(history, "stdin")
    sink.handle(PlayStarted(saved), 1e9)
    sink.handle(PlayEnded(saved), 1e9)
    sink.close()
    printed = [to_json(PlayStarted(saved), 1e9), to_json(PlayEnded(saved), 1e9)]
    assert tools.differences(printed, history) == []
    printed[1]["ended_at"] = printed[1]["started_at"]
    printed.append(to_json(PlayStarted(Play(track, 9.0, 12.0, 0.0, 5.0, 0.9)), 1e9))
    assert [reason[:6] for reason in tools.differences(printed, history)] == ["ended ", "no row"]
