"""Check that output files can be written, write text files, and lock an output against a second writer."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from overheard.errors import OverheardError
from overheard.files import atomic_write


def check_writable(paths: Sequence[Path], remedy: str) -> None:
    """Try to create the output files, before the long work that produces their contents.

    Folders that this creates are removed again.

    Parameters
    ----------
    remedy : what the user can do if a file cannot be written

    Raises
    ------
    OverheardError
        A file cannot be written.
    """
    for path in paths:
        try:
            _try_to_write(path)
        except OSError as error:
            raise OverheardError(f"{path} cannot be written ({error.strerror})", remedy) from error


def _try_to_write(path: Path) -> None:
    for obstacle, number in ((path.is_dir(), errno.EISDIR), (path.parent.is_file(), errno.ENOTDIR)):
        if obstacle:
            raise OSError(number, os.strerror(number))
    new_folders = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        trial = path.with_name(f"{path.name}.trial")
        trial.touch()
        trial.unlink()
    finally:
        with contextlib.suppress(OSError):
            for folder in new_folders:
                folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with atomic_write(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def exclusive_lock(path: Path, problem: str, remedy: str) -> Iterator[None]:
    """Hold a lock file for the length of a `with` block, and delete it afterwards.

    Parameters
    ----------
    problem, remedy : of the error if another process holds the lock

    Raises
    ------
    OverheardError
        Another process holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path)
    if descriptor is None:
        raise OverheardError(problem, remedy)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Return the descriptor of the locked file; None if another process holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        # The process that held the lock deleted the file after this one had opened it. Others do not see
        # this lock, so it is useless.
        os.close(descriptor)
