"""Change a pack while `overheard listen` searches it, or kill commands that write packs; for torture.py."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from torture_kills import altered, contents
from torture_tools import (
    PATIENCE_S,
    PIECE_S,
    RNG,
    SILENT,
    Listening,
    Outcome,
    compose,
    environment,
    overheard,
    reset,
    run,
)

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
            compose(folder / f"music{number}", range(200 + 3 * number, 203 + 3 * number), PIECE_S)
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


def commands_killed(folder: Path, tries: int, _seconds: float) -> Outcome:
    """SIGKILL `packs merge`, `compact` and `export` at a random moment; the packs must stay complete.

    What each command reads has the same tracks before and after it, so each pack has one valid content.
    """
    outcome = Outcome("SIGKILL of packs merge ...")
    data, packs, shared = folder / "data", folder / "data" / "packs", folder / "shared.pack"
    for name in ("a", "b"):  # `a` gets a layer
        for seeds in ((300, 302), (302, 304)) if name == "a" else ((304, 306),):
            compose(folder / name / str(seeds[0]), range(*seeds), 20.0)
            run(overheard(data, "index", str(folder / name), "--pack", name))
    shutil.copytree(packs, folder / "before")
    tracks = {name: contents(packs / f"{name}.pack") for name in ("a", "b")}
    commands = {
        ("merge", "a", "b", "--into", "all"): (packs / "all.pack", tracks["a"] | tracks["b"]),
        ("compact", "a"): (packs / "a.pack", tracks["a"]),
        ("export", "a", str(shared), "--base", "/"): (shared, None),
    }
    n_finished = 0
    for number in range(tries):
        arguments, (result, expected) = list(commands.items())[number % len(commands)]
        command = overheard(data, "packs", *arguments)
        start_s = time.monotonic()
        run(command)
        length_s, expected = time.monotonic() - start_s, contents(result) if expected is None else expected
        restore(folder / "before", packs, shared)
        process = subprocess.Popen(command, env=environment(), **SILENT)
        time.sleep(RNG.uniform(0.3, 1.05) * length_s)
        process.send_signal(signal.SIGKILL)
        n_finished += process.wait(PATIENCE_S) == 0
        outcome.tries += 1
        for name in ("a", "b"):
            outcome.lost(*altered(packs / f"{name}.pack", tracks[name]))
        if result.exists():
            outcome.lost(*altered(result, expected))
            restore(folder / "before", packs, shared)
        run(command)
        outcome.lost(*altered(result, expected))
        restore(folder / "before", packs, shared)
    outcome.facts.append(f"{n_finished} ended before the kill")
    return outcome


def restore(before: Path, packs: Path, shared: Path) -> None:
    """Put the packs back as they were."""
    shutil.rmtree(packs)
    shutil.copytree(before, packs)
    shared.unlink(missing_ok=True)


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
