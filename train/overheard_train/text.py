"""Small texts that several commands share."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """Return the checkout's commit, marked where it has other changes; "unknown" outside of one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
