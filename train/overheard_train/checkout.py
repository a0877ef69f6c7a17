"""The git checkout that this package runs from: its commit, and the default paths that depend on it.

An installed package has no checkout. Its default paths are in the current folder, never in site-packages.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_IS_CHECKOUT = Path(__file__).parents[1].name == "train" and (_ROOT / "pyproject.toml").is_file()
CHECKOUT = _ROOT if _IS_CHECKOUT else None
GIT_TIMEOUT_S = 10.0


def commit() -> str:
    """Return the checkout's commit, with ``-dirty`` if files differ from it; "unknown" without a checkout."""
    if CHECKOUT is None:
        return "unknown"
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=10"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip()


def default_checkpoints() -> Path:
    """Return the folder of checkpoints: ``train/checkpoints`` of the checkout, or else ``./checkpoints``."""
    return Path("checkpoints") if CHECKOUT is None else CHECKOUT / "train" / "checkpoints"


def default_near_duplicates() -> Path:
    """Return the list of near-duplicate tracks: the checkout's, or else ``./near_duplicates.json``."""
    return Path("near_duplicates.json") if CHECKOUT is None else CHECKOUT / "train" / "near_duplicates.json"


def default_corpus() -> Path:
    """Return the default training data: ``$OVERHEARD_CORPUS``, or else the folder ``corpus``.

    The folder is in the checkout, or in the current folder without one.
    """
    return Path(os.environ.get("OVERHEARD_CORPUS") or (CHECKOUT or Path()) / "corpus")
