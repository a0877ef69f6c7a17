"""SIGKILL `overheard index` and `overheard listen`; for torture.py."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from torture_tools import (
    PATIENCE_S,
    PIECE_S,
    RNG,
    SILENT,
    Listening,
    Outcome,
    compose,
    differences,
    environment,
    overheard,
    reset,
    run,
)

from overheard.catalogue.pack import open_pack
from overheard.errors import PackError
from overheard.files import partials
from overheard.index.journal import Journal

N_FILES = 16  # that a run of `index` reads
WORKERS_END_S = 10.0  # after their parent


def index_killed(folder: Path, tries: int, _seconds: float) -> Outcome:
    """SIGKILL `index`: half the time at a random moment, half the time while it writes the pack."""
    outcome = Outcome("SIGKILL of index")
    n_files = min(N_FILES, 4 * tries)
    compose(folder / "music", range(n_files), 30.0)
    pack = folder / "data" / "packs" / "music.pack"
    command = overheard(folder / "data", "index", str(folder / "music"), "--jobs", "2")
    start_s = time.monotonic()
    run(command)
    length_s, expected, key = time.monotonic() - start_s, contents(pack), journal_key(pack)
    reset(pack)
    n_saved = n_complete = 0
    for number in range(tries):
        process = subprocess.Popen(command, env=environment(), start_new_session=True, **SILENT)
        wait_for_moment(process, pack, number % 2 == 1, length_s)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        outcome.tries += 1
        outcome.lost(*left_behind(process.pid))
        if pack.exists():
            n_saved, n_complete = 0, n_complete + 1
            outcome.lost(*altered(pack, expected))
            if journal_path(pack).exists():
                run(command)
                outcome.lost(*altered(pack, expected))
            reset(pack)
        else:
            n_saved, reasons = saved_tracks(pack, key, n_saved)
            outcome.lost(*reasons)
    run(command)
    outcome.lost(*altered(pack, expected))
    outcome.facts.append(f"{n_files} files, 2 workers; the new pack was already there {n_complete} times")
    return outcome


def listen_killed(folder: Path, tries: int, _seconds: float) -> Outcome:
    """SIGKILL `listen` at a random moment after it printed a play."""
    outcome = Outcome("SIGKILL of listen")
    data, history = folder / "data", folder / "data" / "history.sqlite"
    pieces = compose(folder / "music", range(100, 104), PIECE_S)
    run(overheard(data, "index", str(folder / "music")))
    n_printed = 0
    for number in range(tries):
        listening = Listening(data, pieces)
        if listening.wait_for(lambda: bool(listening.plays("play_started"))) is None:  # noqa: B023
            outcome.lost(f"no play in try {number}: {listening.messages}")
        time.sleep(RNG.uniform(0, 3))
        listening.kill()
        outcome.tries += 1
        n_printed += len(listening.plays("play_started"))
        outcome.lost(
            *listening.faults(), *differences(listening.events, history, killed=True), *unsound(history)
        )
    outcome.facts.append(f"{n_printed} plays printed")
    return outcome


def wait_for_moment(process: subprocess.Popen[bytes], pack: Path, at_end: bool, length_s: float) -> None:
    """Wait until the pack is being written, or for a random part of the length of a run."""
    if not at_end:
        time.sleep(RNG.uniform(0.1, 1.0) * length_s)
        return
    while process.poll() is None and not partials(pack) and not pack.exists():
        time.sleep(0.0005)
    time.sleep(RNG.choice((0.0, RNG.uniform(0, 0.03))))


def contents(pack: Path) -> dict[str, bytes]:
    """Return the fingerprint of each track by its path."""
    return {e.path: e.packed_cells.tobytes() + e.codes.tobytes() for e in open_pack(pack).entries()}


def altered(pack: Path, expected: dict[str, bytes]) -> list[str]:
    """Return a reason if the pack is not the one of a run that nothing interrupts."""
    try:
        return [] if contents(pack) == expected else [f"{pack.name} has other tracks"]
    except PackError as error:
        return [str(error)]


def journal_path(pack: Path) -> Path:
    """Return the file in which `index` saves tracks until the pack is written."""
    return pack.with_name(f"{pack.stem}.indexing.sqlite")


def journal_key(pack: Path) -> str:
    """Return the key of the journal: the model and the length of its codes."""
    opened = open_pack(pack)
    return f"{opened.digest}/{opened.code_bytes}"


def saved_tracks(pack: Path, key: str, n_before: int) -> tuple[int, list[str]]:
    """Return how many tracks are saved, and what is wrong with the journal; `n_before` were saved before."""
    if not journal_path(pack).exists():
        return 0, ["the journal is gone"] if n_before else []
    with closing(Journal(journal_path(pack), key)) as journal:
        n_now = sum(1 for _ in journal.tracks())
        reasons = list(journal.notes)
    if n_now < n_before:
        reasons.append(f"{n_before} tracks were saved, now {n_now}")
    return n_now, reasons


def left_behind(group: int) -> list[str]:
    """Return a reason if processes of a group run on, although their parent was killed."""
    end_s = time.monotonic() + WORKERS_END_S
    while running := members(group):
        if time.monotonic() > end_s:
            os.killpg(group, signal.SIGKILL)
            return [f"{len(running)} processes run on"]
        time.sleep(0.05)
    return []


def members(group: int) -> list[int]:
    """Return the running processes of a group; zombies have ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, its_group = path.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):  # it ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


def unsound(history: Path) -> list[str]:
    """Return a reason if SQLite finds the history damaged, or if it was moved aside as damaged."""
    reasons = [path.name for path in history.parent.glob(f"{history.name}.damaged-*")]
    # Read-only, so that the next `listen` finds what the killed one left, not what closing makes of it.
    with closing(sqlite3.connect(f"{history.as_uri()}?mode=ro", uri=True)) as db:
        ((state,),) = db.execute("PRAGMA integrity_check(1)")
    return reasons if state == "ok" else [*reasons, state]
