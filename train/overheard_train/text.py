"""What several commands say of the checkout, and files that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from overheard.errors import OverheardError
from overheard.files import atomic_write


def commit() -> str:
    """Return the checkout's commit, marked where it has other changes; "unknown" outside of one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=10"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def check_writable(paths: Sequence[Path], remedy: str) -> None:
    """Try to write files, before long work whose result they are to hold.

    Raises
    ------
    OverheardError
        One cannot be written; it ends with the remedy.
    """
    for path in paths:
        try:
            for hinders, number in ((path.is_dir(), errno.EISDIR), (path.parent.is_file(), errno.ENOTDIR)):
                if hinders:
                    raise OSError(number, os.strerror(number))
            missing = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.partial")
            partial.touch()
            partial.unlink()
            for folder in missing:  # until there is something to hold
                folder.rmdir()
        except OSError as error:
            raise OverheardError(f"{path} cannot be written ({error.strerror}): {remedy}") from error


@contextlib.contextmanager
def only_one(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file, and remove it in the end; raise OverheardError where another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OverheardError(refusal) from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in one piece, as UTF-8."""
    with atomic_write(path) as file:
        file.write(text.encode())
