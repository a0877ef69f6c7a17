"""What a play rests on: the rows that the history stores, and those of earlier versions."""

from __future__ import annotations

from overheard.events import Look
from overheard.history.evidence import StoredLook, evidence_json, stored_looks


def test_searches_and_checks_are_told_apart() -> None:
    looks = [Look(12.0, 62.0, 4.5, 3.0, 0.71, 0.2), Look(15.0, 65.0, 2.0, 3.0, 0.6, 0.0, check=True)]
    assert stored_looks(evidence_json(looks, 10.0)) == [
        StoredLook(2.0, 62.0, 4.5, 3.0, 0.71, 0.2, check=False),
        StoredLook(5.0, 65.0, 2.0, 3.0, 0.6, 0.0, check=True),
    ]


def test_a_search_that_looks_like_a_check_is_a_search() -> None:
    look = Look(12.0, 62.0, 2.0, 3.0, 0.7, 0.0)
    assert not stored_looks(evidence_json([look], 0.0))[0].check


def test_rows_of_earlier_versions_are_read() -> None:
    text = '{"looks": [[2, 62, 4.5, 3, 0.7, 0.2], [5, 65, 2, 3, 0.6, 0]]}'
    assert [look.check for look in stored_looks(text)] == [False, True]


def test_what_is_damaged_is_left_out() -> None:
    for text in (
        None,
        "",
        "{",
        "[]",
        '{"looks": 3}',
        '{"looks": [[1], ["a", 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, NaN]]}',
    ):
        assert stored_looks(text) == []
