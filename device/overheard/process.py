"""Change process-wide state: signals, environment, standard streams, threads, processors and memory.

Each context manager restores the state when its `with` block ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import TextIO

log = logging.getLogger(__name__)

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of glibc's malloc.h
# Windows are matched in arrays of some MB. In the heap, smaller data would lie between them later, and keep
# their memory; from 4 MB on, NumPy asks for huge pages, of which each byte keeps 2 MiB.
_LARGE_BYTES = 1 << 20


def limit_blas_threads() -> None:
    """Run NumPy's matrix products in one thread, unless the user's environment says otherwise.

    Call it before the first import of NumPy. The products here are small: on two cores a second of log-mel
    features took 29 ms with OpenBLAS's default threads and 0.5 ms with one.
    """
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lower_priority() -> None:
    """Let other programs go first, in this process and in those that it starts."""
    if hasattr(os, "nice"):
        with contextlib.suppress(OSError):
            os.nice(max(0, 15 - os.nice(0)))


def keep_large_arrays_apart() -> None:
    """Let each large array have memory of its own, which is returned to the system when it is freed.

    Call it before models, packs and pictures are opened.
    """
    _call_c("mallopt", _MMAP_THRESHOLD, _LARGE_BYTES)


def return_freed_memory() -> None:
    """Return to the system what the C library keeps for later. It takes about a millisecond."""
    _call_c("malloc_trim", 0)


def _call_c(name: str, *values: int) -> None:
    try:
        getattr(ctypes.CDLL(None), name)(*values)
    except (AttributeError, OSError):  # another C library
        log.debug("this C library has no %s", name)


def replace_closed_streams() -> None:
    """Open the standard streams that the parent process closed.

    Otherwise `print` to standard error would write to standard output, and the next file that the program
    opens could become standard output. Reading from a replaced standard input and writing to a replaced
    standard output raise OSError (EBADF); what goes to a replaced standard error is discarded.
    """
    for number, (name, flags, mode) in enumerate(
        (("stdin", os.O_WRONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))
    ):
        if getattr(sys, name) is not None:
            continue
        descriptor = os.open(os.devnull, flags)
        if not _is_open(number):
            os.dup2(descriptor, number)
            os.close(descriptor)
            descriptor = number
        stream = open(descriptor, mode, closefd=False, errors="backslashreplace")  # noqa: SIM115 - stays open
        setattr(sys, name, stream)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def discard_output(stream: TextIO) -> None:
    """Discard what a standard stream cannot deliver; without this, Python reports the error again at exit."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: a closed stream, or one without a descriptor
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
        stream.flush()


def tell(message: str) -> None:
    """Print a message on standard error; a program must not fail because nobody can read its messages."""
    try:
        print(message, file=sys.stderr, flush=True)
    except (OSError, ValueError):  # ValueError: the stream is closed
        discard_output(sys.stderr)


def logs_to_journal() -> bool:
    """Return whether standard error goes to systemd's journal, which keeps it and which others may read."""
    try:
        status = os.fstat(2)
    except OSError:  # closed
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


@contextlib.contextmanager
def stop_on_signals(stop_event: threading.Event) -> Iterator[None]:
    """Set the event at the first SIGTERM, SIGINT or SIGHUP; the second one ends the process.

    A signal that the parent process set to ignored, as ``nohup`` does, stays ignored.
    """
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def stop(_number: int, _frame: FrameType | None) -> None:
        stop_event.set()
        for number in watched:
            signal.signal(number, signal.SIG_DFL)

    watched = [number for number in STOP_SIGNALS if before[number] is not signal.SIG_IGN]
    for number in watched:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: a handler that C code has installed, which Python cannot restore.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def muted_stderr() -> Iterator[int | None]:
    """Discard the output of C libraries on standard error (file descriptor 2).

    Yields
    ------
    int or None
        A descriptor of the original standard error, or None if the process has none.
    """
    try:
        screen = os.dup(2)
    except OSError:  # a daemon without standard error
        yield None
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield screen
    finally:
        os.dup2(screen, 2)
        os.close(nothing)
        os.close(screen)
