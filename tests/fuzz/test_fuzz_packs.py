"""Mutated and hostile packs: each opens or is refused with one line, in bounded time and memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

# Of processor time, so that a busy computer tries as much.
SECONDS = float(os.environ.get("OVERHEARD_FUZZ_SECONDS", "15"))
MAX_MB = 300  # of memory, at the peak
MAX_ADDRESSES_MB = 4096  # an allocation beyond this is a MemoryError
MAX_S = 5.0  # of processor time, per pack
WORKER = Path(__file__).with_name("mutated_packs.py")


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES_MB << 20, MAX_ADDRESSES_MB << 20))


def test_mutated_packs_open_or_are_refused_with_one_line() -> None:
    command = [sys.executable, str(WORKER), str(SECONDS), "0"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=20 * SECONDS + 120, env=env, preexec_fn=limited
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["tried"] > 20
    assert 0 < result["opened"] < result["tried"]
    assert result["slowest_s"] < MAX_S
    assert result["peak_mb"] < MAX_MB
