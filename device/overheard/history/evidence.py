"""The evidence for a play, as the history stores it: a JSON object with a row of numbers for each point."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from overheard.events import EvidencePoint

_MOST = 1e9  # larger numbers, infinity and NaN are damage
_VERIFICATION_LEAD = 1.0  # a verification has stood this far below the threshold


@dataclasses.dataclass(frozen=True)
class StoredPoint:
    """A point of the evidence for a play.

    Attributes
    ----------
    after_s : seconds after the start of the play
    verification : the sound was compared with the play's track alone; score and margin say nothing
    """

    after_s: float
    position_s: float  # in the track
    score: float
    threshold: float
    similarity: float
    margin: float
    verification: bool = False


_NUMBERS = len(dataclasses.fields(StoredPoint)) - 1


def evidence_json(points: Sequence[EvidencePoint], start_s: float) -> str:
    """Return the evidence for a play that starts at this second of the source, as JSON."""
    return json.dumps({"looks": [_row(point, start_s) for point in points]})


def _row(point: EvidencePoint, start_s: float) -> list[float]:
    values = (
        point.at_s - start_s,
        point.position_s,
        point.score,
        point.threshold,
        point.similarity,
        point.margin,
    )
    return [*(round(float(value), 2) for value in values), int(point.verification)]


def stored_evidence(text: str | None) -> list[StoredPoint]:
    """Return the points of a JSON object; without those that are damaged.

    Rows of earlier versions do not say which points are verifications; it shows from their numbers.
    """
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return []
    rows = values.get("looks") if isinstance(values, dict) else None
    return [_point(row) for row in rows if _is_point(row)] if isinstance(rows, list) else []


def _point(row: list[float]) -> StoredPoint:
    if len(row) > _NUMBERS:
        verification = bool(row[_NUMBERS])
    else:
        verification = row[5] == 0 and abs(row[3] - row[2] - _VERIFICATION_LEAD) < 0.015
    after_s, position_s, score, threshold, similarity, margin = map(float, row[:_NUMBERS])
    return StoredPoint(after_s, position_s, score, threshold, similarity, margin, verification)


def _is_point(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) in (_NUMBERS, _NUMBERS + 1)
        and all(isinstance(value, int | float) and -_MOST < value < _MOST for value in row)
    )
