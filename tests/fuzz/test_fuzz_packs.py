"""Mutated and hostile packs: each opens or is refused with one line, in bounded time and memory."""

from __future__ import annotations

import os

from attempts import ACCEPTED, MAX_MB, REFUSED, attempts

# Of processor time, so that a busy computer tries as much.
SECONDS = float(os.environ.get("OVERHEARD_FUZZ_SECONDS", "12"))


def test_mutated_packs_open_or_are_refused_with_one_line() -> None:
    tried = list(attempts("mutated_packs.py", seconds=SECONDS))
    assert not [one for one in tried if one.outcome not in (ACCEPTED, REFUSED)]
    assert len(tried) > 20
    assert {one.outcome for one in tried} == {ACCEPTED, REFUSED}
    assert max(one.peak_mb for one in tried) < MAX_MB
