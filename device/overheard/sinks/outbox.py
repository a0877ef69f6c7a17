"""A queue on the disk with the thread that delivers it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Any

from overheard.sinks.courier import Courier, Deliver
from overheard.sinks.disk_queue import DiskQueue

_LAST_S, _CLOSE_TIMEOUT_S = 0.5, 1.0  # for the last deliveries to begin, and to end


def queue_path(data_dir: Path, name: str) -> Path:
    """Return the file of a sink's queue."""
    return data_dir / "queues" / f"{name}.sqlite"


class Outbox:
    """Accept items, which are safe then, and deliver them in another thread.

    If two processes use the same data folder, both add to the queue, and one of them delivers.

    Parameters
    ----------
    name : of the sink
    data_dir : folder of the queues
    deliver : see `Courier`
    interval_s : least time between two deliveries
    """

    def __init__(self, name: str, data_dir: Path, deliver: Deliver, interval_s: float = 0.0) -> None:
        path = queue_path(data_dir, name)
        self.queue = DiskQueue(path)
        self._lock_path = path.with_suffix(".lock")
        self._lock: int | None = None
        self._courier = Courier(name, self.queue, deliver, interval_s, may_deliver=self._locked)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._until_s = 0.0  # when to stop delivering
        self._thread = threading.Thread(target=self._run, name=f"courier {name}", daemon=True)
        self._thread.start()

    def put(self, key: str, body: dict[str, Any], notes: dict[str, Any] | None = None) -> None:
        """Save an item; see `DiskQueue.put`."""
        self.queue.put(key, body, notes)
        self._wake.set()

    def put_urgent(self, body: dict[str, Any], valid_s: float) -> None:
        """Deliver something soon or never; see `Courier.put_urgent`."""
        self._courier.put_urgent(body, valid_s)
        self._wake.set()

    def close(self) -> None:
        """Deliver what can be delivered at once; what is left stays in the file for the next time."""
        self._until_s = time.monotonic() + _LAST_S
        self._stopping.set()
        self._wake.set()
        self._thread.join(_CLOSE_TIMEOUT_S)
        if not self._thread.is_alive():
            self.queue.close()
            if self._lock is not None:
                os.close(self._lock)

    def _run(self) -> None:
        while True:
            wait_s = self._courier.step()
            if self._stopping.is_set():
                if wait_s > 0 or time.monotonic() > self._until_s:
                    return
            elif wait_s > 0:
                self._wake.wait(wait_s)
            self._wake.clear()

    def _locked(self) -> bool:
        """Return whether this process delivers; the lock ends with the process."""
        if self._lock is None:
            with contextlib.suppress(OSError):
                lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(lock)
                else:
                    self._lock = lock
        return self._lock is not None
