"""Make a fixed number of attacks of each kind, and print a table of what happened.

    script/fuzz --attacks [KIND...]

A fault is a traceback, a crash, output that is not safe to print, an altered track, or an error without a
message. A hang is more than 5 s of processor time, or no answer within a minute. A run of all kinds without
a fault writes its table to docs/attacks-output.txt.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from attempts import ACCEPTED, HANG, MAX_MB, MAX_S, REFUSED, TRACEBACK, Attempt, attempts
from calls import (
    argument_lists,
    argument_lists_of_processes,
    call,
    configurations,
    environments,
    fault,
    model_settings,
    plain_calls,
)
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "docs" / "attacks-output.txt"
Value = TypeVar("Value")
Call = tuple[list[str], dict[str, str], bytes]

without = st.just(b"")
CALLS: dict[str, st.SearchStrategy[Call]] = {
    "settings": st.tuples(
        plain_calls, st.just({}), configurations | model_settings.map(lambda text: text.encode())
    ),
    "environments": st.tuples(plain_calls, environments, without),
    "arguments": st.tuples(argument_lists | argument_lists_of_processes, st.just({}), without),
}
KINDS: dict[str, Callable[[], Iterator[Attempt]]] = {
    "packs": lambda: attempts("mutated_packs.py", count=3000),
    "journals": lambda: attempts("mutated_journals.py", count=850),
    "models": lambda: attempts("mutated_models.py", count=250),
    **{kind: (lambda kind=kind: called(drawn(CALLS[kind], 100))) for kind in CALLS},  # type: ignore[misc]
}


@dataclasses.dataclass
class Row:
    """What the attempts of one kind came to."""

    kind: str
    n: int = 0
    accepted: int = 0
    refused: int = 0
    tracebacks: int = 0
    hangs: int = 0
    slowest_s: float = 0.0
    peak_mb: float = 0.0

    def add(self, attempt: Attempt) -> None:
        """Count an attempt."""
        self.n += 1
        self.accepted += attempt.outcome == ACCEPTED
        self.refused += attempt.outcome == REFUSED
        self.tracebacks += attempt.outcome == TRACEBACK
        self.hangs += attempt.outcome == HANG
        self.slowest_s = max(self.slowest_s, attempt.cpu_s)
        self.peak_mb = max(self.peak_mb, attempt.peak_mb)

    @property
    def bad(self) -> bool:
        """Whether there was a fault, or too much memory."""
        return bool(self.tracebacks or self.hangs) or self.peak_mb > MAX_MB

    def __str__(self) -> str:
        counts = (self.n, self.accepted, self.refused, self.tracebacks, self.hangs)
        numbers = "".join(f"{count:>12}" for count in counts)
        return f"{self.kind:<14}{numbers}{self.slowest_s:>12.1f}{self.peak_mb:>12.0f}"


HEADER = f"{'mutated':<14}" + "".join(
    f"{name:>12}" for name in ("tries", "accepted", "refused", "tracebacks", "hangs", "slowest s", "peak MB")
)


def drawn(strategy: st.SearchStrategy[Value], count: int) -> list[Value]:
    """Return different values of a strategy, the same in each run."""
    values: dict[str, Value] = {}

    @seed(0)
    @settings(
        max_examples=4 * count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(value: Value) -> None:
        values.setdefault(repr(value), value)

    collect()
    return list(values.values())[:count]


def called(calls: Iterable[Call]) -> Iterator[Attempt]:
    """Yield what happens to calls of the command line."""
    for number, (argv, env, configuration) in enumerate(calls):
        ended = call(argv, env, configuration)
        reason = fault(argv, ended)
        outcome = REFUSED if ended.code else ACCEPTED
        if ended.code is None or ended.cpu_s > MAX_S:
            outcome = HANG
        elif reason:
            outcome = TRACEBACK
        detail = f"{argv} {env} {configuration!r}: {reason}\n{ended.err}"
        yield Attempt(number, outcome, ended.cpu_s, ended.peak_mb, detail)


def main() -> int:
    """Make the attacks; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(prog="script/fuzz --attacks", description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)} (default: all)")
    args = parser.parse_args()
    if unknown := set(args.kinds) - set(KINDS):
        parser.error(f"no such kind: {', '.join(sorted(unknown))}")
    rows, start_s = [], time.monotonic()
    print(HEADER)
    for kind in args.kinds or KINDS:
        row = Row(kind)
        for attempt in KINDS[kind]():
            row.add(attempt)
            if attempt.outcome in (TRACEBACK, HANG):
                print(f"{kind} {attempt.number}: {attempt.outcome}\n{attempt.detail[:2000]}", file=sys.stderr)
        rows.append(row)
        print(row, flush=True)
    bad = any(row.bad for row in rows)
    if not args.kinds and not bad:
        OUTPUT.write_text(report(rows, time.monotonic() - start_s), encoding="utf-8")
        print(f"written to {OUTPUT.relative_to(ROOT)}")
    return 1 if bad else 0


def report(rows: Iterable[Row], took_s: float) -> str:
    """Return the header and the table."""
    now = datetime.datetime.now(datetime.timezone.utc)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    lines = [
        f"overheard under script/fuzz --attacks, {now:%Y-%m-%d %H:%M} UTC, took {took_s / 60:.0f} minutes",
        f"this machine   {platform.machine()}, {os.cpu_count()} processors, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"commit         {commit or 'unknown'}",
        "",
        HEADER,
        *map(str, rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
