"""What every peer is to the benchmark, and how its commands are found, run and read."""

from __future__ import annotations

import abc
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

# What panako's own start script passes: lmdbjava needs it on Java 16 and later.
JAVA = (
    "java",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "-jar",
)
LEAST_SCORE = 1  # every peer's score counts hashes
TAIL_LINES, TAIL_CHARACTERS = 3, 400


class PeerError(Exception):
    """Why a peer gave no answers: it crashed, took too long, or said something that cannot be understood."""


@dataclass(frozen=True)
class Setting:
    """One way of running a peer, with the options that differ from its defaults."""

    name: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A peer's best match for one query. `offset_s` is where in the track the query begins."""

    track: str  # the stem of its file
    score: float
    offset_s: float


Answers = dict[str, Candidate | None]  # by the stem of the query's file; None: nothing found


class Peer(abc.ABC):
    """A program that indexes files and names what other files are a part of."""

    name: ClassVar[str]
    variable: ClassVar[str]  # the environment's name for the command
    commands: ClassVar[tuple[str, ...]]  # looked for on the PATH
    how_to_install: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]]

    def __init__(self, command: Sequence[str], jobs: int, timeout_s: float) -> None:
        self.command = tuple(command)
        self.jobs = jobs
        self.timeout_s = timeout_s

    def version(self) -> str | None:
        """Return what the program calls itself, None where it has no way to say."""
        return None

    @abc.abstractmethod
    def store(self, setting: Setting, tracks: Sequence[Path], folder: Path) -> int:
        """Index the tracks into a new database under the folder; return its bytes. Raises PeerError."""

    @abc.abstractmethod
    def query(self, setting: Setting, queries: Sequence[Path], folder: Path) -> Answers:
        """Ask that database for each query. Raises PeerError."""

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the program in the folder and return its output. Raises PeerError."""
        what = f"{self.name} {arguments[0]}"
        try:
            process = self._start(arguments, folder, environment or {})
        except OSError as error:
            raise PeerError(f"{self.name} does not start: {error}") from error
        with process:
            try:
                out, errors = process.communicate(timeout=self.timeout_s)
            except subprocess.TimeoutExpired:
                _end(process)
                said = tail(process.communicate()[1])
                raise PeerError(f"{what} took more than {self.timeout_s:g} s (--timeout): {said}") from None
            except KeyboardInterrupt:
                _end(process)
                raise
        if process.returncode != 0:
            raise PeerError(f"{what} failed (exit code {process.returncode}): {tail(errors or out)}")
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
            start_new_session=True,  # so that what it starts itself can be ended with it
        )

    def not_understood(self, line: str) -> PeerError:
        """Return the error for a line of output that has no known form."""
        return PeerError(f"{self.name} printed a line that is not understood: {line!r}")

    def complete(self, found: Iterable[tuple[str, Candidate | None]], queries: Sequence[Path]) -> Answers:
        """Keep the best candidate of each query, the first of equals; each query must have been answered."""
        answers: Answers = {}
        for query, candidate in found:
            best = answers.setdefault(query, candidate)
            if candidate is not None and (best is None or candidate.score > best.score):
                answers[query] = candidate
        missing = [path.stem for path in queries if path.stem not in answers]
        if missing:
            raise PeerError(
                f"{self.name} gave no answer to {len(missing)} of {len(queries)} queries, "
                f"the first {missing[0]}"
            )
        return answers


def find_command(peer: type[Peer], given: str | None) -> tuple[str, ...] | None:
    """Return a peer's command: the option, else the environment's, else what is on the PATH.

    A given one is a path or a whole command line; a `.py` file is run by this Python, a `.jar` by java.

    Raises
    ------
    FileNotFoundError
        The command that the option or the environment names does not exist.
    """
    text = given or os.environ.get(peer.variable)
    if not text:
        found = next(filter(None, map(shutil.which, peer.commands)), None)
        return None if found is None else _runnable([found])
    path = Path(text).expanduser()
    command = _runnable([str(path)] if path.is_file() else shlex.split(text))
    scripts = [word for word in command if word.endswith((".py", ".jar"))]
    if shutil.which(command[0]) is None or not all(Path(script).is_file() for script in scripts):
        raise FileNotFoundError(f"{peer.name}: there is no command {text!r}")
    return command


def _runnable(command: Sequence[str]) -> tuple[str, ...]:
    """Make files absolute, for it runs in another folder, and put what runs them before them."""
    # Links stay: the Python of a virtual environment is one.
    words = [str(Path(word).absolute()) if Path(word).is_file() else word for word in command]
    if words[0].endswith(".py"):
        return (sys.executable, *words)
    if words[0].endswith(".jar"):
        return (*JAVA, *words)
    return tuple(words)


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def tail(text: str) -> str:
    """Return the last lines of what a program said, as one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-TAIL_LINES:])[-TAIL_CHARACTERS:] or "it said nothing"


def write_list(path: Path, files: Iterable[Path]) -> Path:
    """Write a list of files, one a line."""
    path.write_text("".join(f"{file}\n" for file in files), encoding="utf-8")
    return path


def stored_bytes(files: Iterable[Path]) -> int:
    """Return the bytes of all files."""
    return sum(file.stat().st_size for file in files)
