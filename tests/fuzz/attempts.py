"""Try one mutation after the other in a process of its own, and report each as a line of JSON."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import re
import resource
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

MAX_MB = 300  # of memory, at the peak
MAX_S = 5.0  # of processor time, per attempt
MAX_WALL_S = 60.0  # without an answer, on a busy machine
MAX_ADDRESSES_MB = 4096  # an allocation beyond this is a MemoryError
ACCEPTED, REFUSED, TRACEBACK, HANG = "accepted", "refused", "traceback", "hang"


@dataclasses.dataclass(frozen=True)
class Attempt:
    """What happened to one mutation.

    Attributes
    ----------
    outcome : ACCEPTED, REFUSED with one line, TRACEBACK, or HANG
    cpu_s : processor time
    peak_mb : the most memory that the process has had so far
    detail : the traceback
    """

    number: int
    outcome: str
    cpu_s: float
    peak_mb: float
    detail: str = ""


def repeat(prepare: Callable[[int], object], attempt: Callable[[], str]) -> None:
    """Make the attempts that the arguments of this program ask for, and print them.

    Parameters
    ----------
    prepare : writes the mutation with a number
    attempt : uses it, and returns ACCEPTED or REFUSED; any exception is a fault
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("first", type=int)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seconds", type=float, default=0.0, help="of processor time")
    args = parser.parse_args()
    end_s = time.process_time() + args.seconds
    for number in itertools.count(args.first):
        if args.count is None and time.process_time() >= end_s:
            return
        if args.count is not None and number >= args.first + args.count:
            return
        prepare(number)
        start_s, detail = time.process_time(), ""
        try:
            outcome = attempt()
        except Exception:  # noqa: BLE001 every one is counted
            outcome, detail = TRACEBACK, traceback.format_exc()
        cpu_s = time.process_time() - start_s
        done = Attempt(number, HANG if cpu_s > MAX_S else outcome, cpu_s, peak_memory_mb(), detail)
        print(json.dumps(dataclasses.asdict(done)), flush=True)


def refusal(message: str) -> str:
    """Return REFUSED if a message has one line; it is a fault otherwise."""
    if "\n" in message:
        raise ValueError(f"more than one line: {message}")
    return REFUSED


def peak_memory_mb() -> float:
    """Return this program's peak; `ru_maxrss` would include that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 1024  # type: ignore[index]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def attempts(worker: str, *, count: int | None = None, seconds: float = 0.0) -> Iterator[Attempt]:
    """Yield what a program of this folder reports: so many attempts, or those of so many seconds.

    A program that crashes or gives no answer is started again with the next number.
    """
    number = 0
    while count is None or number < count:
        amount = ("--seconds", seconds) if count is None else ("--count", count - number)
        command = [sys.executable, Path(__file__).parent / worker, number, *amount]
        process = subprocess.Popen(
            [str(word) for word in command],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            preexec_fn=_limit_addresses,
        )
        with process:
            for line in _answers(process):
                yield Attempt(**json.loads(line))
                number += 1
            ended = process.poll() is not None or _ends(process)
            process.kill()
        if not ended:
            yield Attempt(number, HANG, MAX_WALL_S, 0.0, f"no answer for {MAX_WALL_S:.0f} s")
        elif process.returncode:
            yield Attempt(number, TRACEBACK, 0.0, 0.0, f"ended with {process.returncode}")
        elif count is None:
            return
        number += 1


def _answers(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield the lines of a program until it ends, or until it prints none for too long."""
    assert process.stdout is not None
    file, rest = process.stdout.fileno(), b""
    while select.select([file], [], [], MAX_WALL_S)[0]:
        read = os.read(file, 1 << 16)
        if not read:
            return
        *lines, rest = (rest + read).split(b"\n")
        yield from lines


def _ends(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(MAX_WALL_S / 10)
    except subprocess.TimeoutExpired:
        return False
    return True


def _limit_addresses() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESSES_MB << 20, MAX_ADDRESSES_MB << 20))
