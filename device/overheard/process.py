"""Change process-wide state: signals, environment, standard error, threads and processors.

Each context manager restores the state when its `with` block ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from types import FrameType

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)
)


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
            signal.signal(number, handler)


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
