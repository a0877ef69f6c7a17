"""A Dask scheduler and workers in processes of their own, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LIMIT_S = 60.0  # far more than needed, for busy machines


class DaskCluster:
    """A scheduler on a random port of this machine; its logs are in `folder`."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._environment |= {"DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "10"} | (environment or {})
        self.processes: list[subprocess.Popen[bytes]] = []
        facts = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(facts))
        deadline = time.monotonic() + LIMIT_S
        address = ""
        while not address:
            assert time.monotonic() < deadline, self.log(self.scheduler)
            assert self.scheduler.poll() is None, self.log(self.scheduler)
            with contextlib.suppress(OSError, ValueError):
                address = json.loads(facts.read_text())["address"]
            time.sleep(0.02)
        self.address = address
        self.url = address.replace("tcp://", "dask://")

    @contextlib.contextmanager
    def workers(self, n: int, *options: str) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Start workers with one thread each, wait until they are connected, and end them."""
        import distributed

        started = []
        for _ in range(n):
            name = str(len(self.processes))
            facts = ("--name", name, "--local-directory", str(self._folder / f"worker{name}"))
            started.append(self._start("worker", self.address, "--nthreads", "1", *facts, *options))
        try:
            with distributed.Client(self.address, timeout=LIMIT_S, set_as_default=False) as client:
                client.wait_for_workers(n, timeout=LIMIT_S)
            yield started
        finally:
            for process in started:
                kill(process)

    def log(self, process: subprocess.Popen[bytes]) -> str:
        """Return what a process of this cluster has printed."""
        return (self._folder / f"{self.processes.index(process)}.log").read_text()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--host", "127.0.0.1", "--no-dashboard"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        self.processes.append(process)
        return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started, such as the worker of a nanny."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def running(folder: Path, environment: dict[str, str] | None = None) -> Iterator[DaskCluster]:
    """Yield a cluster without workers, and end its processes."""
    cluster = DaskCluster(folder, environment)
    try:
        yield cluster
    finally:
        for process in cluster.processes:
            kill(process)
