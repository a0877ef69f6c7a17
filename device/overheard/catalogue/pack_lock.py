"""Lock a pack while a program changes it: one writer at a time. Readers need no lock."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from overheard.errors import PackError
from overheard.files import lock_file, remove_partial

SHORT_CHANGE_S = 5.0  # to wait for another process whose change takes milliseconds
_WAIT_S = 0.05  # between two attempts to get the lock


@contextlib.contextmanager
def pack_lock(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a pack, ``NAME.lock`` beside it, for the length of the block.

    The operating system releases the lock of a process that ends. On a file system without locks there is
    none. What a process that was killed has left of the pack's next version is deleted first.

    Parameters
    ----------
    path : of the pack, which may not exist; its folder must exist
    wait_s : how long to wait for another process that changes the pack

    Raises
    ------
    PackError
        If another process still holds the lock, or the file cannot be created.
    """
    busy = PackError(
        f"{path}: another overheard process is changing this pack", "wait for it, or choose another pack"
    )
    with lock_of(path.with_name(f"{path.stem}.lock"), busy, wait_s):
        remove_partial(path)
        yield


@contextlib.contextmanager
def lock_of(lock: Path, busy: PackError, wait_s: float) -> Iterator[None]:
    """Hold a lock for the length of the block.

    Parameters
    ----------
    lock : the file of the lock, which exists only for that long; its folder must exist
    busy : the error if another process still holds the lock
    wait_s : how long to wait for another process

    Raises
    ------
    PackError
        If another process still holds the lock, or the file cannot be created.
    """
    try:
        descriptor = _wait_for(lock, time.monotonic() + wait_s)
    except BlockingIOError as error:
        raise busy from error
    except OSError as error:
        raise PackError(f"{lock}: cannot be created ({error.strerror or error})") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # before it is released: no other process locks a file that is gone
        os.close(descriptor)


def _wait_for(lock: Path, until_s: float) -> int:
    """Create and lock a file before a time of `time.monotonic`; return its descriptor. Raises OSError."""
    while True:
        try:
            return _locked(lock)
        except BlockingIOError:
            if time.monotonic() >= until_s:
                raise
        time.sleep(_WAIT_S)


def _locked(lock: Path) -> int:
    """Create and lock a file, and return its descriptor. Raises OSError."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            lock_file(descriptor)
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        except FileNotFoundError:  # its last owner deleted it while this process waited for nothing
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
