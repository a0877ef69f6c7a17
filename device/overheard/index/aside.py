"""Rename a state file that overheard does not understand, so that a new one can take its place."""

from __future__ import annotations

import datetime
import os
from pathlib import Path


def move_aside(path: Path) -> Path:
    """Rename a file to ``NAME.unusable-DATE``, with its SQLite companion files, and return the new path.

    Raises
    ------
    OSError
        If the file cannot be renamed.
    """
    target = free_name(path, "unusable")
    path.rename(target)
    for suffix in (
        "-journal",
        "-wal",
        "-shm",
    ):  # they belong to this file and would be applied to the next one
        companion = path.with_name(path.name + suffix)
        if os.path.lexists(companion):
            companion.rename(target.with_name(target.name + suffix))
    return target


def free_name(path: Path, label: str) -> Path:
    """Return ``NAME.LABEL-DATE``, with a number if that file exists."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stem = f"{path.name}.{label}-{now:%Y%m%dT%H%M%SZ}"
    target, n = path.with_name(stem), 1
    while os.path.lexists(target):
        n += 1
        target = path.with_name(f"{stem}-{n}")
    return target
