"""What a play rests on: the rows that the history stores, and those of earlier versions."""

from __future__ import annotations

from overheard.events import EvidencePoint
from overheard.history.evidence import StoredPoint, evidence_json, stored_evidence


def test_searches_and_checks_are_told_apart() -> None:
    points = [
        EvidencePoint(12.0, 62.0, 4.5, 3.0, 0.71, 0.2),
        EvidencePoint(15.0, 65.0, 2.0, 3.0, 0.6, 0.0, verification=True),
    ]
    assert stored_evidence(evidence_json(points, 10.0)) == [
        StoredPoint(2.0, 62.0, 4.5, 3.0, 0.71, 0.2, verification=False),
        StoredPoint(5.0, 65.0, 2.0, 3.0, 0.6, 0.0, verification=True),
    ]


def test_a_search_that_looks_like_a_check_is_a_search() -> None:
    point = EvidencePoint(12.0, 62.0, 2.0, 3.0, 0.7, 0.0)
    assert not stored_evidence(evidence_json([point], 0.0))[0].verification


def test_rows_of_earlier_versions_are_read() -> None:
    text = '{"looks": [[2, 62, 4.5, 3, 0.7, 0.2], [5, 65, 2, 3, 0.6, 0]]}'
    assert [point.verification for point in stored_evidence(text)] == [False, True]


def test_what_is_damaged_is_left_out() -> None:
    for text in (
        None,
        "",
        "{",
        "[]",
        '{"looks": 3}',
        '{"looks": [[1], ["a", 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, NaN]]}',
        '{"looks": [[1, 1, 1, 1, 1, Infinity], [-1e300, 1, 1, 1, 1, 1]]}',
        '{"looks": [[1, 1, 1, 1, 1, 1' + 400 * "0" + "]]}",
        '{"looks": [[1, 1, 1, 1, 1, 1' + 5000 * "0" + "]]}",
    ):
        assert stored_evidence(text) == []
