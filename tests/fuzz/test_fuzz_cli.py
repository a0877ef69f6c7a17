"""Run the command line with random arguments, environments and configuration files.

Every run ends within a time limit, in success or with a message of one line: never with a traceback and
never in silence. `OVERHEARD_FUZZ_SECONDS` sets how long to search; `script/fuzz` sets it.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import pytest
from attempts import MAX_MB
from calls import (
    LONG,
    Ended,
    argument_lists,
    argument_lists_of_processes,
    call,
    configurations,
    environments,
    fault,
    fill,
    model_settings,
)
from hypothesis import HealthCheck, example, given, settings

from overheard import cli

SECONDS = float(os.environ.get("OVERHEARD_FUZZ_SECONDS", "0"))
SUITE_SECONDS = 10.0  # without the variable
LIMIT_S = 20.0  # of one run, on a busy machine
CPU_LIMIT_S = 10.0  # of a process and its workers, which import NumPy and SciPy


class TooSlowError(BaseException):
    """A run that exceeds its time limit; not an Exception, which the program may catch."""


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run(argv: Sequence[str]) -> Ended:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        Path(os.devnull).open(encoding="utf-8") as nothing,
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        time_limit(),
    ):
        patch.setattr(sys, "stdin", nothing)
        try:
            code = cli.main(argv)
        except SystemExit as error:
            code = int(error.code or 0)
    return Ended(code, out.getvalue(), err.getvalue(), 0.0, 0.0)


deadline = time.monotonic()


@pytest.fixture(autouse=True, scope="module")
def budget() -> None:
    global deadline
    deadline = time.monotonic() + (SECONDS or SUITE_SECONDS)


@settings(
    max_examples=int(SECONDS * 100) or 400,
    deadline=None,
    derandomize=not SECONDS,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(argument_lists, environments, configurations)
@example(["history", "--limit", "1" + "0" * 23], {}, b"")
@example(["packs"], {"OVERHEARD_CONFIG": "fifo"}, b"")
@example(["packs"], {"OVERHEARD_DATA_DIR": LONG}, b"")
@example(["config"], {"HOME": "~nosuchuser"}, b'data_dir = "~"')
@example(["index", "--pack", "starter", "folder"], {}, b"")
@example(["packs", "list"], {}, b'model = "no\\u0000"')
@example(["history", "--csv"], {}, b'data_dir = "words.mp3"')
def test_any_call_succeeds_or_says_why(argv: list[str], env: dict[str, str], configuration: bytes) -> None:
    if time.monotonic() > deadline:
        return
    with (
        tempfile.TemporaryDirectory() as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        folder = Path(name)
        fill(folder, configuration)
        patch.chdir(folder)
        for variable in ("OVERHEARD_CONFIG", "OVERHEARD_DATA_DIR"):
            patch.delenv(variable, raising=False)
        patch.setenv("XDG_DATA_HOME", str(folder))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "default"))
        for variable, value in env.items():
            patch.setenv(variable, value)
        ended = run(argv)
    assert not fault(argv, ended)


@settings(
    max_examples=int(SECONDS * 5) or 40,
    deadline=None,
    derandomize=not SECONDS,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(
    argument_lists_of_processes, environments, configurations | model_settings.map(lambda text: text.encode())
)
@example(["packs"], {}, b'model = "fifo"')
@example(["identify", "words.mp3"], {}, b'model = "fifo"')
@example(["index", "folder"], {}, b'model = "fifo"')
@example(["index", "fifo"], {}, b"")
@example(["identify", "fifo"], {}, b"")
@example(["index", ".", "--jobs", "1"], {}, b"")
def test_commands_that_read_audio_or_packs_succeed_or_say_why(
    argv: list[str], env: dict[str, str], configuration: bytes
) -> None:
    if time.monotonic() > deadline + (SECONDS or SUITE_SECONDS):
        return
    ended = call(argv, env, configuration)
    assert not fault(argv, ended)
    assert ended.cpu_s < CPU_LIMIT_S
    assert ended.peak_mb < MAX_MB
