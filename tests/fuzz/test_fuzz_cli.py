"""Run the command line with random arguments, environments and configuration files.

Every run ends within a time limit, in success or with a message of one line: never with a traceback and
never in silence. `OVERHEARD_FUZZ_SECONDS` sets how long to search; `script/fuzz` sets it.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from overheard import cli
from overheard.settings import Settings, fields

SECONDS = float(os.environ.get("OVERHEARD_FUZZ_SECONDS", "0"))
SUITE_SECONDS = 15.0  # without the variable
LIMIT_S = 20.0  # of one run, on a busy machine
WALL_LIMIT_S = 120.0  # of a process and its workers, which import NumPy and SciPy, on a very busy machine
CPU_LIMIT_S = 10.0
MAX_MB = 300
LONG = "x" * 5000
NAMES = [name for name, _, _ in fields(Settings())]
STRANGE = (
    *("", " ", "-", "--", "~nosuchuser", "~nosuchuser/x", LONG, "é" * 150, "1" + "0" * 23, "9" * 5000, "-1"),
    *("1e400", "nan", "0", "yesterday", "9999-12-31", "0001-01-01", "\x1b[2J", "a\nb", "\u202e", "\udcff"),
    *("fifo", "folder", "config.toml", "words.mp3", "folder/words.mp3/x", ".", "=1", "%s", "{0}", "starter"),
)
OPTIONS = (
    *("--json", "--csv", "--limit", "--since", "--pack", "--jobs", "--compact", "--defaults", "--path"),
    *("--config", "--data-dir", "--verbose", "-v", "-h", "--help", "--version", "list", "remove", "--x"),
)
# The others take long, need devices, or read audio. Some of them run in processes of their own, below; here
# they get what they refuse.
ENVIRONMENT = ("HOME", "OVERHEARD_CONFIG", "OVERHEARD_DATA_DIR", "COLUMNS", "LANG", "TERM")
COMMANDS = ("config", "history")
OWN_PROCESS = ("packs", "index", "identify")
REFUSED = (["demo", "--seed", "-1"], ["listen", "--inputs"], ["doctor", "x"], ["devices", "x"])
EXPECTED = ("overheard: ", "usage: ", " ", "note: ", "1 file could not", "2 files could not")

# No absolute path: what a run writes or removes must be in the folder of the test.
words = st.sampled_from(STRANGE) | st.text(
    st.characters(exclude_characters="\0/~", exclude_categories=["Cs"]), max_size=20
)
arguments = st.lists(st.sampled_from(OPTIONS) | words, max_size=5)
argument_lists = st.one_of(
    st.builds(lambda name, rest: [name, *rest], st.sampled_from(COMMANDS), arguments),
    st.builds(
        lambda first, name, rest: [*first, name, *rest], arguments, st.sampled_from(COMMANDS), arguments
    ),
    st.builds(lambda first, last: [*first, *last], st.sampled_from(REFUSED), arguments),
)
environments = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(ENVIRONMENT, words),
)
values = st.one_of(
    st.sampled_from(
        ("1", "-1", "nan", "-inf", "1e400", "true", "[]", '["a"]', '["\\u0000"]', "1979-05-27", "{}", '"~x"')
    ),
    st.sampled_from(("9" * 5000, "0x" + "f" * 5000, "[" * 30_000, "[" * 300 + "]" * 300, f'"{LONG}"')),
    st.integers().map(str),
    st.text(max_size=10),
)
lines = st.builds(lambda name, value: f"{name} = {value}", st.sampled_from(NAMES) | words, values)
configurations = st.one_of(
    st.just(b""),
    st.binary(max_size=50),
    st.lists(lines, max_size=3).map(lambda rows: "\n".join(rows).encode(errors="replace")),
)


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


def run(argv: Sequence[str]) -> tuple[int, str, str]:
    """Run the command line in this process; return its exit code and its output."""
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
    return code, out.getvalue(), err.getvalue()


def fill(folder: Path, configuration: bytes) -> None:
    """Create what the arguments name: a file that is no audio, a folder, a named pipe, the configuration."""
    (folder / "words.mp3").write_text("no audio")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    for name in ("config.toml", "default/overheard/config.toml"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(configuration)


argument_lists_of_processes = st.builds(
    lambda name, rest: [name, *rest], st.sampled_from(OWN_PROCESS), arguments
)
model_settings = st.sampled_from(
    [
        *(f'model = "{name}"' for name in ("fifo", "folder", "words.mp3", "missing.json", "~nosuchuser/x")),
        *('packs = ["fifo"]', 'data_dir = "fifo"', 'data_dir = "folder"', "[index]\njobs = 2"),
    ]
)
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
        code, out, err = run(argv)
    check(argv, code, out, err)


# Does what `overheard` does, and writes the peak of its memory into a file.
PROGRAM = """
import re, sys
from overheard import cli
try:
    code = cli.main()
finally:
    with open("/proc/self/status") as status, open("../peak", "w") as file:
        file.write(re.search(r"VmHWM:\\s*(\\d+) kB", status.read())[1])
sys.exit(code)
"""


def run_process(argv: Sequence[str], folder: Path, env: dict[str, str]) -> tuple[int, str, str]:
    """Run the command line in a process group of its own; return its exit code and its output."""
    before = os.times()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *argv],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=WALL_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"{argv} takes more than {WALL_LIMIT_S} s")
    after = os.times()
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    assert used_s < CPU_LIMIT_S
    return process.returncode, out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape")


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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"  # ".." leads nowhere else
        folder.mkdir()
        fill(folder, configuration)
        own = dict.fromkeys(("XDG_DATA_HOME", "HOME"), str(folder))
        own["XDG_CONFIG_HOME"] = str(folder / "default")
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        code, out, err = run_process(argv, folder, base | own | env)
        peak_mb = int((folder.parent / "peak").read_text()) / 1024
    assert peak_mb < MAX_MB
    check(argv, code, out, err)


def check(argv: Sequence[str], code: int, out: str, err: str) -> None:
    """Check the exit code, and that each line of the output is safe and of a known form."""
    assert code in (0, 1, 2)
    assert code != 2 or err or '"error"' in out, "an error without a message"
    messages = err.rstrip("\n").split("\n") if err else []
    for line in messages:
        assert line.startswith(EXPECTED), err
    printed = [] if any(word.startswith("--p") for word in argv) else out.split("\n")  # --path: as it is
    assert all(line.isprintable() for line in [*printed, *messages])
