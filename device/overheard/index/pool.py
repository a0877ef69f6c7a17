"""Fingerprint many files in worker processes.

Each worker loads the model once. Workers are spawned, not forked, so that they behave the same everywhere;
they end when the process that started them is gone, even when it was killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from multiprocessing.synchronize import Event
from pathlib import Path

from overheard.catalogue.track_list import TrackEntry
from overheard.errors import AudioError
from overheard.index.worker import Cancelled, Fingerprinter, fingerprint_file
from overheard.process import ONE_THREAD, environment


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A file's track, or the reason why there is none."""

    path: Path
    entry: TrackEntry | None
    reason: str = ""


def fingerprint_files(
    paths: Sequence[Path], make: Callable[[], Fingerprinter], jobs: int, stop: Callable[[], bool]
) -> Generator[Outcome, None, None]:
    """Fingerprint files, each result as soon as it is there, in no order.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    make : callable
        Makes the fingerprinter, once in each process; must be picklable.
    jobs : int
        Worker processes; 0 works in this one.
    stop : callable
        Asked now and then; once true, what is begun is given up.
    """
    if jobs == 0:
        yield from _here(paths, make, stop)
        return
    todo = deque(paths)
    with environment(ONE_THREAD):  # workers share the cores already
        while todo and not stop():
            suspects = yield from _in_pool(todo, make, jobs, stop)
            for path in suspects:  # one of them took its process down: find out which
                alone = deque([path])
                if not stop() and (yield from _in_pool(alone, make, 1, stop)):
                    yield Outcome(path, None, "decoding it crashed or took too much memory")


def _here(
    paths: Sequence[Path], make: Callable[[], Fingerprinter], stop: Callable[[], bool]
) -> Iterator[Outcome]:
    fingerprinter = make()
    for path in paths:
        if stop():
            return
        with contextlib.suppress(Cancelled):
            yield _outcome(path, fingerprinter, stop)


def _in_pool(
    todo: deque[Path], make: Callable[[], Fingerprinter], jobs: int, stop: Callable[[], bool]
) -> Generator[Outcome, None, list[Path]]:
    """Empty `todo`; return what was being worked on when a worker died, else nothing."""
    context = multiprocessing.get_context("spawn")
    cancel = context.Event()
    pending: dict[Future[Outcome | None], Path] = {}
    pool = ProcessPoolExecutor(min(jobs, len(todo)), context, _start_worker, (make, cancel))
    try:
        while (todo or pending) and not stop():
            while todo and len(pending) < 2 * jobs:
                future = pool.submit(_work, todo[0])
                pending[future] = todo.popleft()
            done, _ = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                del pending[future]
                if outcome is not None:
                    yield outcome
    except BrokenProcessPool:
        return list(pending.values()) or [todo.popleft()]
    finally:
        cancel.set()
        pool.shutdown(cancel_futures=True)
    return []


_fingerprinter: Fingerprinter
_cancel: Event


def _start_worker(make: Callable[[], Fingerprinter], cancel: Event) -> None:
    global _fingerprinter, _cancel
    follow_parent()
    logging.getLogger("overheard").setLevel(logging.ERROR)  # the progress bar owns the terminal
    _fingerprinter, _cancel = make(), cancel


def follow_parent() -> None:
    """Leave Ctrl-C, in a worker process, to the parent; end when that is gone, even when it was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole group
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _work(path: Path) -> Outcome | None:
    try:
        return _outcome(path, _fingerprinter, _cancel.is_set)
    except Cancelled:
        return None


def _outcome(path: Path, fingerprinter: Fingerprinter, cancelled: Callable[[], bool]) -> Outcome:
    try:
        return Outcome(path, fingerprint_file(path, fingerprinter, cancelled))
    except AudioError as error:
        return Outcome(path, None, str(error).removeprefix(f"{path}: "))
    except Cancelled:
        raise
    except Exception as error:  # whatever one file does to a decoder, the others go on
        return Outcome(path, None, f"{type(error).__name__}: {error}")
