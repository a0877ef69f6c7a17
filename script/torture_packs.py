"""Change a pack while `overheard listen` searches it; for torture.py."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from torture_tools import RNG, Listening, Outcome, compose, overheard, reset, run

NEW_PACK_S = 30.0  # within which a new pack must be in use
SPEED = 5.0  # of the music
UNTIL_NEXT_S = 8.0  # at most, from damage to the next pack; `listen` looks at the files every 3 s

# Writes a file over another one as `cp` does, slowly.
SLOW_COPY = """
import sys, time
data = open(sys.argv[1], "rb").read()
with open(sys.argv[2], "r+b") as file:
    file.truncate()
    print("begun", flush=True)
    for start in range(0, len(data), 512):
        file.write(data[start : start + 512])
        file.flush()
        time.sleep(0.05)
"""


def packs_changed(folder: Path, tries: int, _seconds: float) -> Outcome:
    """Change a pack in five ways while `listen` runs, and wait for a track of the new one."""
    outcome = Outcome("pack changed while listening")
    data, pack = folder / "data", folder / "data" / "packs" / "music.pack"
    collections, packs = [], []
    for number in range(2):
        collections.append(
            compose(folder / f"music{number}", range(200 + 3 * number, 203 + 3 * number), 40.0)
        )
        run(overheard(data, "index", str(folder / f"music{number}")))
        packs.append(pack.rename(folder / f"{number}.pack"))
        reset(pack)
    shutil.copyfile(packs[0], pack)
    listening = Listening(data, collections[0], SPEED)
    longest_s, ways = 0.0, [copied, renamed, removed, truncated, half_copied]
    for number in range(tries):
        way, new = ways[number % len(ways)], (number + 1) % 2
        way(packs[new], pack)
        listening.pieces = collections[new]
        titles = {path.stem for path in (folder / f"music{new}").iterdir()}
        n_before = len(listening.events)

        def heard(titles: set[str] = titles, n_before: int = n_before) -> bool:
            new_events = listening.events[n_before:]
            return any(
                e["event"] == "play_started" and e["play"]["track"]["title"] in titles for e in new_events
            )

        took_s = listening.wait_for(heard)
        outcome.tries += 1
        if took_s is None:
            outcome.lost(f"{way.__name__}: not in use: {listening.messages[-3:]}")
            break
        if took_s > NEW_PACK_S:
            outcome.lost(f"{way.__name__}: in use after {took_s:.0f} s")
        longest_s = max(longest_s, took_s)
    listening.end()
    outcome.lost(*listening.faults())
    outcome.facts.append(f"recognized a track of the new pack after {longest_s:.0f} s at most")
    return outcome


def copied(new: Path, pack: Path) -> None:
    """Overwrite the pack, as `cp` does."""
    shutil.copyfile(new, pack)


def renamed(new: Path, pack: Path) -> None:
    """Replace the pack by rename, as `mv` does."""
    shutil.copyfile(new, pack.with_suffix(".new"))
    pack.with_suffix(".new").replace(pack)


def removed(new: Path, pack: Path) -> None:
    """Remove the pack, and copy another one there after some seconds."""
    pack.unlink()
    time.sleep(RNG.uniform(0, UNTIL_NEXT_S))
    shutil.copyfile(new, pack)


def truncated(new: Path, pack: Path) -> None:
    """Cut the pack off, and copy another one over it after some seconds."""
    os.truncate(pack, RNG.integers(pack.stat().st_size))
    time.sleep(RNG.uniform(0, UNTIL_NEXT_S))
    shutil.copyfile(new, pack)


def half_copied(new: Path, pack: Path) -> None:
    """SIGKILL a program that overwrites the pack, and rename another pack over it after some seconds."""
    command = [sys.executable, "-c", SLOW_COPY, str(new), str(pack)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(RNG.uniform(0, 0.4))
        process.kill()
    time.sleep(RNG.uniform(0, UNTIL_NEXT_S))
    renamed(new, pack)
