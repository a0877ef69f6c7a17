"""The counted attacks of `script/fuzz --attacks`: what they count as a fault."""

from __future__ import annotations

import sys
from pathlib import Path

import attempts
import pytest
from attacks import CALLS, Row, drawn
from attempts import ACCEPTED, HANG, REFUSED, TRACEBACK, Attempt
from calls import Ended, fault

FAULTY = """
import os, sys, time
from attempts import ACCEPTED, refusal, repeat

number = 0

def prepare(n):
    global number
    number = n

def attempt():
    if number == 1:
        raise ZeroDivisionError("a bug")
    if number == 2:
        return refusal("two\\nlines")
    if number == 3:
        os._exit(3)
    if number == 4:
        time.sleep(60)
    return refusal("one line") if number == 5 else ACCEPTED

repeat(prepare, attempt)
"""


def test_exceptions_crashes_and_hangs_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faulty.py").write_text(FAULTY)
    monkeypatch.setattr(sys, "path", [str(Path(attempts.__file__).parent), *sys.path])
    monkeypatch.setattr(attempts, "MAX_WALL_S", 10.0)  # also of the start of a process
    made = list(attempts.attempts(str(tmp_path / "faulty.py"), count=7))
    assert [one.number for one in made] == list(range(7))
    faults = [TRACEBACK, TRACEBACK, TRACEBACK, HANG]
    assert [one.outcome for one in made] == [ACCEPTED, *faults, REFUSED, ACCEPTED]
    assert "ZeroDivisionError" in made[1].detail
    row = Row("faulty")
    for one in made:
        row.add(one)
    assert (row.n, row.accepted, row.refused, row.tracebacks, row.hangs) == (7, 2, 1, 3, 1)
    assert row.bad


def test_too_much_memory_is_a_fault() -> None:
    row = Row("large")
    row.add(Attempt(0, ACCEPTED, 0.0, 100.0))
    assert not row.bad
    row.add(Attempt(1, ACCEPTED, 0.0, 301.0))
    assert row.bad


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (Ended(0, "", "", 0, 0), ""),
        (Ended(2, "", "overheard: no such file; check the path\n", 0, 0), ""),
        (Ended(2, "", "", 0, 0), "an error without a message"),
        (Ended(1, "", "Traceback (most recent call last):\n", 0, 0), "Traceback"),
        (Ended(-11, "", "", 0, 0), "exit code -11"),
        (Ended(None, "", "", 0, 0), "exit code None"),
        (Ended(0, "a\x1b[2J\n", "", 0, 0), "[2J"),
    ],
)
def test_what_is_wrong_with_a_call(ended: Ended, expected: str) -> None:
    found = fault(["history"], ended)
    assert expected in found
    assert bool(found) == bool(expected)


@pytest.mark.parametrize("kind", CALLS)
def test_attacks_are_different_and_the_same_in_each_run(kind: str) -> None:
    calls = drawn(CALLS[kind], 20)
    assert len({repr(call) for call in calls}) == 20
    assert drawn(CALLS[kind], 20) == calls
