"""Connect to a Dask cluster, and run tasks such as fingerprinting on its workers.

The package distributed is imported only when a command is given the address of a cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import importlib
import logging
import pkgutil
import socket
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from overheard.errors import ModelError, OverheardError, SettingsError
from overheard.index.pool import OpenWorkers, Outcome, Workers, outcome_of
from overheard.index.worker import Fingerprinter

CONNECT_S = 30.0  # to reach the scheduler, and for each of its answers
WORKERS_S = 60.0  # to wait for a worker if there is none
REFRESH_S = 1.0  # between two checks of the number of workers
POLL_S = 0.2
MAX_PENDING = 4096  # files that are submitted and not finished; bounds the memory of client and scheduler
MAX_LOADED = 4  # models in one worker process
TASKS_VERSION = 1  # of the functions that run on workers and of their arguments
VERSION = f"{__name__}:TASKS_VERSION"
INSTALL = "in a clone of overheard: pip install '.[dask]'"

LOST = "the connection to the Dask scheduler is lost", "run the same command again"

Make = Callable[[], Fingerprinter]


class ClusterError(OverheardError):
    """The cluster cannot be reached, or has no workers."""


def add_executor_option(parser: argparse._ActionsContainer, work: str, needs: str) -> None:
    """Add ``--executor``; `work` is what the workers do, and `needs` what they must see for it."""
    parser.add_argument(
        "--executor",
        type=scheduler_address,
        metavar="dask://HOST:PORT",
        help=f"{work} on the workers of the Dask scheduler at this address; they need the same version of "
        f"overheard, and {needs}",
    )


def scheduler_address(url: str) -> str:
    """Convert ``dask://HOST:PORT`` to the address that Dask expects."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme == "dask" and bool(parts.hostname and parts.port)
    except ValueError:
        is_valid = False
    if not is_valid or url != f"dask://{parts.netloc}" or "@" in url:
        raise argparse.ArgumentTypeError(f"{url} is not of the form dask://HOST:PORT")
    return f"tcp://{parts.netloc}"


class Cluster:
    """A Dask cluster; :func:`connect` creates it.

    Parameters
    ----------
    client : distributed.Client
    distributed : the package
    """

    def __init__(self, client: Any, distributed: Any) -> None:
        self.client = client
        # Of a task whose workers died again and again, or whose scheduler is lost, as `check` reports.
        self.lost = (distributed.KilledWorker, CancelledError)
        self._workers: dict[str, int] = {}
        self._next_look_s = time.monotonic()
        self._without_since_s: float | None = None

    def check(self) -> None:
        """Raise ClusterError if the connection is lost."""
        if self.client.status != "running":
            raise ClusterError(*LOST)

    def ask(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Call a coroutine function of the scheduler's interface. Raises ClusterError."""
        self.check()
        try:
            return self.client.sync(function, callback_timeout=CONNECT_S, **arguments)
        except (OSError, asyncio.TimeoutError, CancelledError) as error:
            raise ClusterError(*LOST) from error

    def check_versions(self) -> None:
        """Raise ClusterError if the scheduler or a worker has no overheard, or one of another version.

        Dask sends functions by name. A worker that does not find one ends, which looks like a crash.
        """
        self.check()
        _check_version("the Dask scheduler", self._on_scheduler())
        on_workers = self.client.run(pkgutil.resolve_name, VERSION, on_error="return")
        for address, found in on_workers.items():
            _check_version(f"the Dask worker {address}", found)

    def _on_scheduler(self) -> object:
        try:
            return self.client.run_on_scheduler(pkgutil.resolve_name, VERSION)
        except (ImportError, AttributeError) as error:
            return error

    def threads(self) -> dict[str, int]:
        """Return the number of threads of each worker by its address. Raises ClusterError."""
        found: dict[str, int] = self.ask(self.client.scheduler.ncores, workers=None)
        return found

    def workers(self) -> dict[str, int]:
        """Return what :meth:`threads` returned at most a second ago.

        Raises
        ------
        ClusterError
            If the connection is lost, or there was no worker for a minute.
        """
        self.check()
        now_s = time.monotonic()
        if now_s >= self._next_look_s:
            self._workers = self.threads()
            self._next_look_s = now_s + REFRESH_S
        if self._workers:
            self._without_since_s = None
        elif self._without_since_s is None:
            self._without_since_s = now_s
        elif now_s > self._without_since_s + WORKERS_S:
            raise ClusterError(
                f"the Dask scheduler has had no workers for {WORKERS_S:.0f} s",
                "start some with `dask worker HOST:PORT`, and run the same command again",
            )
        return self._workers

    def capacity(self) -> int:
        """Return how many files to submit at once: enough for all workers, which may come and go."""
        return min(max(2, 2 * sum(self.workers().values())), MAX_PENDING)

    def wait(self, future: Future[Any]) -> Any:
        """Return the result of a task. Raises ClusterError if there is nobody who could compute it."""
        while True:
            try:
                return future.result(timeout=POLL_S)
            except (TimeoutError, FutureTimeoutError):  # two names of one class since Python 3.11
                if future.done():  # the task itself raised it
                    raise
                self.workers()
            except self.lost as error:
                self.check()
                raise ClusterError(
                    "the Dask workers that searched some of the packs died",
                    "give them more memory, or add workers",
                ) from error

    def open_workers(self, make: Make, digest: str) -> OpenWorkers:
        """Return what opens the workers of this cluster for fingerprinting.

        Parameters
        ----------
        make : creates the fingerprinter, once in each worker process; must be picklable
        digest : of the model that the workers must have
        """
        return functools.partial(self._opened, functools.partial(_work, uuid.uuid4().hex, make, digest))

    @contextlib.contextmanager
    def _opened(self, work: Callable[[Path], Outcome | None], _n_files: int) -> Iterator[Workers]:
        executor = self.client.get_executor(pure=False)
        try:
            yield Workers(executor, work, self.capacity, self.lost)
        finally:
            with contextlib.suppress(OSError, asyncio.TimeoutError, CancelledError):
                executor.shutdown(wait=False)  # cancels what is submitted


def _check_version(where: str, found: object) -> None:
    if found != TASKS_VERSION:
        reason = f"{found}" if isinstance(found, Exception) else "it has another version"
        raise ClusterError(
            f"{where} cannot work for overheard ({reason})",
            "install the same version of overheard there, with its Dask extra",
        )


@contextlib.contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """Connect to a scheduler at an address of :func:`scheduler_address`.

    Raises
    ------
    SettingsError
        If the package distributed is not installed.
    ClusterError
        If the scheduler cannot be reached.
    """
    try:
        distributed: Any = importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dask", "distributed"):
            raise
        raise SettingsError("Dask is not installed", INSTALL) from error
    for name in ("distributed", "distributed.client"):  # it logs what becomes a ClusterError here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, asyncio.TimeoutError) as error:
        url = address.replace("tcp://", "dask://")
        raise ClusterError(f"{url}: no Dask scheduler answers", "start one with `dask scheduler`") from error
    try:
        cluster = Cluster(client, distributed)
        cluster.check_versions()
        yield cluster
    finally:
        with contextlib.suppress(OSError, asyncio.TimeoutError, CancelledError):
            client.close(timeout=CONNECT_S)


@contextlib.contextmanager
def cluster_workers(address: str, make: Make, digest: str) -> Iterator[OpenWorkers]:
    """Connect to a scheduler, as :func:`connect`, and yield what opens its workers."""
    with connect(address) as cluster:
        yield cluster.open_workers(make, digest)


# State of a worker process: the models of the latest runs, which may be of several clients.
_loaded: OrderedDict[str, Fingerprinter] = OrderedDict()
_loading = threading.Lock()


def _work(run: str, make: Make, digest: str, path: Path) -> Outcome | None:
    """Fingerprint one file, in a thread of a worker process."""
    outcome = outcome_of(path, _fingerprinter(run, make, digest))
    if outcome is None or outcome.entry is not None:
        return outcome
    return dataclasses.replace(outcome, reason=f"{outcome.reason} (on {socket.gethostname()})")


def _fingerprinter(run: str, make: Make, digest: str) -> Fingerprinter:
    """Return the fingerprinter of a run, loaded once in this process. Raises ModelError."""
    with _loading:
        if run not in _loaded:
            _loaded[run] = _load(make, digest)
            while len(_loaded) > MAX_LOADED:
                _loaded.popitem(last=False)
        return _loaded[run]


def _load(make: Make, digest: str) -> Fingerprinter:
    with located():
        fingerprinter = make()
        check_model(fingerprinter.digest, digest)
    return fingerprinter


def check_model(found: str, wanted: str) -> None:
    """Raise ModelError if the digest of a worker's model is not that of the client's."""
    if found != wanted:
        raise ModelError(
            f"another model ({found} instead of {wanted})",
            "install the same version of overheard on all machines",
        )


@contextlib.contextmanager
def located() -> Iterator[None]:
    """Add to errors in a worker process where they happened."""
    try:
        yield
    except OverheardError as error:
        where = f"the Dask worker on {socket.gethostname()}"
        raise type(error)(f"{where}: {error.problem}", error.remedy) from error
