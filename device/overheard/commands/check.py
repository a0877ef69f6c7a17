"""The result of one check of `overheard doctor`."""

from __future__ import annotations

import dataclasses
from typing import Any

from overheard.errors import OverheardError


@dataclasses.dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    ok: bool
    detail: str
    remedy: str | None = None
    data: dict[str, Any] = dataclasses.field(default_factory=dict)  # details for `--json`


def failed(name: str, error: OverheardError, remedy: str | None = None) -> Check:
    """Return a failed check; `remedy` applies if the error has none."""
    return Check(name, False, error.problem, error.remedy or remedy)
