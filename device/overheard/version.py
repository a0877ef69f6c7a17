"""The installed version."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """Return the installed version, or "(not installed)" in a source checkout."""
    try:
        return installed("overheard")
    except PackageNotFoundError:
        return "(not installed)"
