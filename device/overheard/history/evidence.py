"""What a play rests on, as the history stores it: a JSON object with a row of numbers for each look."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence

from overheard.events import Look

_CHECK_LEAD = 1.0  # a verification has stood this far below the threshold


@dataclasses.dataclass(frozen=True)
class StoredLook:
    """A look at a play.

    Attributes
    ----------
    after_s : seconds after the start of the play
    check : whether the sound was only compared with the track of the play; then score and margin say nothing
    """

    after_s: float
    position_s: float  # in the track
    score: float
    threshold: float
    similarity: float
    margin: float
    check: bool = False


_NUMBERS = len(dataclasses.fields(StoredLook)) - 1


def evidence_json(looks: Sequence[Look], start_s: float) -> str:
    """Return the looks at a play that starts at this second of the source."""
    return json.dumps({"looks": [_row(look, start_s) for look in looks]})


def _row(look: Look, start_s: float) -> list[float]:
    values = (look.at_s - start_s, look.position_s, look.score, look.threshold, look.similarity, look.margin)
    return [*(round(float(value), 2) for value in values), int(look.check)]


def stored_looks(text: str | None) -> list[StoredLook]:
    """Return the looks of a JSON object; without those that are damaged.

    Rows of earlier versions do not say which looks are checks; it shows from their numbers.
    """
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return []
    rows = values.get("looks") if isinstance(values, dict) else None
    return [_look(row) for row in rows if _is_look(row)] if isinstance(rows, list) else []


def _look(row: list[float]) -> StoredLook:
    if len(row) > _NUMBERS:
        check = bool(row[_NUMBERS])
    else:
        check = row[5] == 0 and abs(row[3] - row[2] - _CHECK_LEAD) < 0.015
    after_s, position_s, score, threshold, similarity, margin = map(float, row[:_NUMBERS])
    return StoredLook(after_s, position_s, score, threshold, similarity, margin, check)


def _is_look(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) in (_NUMBERS, _NUMBERS + 1)
        and all(isinstance(value, int | float) and math.isfinite(value) for value in row)
    )
