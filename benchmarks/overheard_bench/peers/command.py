"""Find the command that starts a peer: an option, an environment variable, or a program on the PATH."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from overheard_bench.peers.base import Peer

# The options that Panako's own start script passes: lmdbjava needs them on Java 16 and later.
JAVA = (
    "java",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "-jar",
)


def find_command(peer: type[Peer], given: str | None) -> tuple[str, ...] | None:
    """Return a peer's command, None if it is not installed.

    Parameters
    ----------
    given : the value of the peer's option: a file or a command line. This Python runs a `.py` file, java a
        `.jar` file. If None, the environment variable `peer.variable` is used, then the PATH.

    Raises
    ------
    FileNotFoundError
        The command in the option or in the environment variable does not exist.
    """
    text = given or os.environ.get(peer.variable)
    if not text:
        program = next(filter(None, map(shutil.which, peer.commands)), None)
        return None if program is None else _runnable([program])
    path = Path(text).expanduser()
    command = _runnable([str(path)] if path.is_file() else shlex.split(text))
    scripts = [word for word in command if word.endswith((".py", ".jar"))]
    if shutil.which(command[0]) is None or not all(Path(script).is_file() for script in scripts):
        raise FileNotFoundError(f"{peer.name}: command {text!r} not found")
    return command


def _runnable(command: Sequence[str]) -> tuple[str, ...]:
    """Make files absolute, because the program runs in another folder; put its interpreter first."""
    # Path.absolute keeps symbolic links: the Python of a virtual environment is one.
    words = [str(Path(word).absolute()) if Path(word).is_file() else word for word in command]
    if words[0].endswith(".py"):
        return (sys.executable, *words)
    if words[0].endswith(".jar"):
        return (*JAVA, *words)
    return tuple(words)
