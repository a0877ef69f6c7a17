"""Fill the disk and lock the history while `overheard listen` runs; for torture.py."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from torture_tools import PATIENCE_S, PIECE_S, Listening, Outcome, compose, differences, overheard, run

SPEED = 5.0  # of the music
SMALL_DISK = "16m"

LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def disk_full(folder: Path, _tries: int, seconds: float) -> Outcome:
    """Fill the disk of the history while `listen` runs."""
    with contextlib.ExitStack() as stack:
        if os.getuid() == 0 and not subprocess.run(mounting(folder), capture_output=True).returncode:
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
            outcome = Outcome(f"disk full for {seconds:.0f} s", facts=[f"a tmpfs of {SMALL_DISK}"])
            return disturbed(outcome, folder, seconds, lambda _: filled(folder))
        outcome = Outcome(
            f"disk full for {seconds:.0f} s", facts=["RLIMIT_FSIZE, because mounting needs root"]
        )
        return disturbed(outcome, folder, seconds, size_limited)


def history_locked(folder: Path, _tries: int, seconds: float) -> Outcome:
    """Lock the history while `listen` runs."""
    outcome = Outcome(f"history locked for {seconds:.0f} s")
    return disturbed(outcome, folder, seconds, lambda _: locked(folder / "data" / "history.sqlite"))


def disturbed(
    outcome: Outcome,
    folder: Path,
    seconds: float,
    disturbance: Callable[[Listening], contextlib.AbstractContextManager[None]],
) -> Outcome:
    """Disturb a running `listen` for some seconds; then compare the history with what it printed."""
    data = folder / "data"
    pieces = compose(folder / "music", range(300, 303), PIECE_S)
    run(overheard(data, "index", str(folder / "music")))
    listening = Listening(data, pieces, SPEED)
    if listening.wait_for(lambda: bool(listening.plays("play_ended"))) is None:
        outcome.lost(f"no play: {listening.messages}")
    n_before = len(listening.plays("play_ended"))
    with disturbance(listening):
        listening.wait_for(lambda: False, seconds)
        n_during = len(listening.plays("play_ended")) - n_before
    listening.wait_for(lambda: any("can be written again" in line for line in listening.messages), PATIENCE_S)
    n_so_far = len(listening.plays("play_ended"))
    listening.wait_for(lambda: len(listening.plays("play_ended")) > n_so_far)
    listening.end()
    outcome.tries = 1
    if not any("kept in memory" in line for line in listening.messages):
        outcome.lost("the disturbance was not noticed")
    outcome.lost(*listening.faults(), *differences(listening.events, data / "history.sqlite"))
    n_plays = len(listening.plays("play_ended"))
    outcome.facts.append(f"{n_plays} plays, {n_during} of them ended meanwhile")
    return outcome


def mounting(folder: Path) -> list[str]:
    """Return the command that mounts a small disk."""
    return ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]


@contextlib.contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fill the disk."""
    path = folder / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 12))
    try:
        yield
    finally:
        path.unlink()


@contextlib.contextmanager
def size_limited(listening: Listening) -> Iterator[None]:
    """Let the process write no byte into files."""
    pid = listening.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        if listening.process.poll() is None:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def locked(history: Path) -> Iterator[None]:
    """Lock the history, as a program that writes to it does."""
    command = [sys.executable, "-c", LOCK, str(history)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.communicate()
