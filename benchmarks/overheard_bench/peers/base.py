"""The interface of a peer, its data types, and helpers that run a peer's program and read its output."""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

MIN_SCORE = 1  # scores are whole numbers; a program reports only matches above a minimum of its own
TAIL_LINES, TAIL_CHARACTERS = 3, 400  # of a failed program's output: enough for its last error message


class PeerError(Exception):
    """A peer gave no usable answers: it crashed, ran too long, or printed something unexpected."""


@dataclass(frozen=True)
class Setting:
    """One way to run a peer: its name in the results, and the options that differ from the defaults."""

    name: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Features:
    """What a program offers to its user without additional code."""

    offline: bool  # indexes and identifies without a network
    own_music: bool  # builds an index from the user's files
    always_on: bool  # identifies a microphone's signal continuously


@dataclass(frozen=True)
class Candidate:
    """A peer's match for one query."""

    track: str  # the stem of the track's file
    score: float
    offset_s: float  # position in the track at the start of the query


Answers = dict[str, Candidate | None]  # by the stem of the query's file; None: no match


class Peer(abc.ABC):
    """A program that indexes audio files and identifies excerpts of them.

    Parameters
    ----------
    command : the program and its leading arguments
    jobs : number of processes or threads that the program may use
    timeout_s : time limit of one run of the program
    """

    name: ClassVar[str]
    variable: ClassVar[str]  # environment variable that holds the command
    commands: ClassVar[tuple[str, ...]]  # searched on the PATH
    how_to_install: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]]
    features: ClassVar[Features]

    def __init__(self, command: Sequence[str], jobs: int, timeout_s: float) -> None:
        self.command = tuple(command)
        self.jobs = jobs
        self.timeout_s = timeout_s

    def version(self) -> str | None:
        """Return the program's version, None if it cannot print one."""
        return None

    @abc.abstractmethod
    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Index the tracks into a new database under `folder`; return its size in bytes. Raises PeerError."""

    @abc.abstractmethod
    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Look up each query in the database that `store` wrote. Raises PeerError."""

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        success: Sequence[int] = (0,),
    ) -> subprocess.CompletedProcess[str]:
        """Run the program in `folder` and return its output.

        Raises
        ------
        PeerError
            The program does not start, exceeds the time limit, or its exit code is not in `success`.
        """
        action = f"{self.name} {arguments[0]}"
        try:
            process = self._start(arguments, folder, environment or {})
        except OSError as error:
            raise PeerError(f"{self.name} does not start: {error}") from error
        with process:
            try:
                out, errors = process.communicate(timeout=self.timeout_s)
            except subprocess.TimeoutExpired:
                _kill_group(process)
                last = tail(process.communicate()[1])
                raise PeerError(f"{action} took more than {self.timeout_s:g} s (--timeout): {last}") from None
            except KeyboardInterrupt:
                _kill_group(process)
                raise
        if process.returncode not in success:
            raise PeerError(f"{action} failed (exit code {process.returncode}): {tail(errors or out)}")
        return subprocess.CompletedProcess(process.args, process.returncode, out, errors)

    def _start(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *arguments],
            cwd=folder,
            env=os.environ | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # its own process group, so that its children can be killed with it
        )

    def unexpected(self, line: str) -> PeerError:
        """Return the error for a line of output in an unknown format."""
        return PeerError(f"{self.name} printed an unexpected line: {line!r}")

    def best_of_each(
        self, matches: Iterable[tuple[str, Candidate | None]], queries: Sequence[Path]
    ) -> Answers:
        """Keep the match with the highest score for each query; the first one if scores are equal.

        Raises
        ------
        PeerError
            A query has no answer, not even "no match".
        """
        answers: Answers = {}
        for query, candidate in matches:
            best = answers.setdefault(query, candidate)
            if candidate is not None and (best is None or candidate.score > best.score):
                answers[query] = candidate
        missing = [path.stem for path in queries if path.stem not in answers]
        if missing:
            raise PeerError(
                f"{self.name} did not answer {len(missing)} of {len(queries)} queries, "
                f"the first is {missing[0]}"
            )
        return answers


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def tail(text: str) -> str:
    """Return the last lines of a program's output, joined to one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-TAIL_LINES:])[-TAIL_CHARACTERS:] or "no output"


def write_list(path: Path, files: Iterable[Path]) -> Path:
    """Write the paths of files, one per line."""
    path.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    return path


def stored_bytes(files: Iterable[Path]) -> int:
    """Return the total size of files in bytes."""
    return sum(file.stat().st_size for file in files)
