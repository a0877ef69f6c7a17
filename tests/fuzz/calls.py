"""Strange arguments, environments and configuration files, and calls of the command line with them."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from attempts import MAX_WALL_S
from hypothesis import strategies as st

from overheard.settings import Settings, fields

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

argument_lists_of_processes = st.builds(
    lambda name, rest: [name, *rest], st.sampled_from(OWN_PROCESS), arguments
)
model_settings = st.sampled_from(
    [
        *(f'model = "{name}"' for name in ("fifo", "folder", "words.mp3", "missing.json", "~nosuchuser/x")),
        *('packs = ["fifo"]', 'data_dir = "fifo"', 'data_dir = "folder"', "[index]\njobs = 2"),
    ]
)

# What users call, with nothing strange in it.
plain_calls = st.sampled_from(
    [
        *(["config"], ["history"], ["packs"], ["status"], ["privacy"], ["index", "folder"]),
        *(["identify", "words.mp3"], ["listen", "--input", "words.mp3"]),
    ]
)


def fill(folder: Path, configuration: bytes) -> None:
    """Create what the arguments name: a file that is no audio, a folder, a named pipe, the configuration."""
    (folder / "words.mp3").write_text("no audio")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    for name in ("config.toml", "default/overheard/config.toml"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(configuration)


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


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process of the command line ended.

    Attributes
    ----------
    code : of its exit; None if it did not end in time and was killed
    cpu_s : processor time, with that of its workers
    """

    code: int | None
    out: str
    err: str
    cpu_s: float
    peak_mb: float


def call(argv: Sequence[str], env: dict[str, str], configuration: bytes) -> Ended:
    """Run the command line in a process group, a folder and an environment of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "work"  # ".." leads nowhere else
        folder.mkdir()
        fill(folder, configuration)
        own = dict.fromkeys(("XDG_DATA_HOME", "HOME", "XDG_RUNTIME_DIR"), str(folder))
        own["XDG_CONFIG_HOME"] = str(folder / "default")
        base = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        before = os.times()
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *argv],
            cwd=folder,
            env=base | own | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        code = None
        try:
            out, err = process.communicate(timeout=MAX_WALL_S)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
        after = os.times()
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        peak = folder.parent / "peak"
        peak_mb = int(peak.read_text()) / 1024 if peak.exists() else 0.0
    texts = (text.decode(errors="surrogateescape") for text in (out, err))
    return Ended(code, *texts, cpu_s, peak_mb)


def fault(argv: Sequence[str], ended: Ended) -> str:
    """Return what is wrong with how a call ended: its exit code, or lines of its output; "" if nothing is."""
    if ended.code not in (0, 1, 2):
        return f"exit code {ended.code}"
    if ended.code == 2 and not ended.err and '"error"' not in ended.out:
        return "an error without a message"
    messages = ended.err.rstrip("\n").split("\n") if ended.err else []
    unknown = [line for line in messages if not line.startswith(EXPECTED)]
    # --path prints a path as it is.
    printed = [] if any(word.startswith("--p") for word in argv) else ended.out.split("\n")
    unsafe = [line for line in [*printed, *messages] if not line.isprintable()]
    return "; ".join(unknown + unsafe)
