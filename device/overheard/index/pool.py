"""Fingerprint many files in the workers of an executor: processes of this machine, or of a cluster.

Each local worker loads the model once. Local workers are spawned, not forked, so that they behave the same on
every platform. They end when the parent process ends, even if it was killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing.connection import wait as wait_for
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import ParamSpec, TypeVar

from overheard.catalogue.track_list import TrackEntry
from overheard.errors import AudioError, ModelError, SettingsError
from overheard.index.worker import Cancelled, Fingerprinter, process_file
from overheard.process import ONE_THREAD, environment
from overheard.text import LogFormatter, clean

_log = logging.getLogger(__name__)
MAX_JOBS = 1024  # as for the setting index.jobs
_POLL_S = 0.2  # time until `stop` takes effect
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Track of a file, or the reason why there is none.

    If `is_known`, the file has the audio hash of a known track, and the entry has no fingerprint.
    """

    path: Path
    entry: TrackEntry | None
    reason: str = ""
    audio_hash: str = ""
    is_known: bool = False
    warning: str = ""
    others: tuple[TrackEntry, ...] = ()  # the other tracks of a file with a cue sheet


@dataclasses.dataclass(frozen=True)
class Workers:
    """An executor whose workers fingerprint files.

    Attributes
    ----------
    executor : concurrent.futures.Executor
    work : callable
        What a worker does with one file; returns None if the run was stopped. It must be picklable.
    capacity : callable
        Returns how many files may be submitted and not finished, at least 1. Called several times a second;
        it may raise an OverheardError if there are no workers any more.
    lost : tuple of exception types
        Set on the future of a file whose worker died, or raised by `submit` if the executor is broken.
    """

    executor: Executor
    work: Callable[[Path], Outcome | None]
    capacity: Callable[[], int]
    lost: tuple[type[BaseException], ...] = ()


OpenWorkers = Callable[[int], AbstractContextManager[Workers]]  # opens the workers for a number of files


def check_jobs(jobs: int) -> None:
    """Raise SettingsError if this is no possible number of worker processes."""
    if not 0 <= jobs <= MAX_JOBS:
        raise SettingsError(f"the number of jobs must be between 0 and {MAX_JOBS}", "use fewer --jobs")


def fingerprint_files(
    paths: Sequence[Path],
    make: Callable[[], Fingerprinter],
    jobs: int,
    stop: Callable[[], bool],
    known: Set[str] = frozenset(),
) -> Generator[Outcome, None, None]:
    """Fingerprint files on this machine.

    Parameters
    ----------
    paths : sequence of Path
        The files.
    make : callable
        Creates the fingerprinter, once in each process; must be picklable.
    jobs : int
        Number of worker processes; 0 fingerprints in this process.
    stop : callable
        Polled several times a second; if true, files in progress are abandoned and the generator ends.
    known : set of str
        Audio hashes of files that have a fingerprint; files with one of them are not decoded.

    Yields
    ------
    Outcome
        One per file, in the order in which the files are finished.

    Raises
    ------
    SettingsError
        If `jobs` is negative or too large.
    """
    yield from fingerprint_with(local_workers(make, jobs, stop, known), paths, stop)


def fingerprint_with(
    open_workers: OpenWorkers, paths: Sequence[Path], stop: Callable[[], bool]
) -> Generator[Outcome, None, None]:
    """Fingerprint files with any workers; `stop` and what it yields are as in :func:`fingerprint_files`."""
    todo = deque(paths)
    while todo and not stop():
        suspects = yield from _until_lost(open_workers, todo, stop)
        for path in suspects:  # a worker died on one of these files: try each alone
            alone = deque([path])
            if not stop() and (yield from _until_lost(open_workers, alone, stop)):
                yield Outcome(path, None, "decoding it crashed or took too much memory")


def _until_lost(
    open_workers: OpenWorkers, todo: deque[Path], stop: Callable[[], bool]
) -> Generator[Outcome, None, list[Path]]:
    """Process `todo` until it is empty or the executor is broken; return the files whose workers died."""
    pending: dict[Future[Outcome | None], Path] = {}
    suspects: list[Path] = []
    with open_workers(len(todo)) as workers:
        while (todo or pending) and not stop():
            try:
                while todo and len(pending) < workers.capacity():
                    future = workers.executor.submit(workers.work, todo[0])
                    pending[future] = todo.popleft()
            except workers.lost:
                return [*suspects, *pending.values()] or [todo.popleft()]
            done, _ = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            for future in done:
                path = pending.pop(future)
                try:
                    outcome = future.result()
                except workers.lost:
                    suspects.append(path)
                    continue
                if outcome is not None:
                    yield outcome
    return suspects


def local_workers(
    make: Callable[[], Fingerprinter], jobs: int, stop: Callable[[], bool], known: Set[str] = frozenset()
) -> OpenWorkers:
    """Return what opens the workers of this machine; parameters as in :func:`fingerprint_files`."""
    check_jobs(jobs)
    if jobs:
        return functools.partial(_processes, make, jobs, known)
    return lambda _: _this_process(make, stop, known)


@contextlib.contextmanager
def _this_process(
    make: Callable[[], Fingerprinter], stop: Callable[[], bool], known: Set[str]
) -> Iterator[Workers]:
    fingerprinter = make()

    def work(path: Path) -> Outcome | None:
        return outcome_of(path, fingerprinter, stop, known)

    with _ThisProcess() as executor:
        yield Workers(executor, work, lambda: 1)


class _ThisProcess(Executor):
    """Runs each call when it is submitted."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future: Future[_T] = Future()
        future.set_result(fn(*args, **kwargs))  # an exception here is Ctrl-C or a bug, and ends the run
        return future


@contextlib.contextmanager
def _processes(
    make: Callable[[], Fingerprinter], jobs: int, known: Set[str], n_files: int
) -> Iterator[Workers]:
    context = multiprocessing.get_context("spawn")
    cancel = context.Event()
    arguments = (make, cancel, known, logging.getLogger("overheard").isEnabledFor(logging.DEBUG))
    with environment(ONE_THREAD):  # there are as many workers as cores already
        executor = _Processes(min(jobs, n_files), context, _start_worker, arguments)
        try:
            yield Workers(executor, _work, lambda: 2 * jobs, (BrokenProcessPool,))
        finally:
            cancel.set()
            executor.shutdown(cancel_futures=True)


class _Processes(ProcessPoolExecutor):
    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        with blocked_interrupts():  # a new worker inherits this, until it can ignore Ctrl-C itself
            return super().submit(fn, *args, **kwargs)


# State of a worker process; a pool's initializer can pass it to the tasks only by globals.
_fingerprinter: Fingerprinter
_cancel: Event
_known: Set[str]


def _start_worker(make: Callable[[], Fingerprinter], cancel: Event, known: Set[str], verbose: bool) -> None:
    global _fingerprinter, _cancel, _known
    follow_parent()
    if verbose:  # as the parent logs with --verbose
        logging.basicConfig(level=logging.DEBUG)
        logging.getLogger().handlers[0].setFormatter(LogFormatter("overheard: %(name)s: %(message)s"))
    else:  # other lines would break the parent's progress bar; the report lists the files that failed
        logging.getLogger("overheard").setLevel(logging.ERROR)
    _fingerprinter, _cancel, _known = make(), cancel, known


def follow_parent() -> None:
    """Make this worker process ignore Ctrl-C and end when its parent ends, even if the parent is killed."""
    # A terminal sends it to every process; the parent acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


@contextlib.contextmanager
def blocked_interrupts() -> Iterator[None]:
    """Hold back Ctrl-C for the length of the block. Processes started in it never receive it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _work(path: Path) -> Outcome | None:
    return outcome_of(path, _fingerprinter, _cancel.is_set, _known)


def outcome_of(
    path: Path,
    fingerprinter: Fingerprinter,
    cancelled: Callable[[], bool] = lambda: False,
    known: Set[str] = frozenset(),
) -> Outcome | None:
    """Fingerprint one file; return None if `cancelled`, which is polled several times a second, is true.

    Raises
    ------
    ModelError
        If the network cannot be run.
    """
    try:
        result = process_file(path, fingerprinter, known, cancelled)
        facts = (result.audio_hash, result.is_known, result.warning, result.others)
        return Outcome(path, result.entry, "", *facts)
    except AudioError as error:
        return Outcome(path, None, str(error).removeprefix(f"{clean(str(path))}: "))
    except Cancelled:
        return None
    except ModelError:  # it would be the same for each file
        raise
    # One file must not end the run over thousands of others, so even a bug becomes an outcome. The report
    # names it as an unexpected error, and --verbose logs the traceback.
    except Exception as error:  # noqa: BLE001
        _log.debug("%s: unexpected error", clean(str(path)), exc_info=True)
        reason = f"unexpected {type(error).__name__}: {error}; run `overheard -v index` to see the traceback"
        return Outcome(path, None, reason)
