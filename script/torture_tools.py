"""Music that goes into `overheard listen`, the process that listens, and what it printed; for torture.py."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from overheard.demo.synth import Piece, synthesize, write_wav
from overheard.fingerprint.model import DEFAULT_MODEL
from overheard.hear.resampler import to_int16
from overheard.hear.source import SAMPLE_RATE
from overheard.history.writer import read_plays

EXCERPT_S, PAUSE_S = 8.0, 4.0
PIECE_S = 24.0  # of the music that `listen` hears: three excerpts
SETTINGS = "[track]\ngap_s = 2.0\n"  # so that each excerpt is a play
PATIENCE_S = 600.0  # for a busy computer
BLOCK_S = 0.25
RNG = np.random.default_rng()  # of the moments at which something happens
SILENT: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


def compose(folder: Path, seeds: Sequence[int], duration_s: float) -> list[Piece]:
    """Synthesize pieces, and write each as a WAV file whose name and title are its number."""
    folder.mkdir(parents=True)
    pieces = [synthesize(seed, duration_s) for seed in seeds]
    for seed, piece in zip(seeds, pieces, strict=True):
        write_wav(folder / f"{seed}.wav", piece.waveform, tags={"INAM": str(seed)})
    return pieces


def overheard(data: Path, *arguments: str) -> list[str]:
    """Return a command line of overheard with a data folder of its own."""
    config = data / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(SETTINGS)
    return [sys.executable, "-m", "overheard", "--config", str(config), "--data-dir", str(data), *arguments]


def run(command: Sequence[str]) -> None:
    """Run a command, which must succeed."""
    subprocess.run(
        command, env=environment(), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def reset(pack: Path) -> None:
    """Remove a pack, and what `index` keeps beside it."""
    for path in pack.parent.glob(f"{pack.stem}*"):
        path.unlink()


def environment() -> dict[str, str]:
    """Return this process's environment with its import path, and without settings of the user."""
    path = os.pathsep.join(filter(None, sys.path))
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ} | {
        "PYTHONPATH": path,
        "OVERHEARD_MODEL": DEFAULT_MODEL,
    }


@dataclasses.dataclass
class Outcome:
    """How often something was tried, and each loss."""

    what: str
    tries: int = 0
    losses: list[str] = dataclasses.field(default_factory=list)
    facts: list[str] = dataclasses.field(default_factory=list)

    def lost(self, *reasons: str) -> None:
        """Count losses, and show them now."""
        for reason in reasons:
            print(f"LOST: {self.what}: {reason}", flush=True)
        self.losses += reasons


class Listening:
    """A running `overheard listen --json`, which gets an endless programme of music through a pipe.

    Parameters
    ----------
    data : folder of its packs and history
    pieces : that it hears; of each, excerpts
    speed : of the music, as a multiple of normal speed; 0 for as fast as it listens
    """

    def __init__(self, data: Path, pieces: Sequence[Piece], speed: float = 0.0) -> None:
        self.pieces = list(pieces)
        self._speed = speed
        self._silent = threading.Event()
        self.events: list[dict[str, Any]] = []
        self.messages: list[str] = []
        self.process = subprocess.Popen(
            overheard(data, "listen", "--input", "-", "--raw", "--json"),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._play, self._read_events, self._read_messages)
        ]
        for thread in self._threads:
            thread.start()

    def plays(self, event: str) -> list[dict[str, Any]]:
        """Return the printed events of one kind."""
        return [each for each in list(self.events) if each["event"] == event]

    def wait_for(self, condition: Callable[[], bool], limit_s: float = PATIENCE_S) -> float | None:
        """Return the seconds until the condition holds; None if it takes too long or the process ends."""
        start_s = time.monotonic()
        while not condition():
            if time.monotonic() - start_s > limit_s or self.process.poll() is not None:
                return None
            time.sleep(0.02)
        return time.monotonic() - start_s

    def kill(self) -> None:
        """Send SIGKILL, and read what was printed before."""
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def end(self) -> int:
        """Let the programme end, and wait for the exit code."""
        self._silent.set()
        self._end()
        return self.process.returncode

    def faults(self) -> list[str]:
        """Return a reason if the process failed: a traceback, or an exit code that is an error."""
        reasons = ["a traceback"] if any("Traceback" in line for line in self.messages) else []
        if self.process.returncode not in (0, None, -signal.SIGKILL):
            reasons.append(f"exit code {self.process.returncode}: {self.messages[-1:]}")
        return reasons

    def _end(self) -> None:
        self.process.wait(PATIENCE_S)
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _play(self) -> None:
        """Write excerpts with pauses between them, until the process or the programme ends."""
        pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.int16)
        try:
            with self.process.stdin as pipe:
                while not self._silent.is_set():
                    wave = self.pieces[int(RNG.integers(len(self.pieces)))].waveform
                    n_samples = round(EXCERPT_S * SAMPLE_RATE)
                    start = int(RNG.integers(len(wave) - n_samples))
                    excerpt = np.concatenate([to_int16(wave[start : start + n_samples]), pause])
                    for block in np.array_split(excerpt, round(len(excerpt) / SAMPLE_RATE / BLOCK_S)):
                        pipe.write(block.astype("<i2").tobytes())
                        pipe.flush()
                        time.sleep(BLOCK_S / self._speed if self._speed else 0.0)
        except (BrokenPipeError, ValueError):  # it was killed
            pass

    def _read_events(self) -> None:
        for line in self.process.stdout:
            if line.endswith(b"\n"):  # the last line may have been cut by the kill
                self.events.append(json.loads(line))

    def _read_messages(self) -> None:
        for line in self.process.stderr:
            self.messages.append(line.decode(errors="replace").rstrip())


def differences(events: Sequence[dict[str, Any]], history: Path, killed: bool = False) -> list[str]:
    """Compare what was printed with the history; return each difference.

    A play that was printed must have a row. If its end was printed, the row must have its last end; or a
    later one if `listen` was killed: a play that goes on after a pause is written before it is printed.
    """
    ends = collections.defaultdict(list)  # by start and track: a play can start where an empty one ended
    for row in read_plays(history)[0]:
        ends[row.started_at, row.track_id].append(row.ended_at)
    reasons, printed = [], {}
    for event in events:
        if event["event"] in ("play_started", "play_ended"):
            key = event["started_at"], event["play"]["track"]["id"]
            # A play that goes on after a pause is started again: its end is open until it is printed.
            printed[key] = event["ended_at"] if event["event"] == "play_ended" else ""
    for key, end in printed.items():
        if key not in ends:
            reasons.append(f"no row for the play at {key[0]}")
        elif end and end not in ends[key] and not (killed and max(ends[key]) > end):
            reasons.append(f"ended at {end}, in the history {', '.join(ends[key])}")
    return reasons
