"""Make training batches in worker processes, ahead of the training; seed and step determine a batch."""

from __future__ import annotations

import itertools
import multiprocessing
import multiprocessing.process
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from overheard.errors import OverheardError
from overheard.process import STOP_SIGNALS
from overheard_train.blocks import rest_of_block
from overheard_train.pairs import Batch, PairMaker
from overheard_train.reuse import Reuse

PARENT_POLL_S = 2.0  # how long a worker can outlive a parent that was killed


class Batches:
    """An endless iterator over batches, in the order of their steps.

    Parameters
    ----------
    maker : makes the batches; the workers are forked, so that they share its arrays
    seed, first_step : determine the first batch
    n_pairs : pairs per batch
    n_workers : number of processes
    reuse : how often each pair is used; once if None

    Attributes
    ----------
    cpu_s : processor seconds spent on the batches that were returned
    waited_s : seconds that the caller waited for them
    """

    def __init__(
        self,
        maker: PairMaker,
        seed: int,
        first_step: int,
        n_pairs: int,
        n_workers: int,
        reuse: Reuse | None = None,
    ) -> None:
        reuse = reuse or Reuse()
        self.cpu_s = self.waited_s = 0.0
        self._next_step, self._next_worker, self._closed = first_step, 0, False
        self._block_steps = reuse.block_steps(n_pairs)
        self._error: OverheardError | None = None
        self._lock = threading.Lock()  # Keras prefetches in its own thread
        context = multiprocessing.get_context("fork")
        self._workers: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[Connection] = []
        for number in range(n_workers):
            receiver, sender = context.Pipe(duplex=False)
            blocks = itertools.count(first_step // self._block_steps + number, n_workers)
            starts = (max(first_step, block * self._block_steps) for block in blocks)
            work = (sender, maker, seed, starts, n_pairs, reuse)
            worker = context.Process(target=_work, args=work, daemon=True)
            worker.start()  # before TensorFlow starts threads: a fork does not copy them
            sender.close()
            self._workers.append(worker)
            self._pipes.append(receiver)

    def __iter__(self) -> Batches:
        """Return itself."""
        return self

    def __next__(self) -> Batch:
        """Return the next ``(segments, labels)``.

        Raises
        ------
        OverheardError
            A worker died. TensorFlow wraps it in an error of its own: see :meth:`check`.
        """
        with self._lock:
            if self._closed:
                raise StopIteration
            before = time.monotonic()
            try:
                batch, cpu_s = self._pipes[self._next_worker].recv()
            except (EOFError, OSError) as error:
                if self._closed:
                    raise StopIteration from error
                self._error = OverheardError(
                    "a process that makes batches died, perhaps for lack of memory",
                    "use fewer --workers, and continue the last checkpoint with --resume",
                )
                raise self._error from error
            self.waited_s += time.monotonic() - before
            self.cpu_s += cpu_s
            self._next_step += 1
            if not self._next_step % self._block_steps:
                self._next_worker = (self._next_worker + 1) % len(self._workers)
            made: Batch = batch
            return made

    def check(self) -> None:
        """Raise the error that ended the batches, if one did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the workers; iteration stops."""
        self._closed = True
        for worker in self._workers:
            worker.kill()
            worker.join()


def _work(
    sender: Connection, maker: PairMaker, seed: int, starts: Iterator[int], n_pairs: int, reuse: Reuse
) -> None:
    """Make blocks until the process is killed; each batch is sent when the previous one has been received."""
    _prepare_worker()
    for start in starts:
        before = time.process_time()
        for batch in rest_of_block(maker, seed, start, n_pairs, reuse):
            sender.send((batch, time.process_time() - before))
            before = time.process_time()


def _prepare_worker() -> None:
    """Ignore the signals that stop the parent, and exit when the parent is gone."""
    for number in STOP_SIGNALS:  # a terminal sends them to all processes of the group
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_POLL_S)
        os._exit(1)  # a send() would block: the other workers keep the pipe open

    threading.Thread(target=watch, daemon=True).start()
