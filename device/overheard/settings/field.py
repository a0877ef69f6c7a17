"""A setting as a field of a dataclass: its default, its description and its limits."""

from __future__ import annotations

import dataclasses
from typing import Any


def about(text: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """Return the metadata of a setting: its description and, of a number, its lowest and highest value."""
    return {"about": text, "low": low, "high": high}


def field(default: Any, text: str, low: float | None = None, high: float | None = None) -> Any:
    """Return the field of a setting."""
    return dataclasses.field(default=default, metadata=about(text, low, high))
