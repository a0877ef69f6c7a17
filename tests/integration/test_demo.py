"""The demonstration as a user runs it: it passes, writes its history, and leaves the user's data alone."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import overheard


def demo(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(overheard.__file__).parent.parent)
    environment = {**os.environ, "OVERHEARD_DATA_DIR": str(data), "PYTHONPATH": source, "PYTHONUTF8": "1"}
    environment.pop("OVERHEARD_CONFIG", None)
    environment["XDG_CONFIG_HOME"] = str(data / "config")
    command = [sys.executable, "-m", "overheard", "demo", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_demonstration_passes(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 wrong" in done.stdout
    assert "not in the catalogue: correctly not identified" in done.stdout
    assert "\x1b" not in done.stdout, "a pipe gets plain text"
    history = tmp_path / "demo" / "history.sqlite"
    assert str(history) in done.stdout
    with closing(sqlite3.connect(history)) as db:
        (tracks,) = db.execute("SELECT count(DISTINCT track_id) FROM plays").fetchone()
    assert tracks >= 9
    assert {path.name for path in tmp_path.iterdir()} == {"demo"}, "the user's own packs and history"


def test_an_invalid_seed_is_an_error(tmp_path: Path) -> None:
    done = demo(tmp_path, "--seed", "-1")
    assert done.returncode == 2
    assert "argument --seed: must be a whole number from 0 to" in done.stderr
    assert "Traceback" not in done.stderr
