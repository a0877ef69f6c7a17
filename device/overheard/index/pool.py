"""Fingerprint many files in worker processes.

Each worker loads the model once. Workers are spawned, not forked, so that they behave the same on every
platform. They end when the parent process ends, even if it was killed.
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
from collections.abc import Callable, Generator, Iterator, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from multiprocessing.synchronize import Event
from pathlib import Path

from overheard.catalogue.track_list import TrackEntry
from overheard.errors import AudioError, SettingsError
from overheard.index.worker import Cancelled, Fingerprinter, process_file
from overheard.process import ONE_THREAD, environment
from overheard.text import LogFormatter, clean

_log = logging.getLogger(__name__)
MAX_JOBS = 1024  # as for the setting index.jobs
_POLL_S = 0.2  # time until `stop` takes effect


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
    """Fingerprint files.

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
    check_jobs(jobs)
    if jobs:
        yield from _in_workers(deque(paths), make, jobs, stop, known)
    else:
        yield from _in_this_process(paths, make, stop, known)


def _in_workers(
    todo: deque[Path],
    make: Callable[[], Fingerprinter],
    jobs: int,
    stop: Callable[[], bool],
    known: Set[str],
) -> Iterator[Outcome]:
    with environment(ONE_THREAD):  # there are as many workers as cores already
        while todo and not stop():
            suspects = yield from _in_pool(todo, make, jobs, stop, known)
            for path in suspects:  # a worker died on one of these files: try each alone
                alone = deque([path])
                if not stop() and (yield from _in_pool(alone, make, 1, stop, known)):
                    yield Outcome(path, None, "decoding it crashed or took too much memory")


def _in_this_process(
    paths: Sequence[Path], make: Callable[[], Fingerprinter], stop: Callable[[], bool], known: Set[str]
) -> Iterator[Outcome]:
    fingerprinter = make()
    for path in paths:
        if stop():
            return
        with contextlib.suppress(Cancelled):
            yield _outcome(path, fingerprinter, stop, known)


def _in_pool(
    todo: deque[Path],
    make: Callable[[], Fingerprinter],
    jobs: int,
    stop: Callable[[], bool],
    known: Set[str],
) -> Generator[Outcome, None, list[Path]]:
    """Process `todo` until it is empty; if a worker dies, return the files that were in progress."""
    context = multiprocessing.get_context("spawn")
    cancel = context.Event()
    pending: dict[Future[Outcome | None], Path] = {}
    arguments = (make, cancel, known, logging.getLogger("overheard").isEnabledFor(logging.DEBUG))
    pool = ProcessPoolExecutor(min(jobs, len(todo)), context, _start_worker, arguments)
    try:
        while (todo or pending) and not stop():
            while todo and len(pending) < 2 * jobs:
                with blocked_interrupts():  # a new worker inherits this, until it can ignore Ctrl-C itself
                    future = pool.submit(_work, todo[0])
                pending[future] = todo.popleft()
            done, _ = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
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
    try:
        return _outcome(path, _fingerprinter, _cancel.is_set, _known)
    except Cancelled:
        return None


def _outcome(
    path: Path, fingerprinter: Fingerprinter, cancelled: Callable[[], bool], known: Set[str]
) -> Outcome:
    try:
        result = process_file(path, fingerprinter, known, cancelled)
        facts = (result.audio_hash, result.is_known, result.warning, result.others)
        return Outcome(path, result.entry, "", *facts)
    except AudioError as error:
        return Outcome(path, None, str(error).removeprefix(f"{clean(str(path))}: "))
    except Cancelled:
        raise
    # One file must not end the run over thousands of others, so even a bug becomes an outcome. The report
    # names it as an unexpected error, and --verbose logs the traceback.
    except Exception as error:  # noqa: BLE001
        _log.debug("%s: unexpected error", clean(str(path)), exc_info=True)
        reason = f"unexpected {type(error).__name__}: {error}; run `overheard -v index` to see the traceback"
        return Outcome(path, None, reason)
