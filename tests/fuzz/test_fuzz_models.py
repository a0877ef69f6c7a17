"""Mutated models: each loads or is refused with one line, in bounded time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

# Of processor time, so that a busy computer tries as much.
SECONDS = float(os.environ.get("OVERHEARD_FUZZ_SECONDS", "15"))
MAX_MB = 300  # of memory, at the peak
MAX_S = 5.0  # of processor time, per model
WORKER = Path(__file__).with_name("mutated_models.py")


def test_mutated_models_load_or_are_refused_with_one_line() -> None:
    command = [sys.executable, str(WORKER), str(SECONDS), "0"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=20 * SECONDS + 120, env=env)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["tried"] > 20
    assert 0 < result["loaded"] < result["tried"]
    assert result["slowest_s"] < MAX_S
    assert result["peak_mb"] < MAX_MB
