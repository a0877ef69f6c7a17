"""Batches made ahead by worker processes; the same seed and step give the same batch."""

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

import numpy as np

from overheard.errors import OverheardError
from overheard_train.pairs import Batch, PairMaker


class Batches:
    """An endless source of batches, in order.

    Parameters
    ----------
    maker : makes them; forked into the workers, so that they share its arrays
    seed, first_step : what the first batch is drawn from
    n_pairs : of each batch
    n_workers : processes

    Attributes
    ----------
    cpu_s : processor seconds that the batches handed out so far have taken
    waited_s : seconds that the taker had to wait for them
    """

    def __init__(self, maker: PairMaker, seed: int, first_step: int, n_pairs: int, n_workers: int) -> None:
        self.cpu_s = self.waited_s = 0.0
        self._turn, self._closed = 0, False
        self._error: OverheardError | None = None
        self._lock = threading.Lock()  # Keras reads ahead in a thread of its own
        context = multiprocessing.get_context("fork")
        self._workers: list[multiprocessing.process.BaseProcess] = []
        self._pipes: list[Connection] = []
        for number in range(n_workers):
            receiver, sender = context.Pipe(duplex=False)
            steps = itertools.count(first_step + number, n_workers)
            worker = context.Process(target=_work, args=(sender, maker, seed, steps, n_pairs), daemon=True)
            worker.start()  # before TensorFlow has threads, which a fork would not copy
            sender.close()
            self._workers.append(worker)
            self._pipes.append(receiver)

    def __iter__(self) -> Batches:
        """Return itself."""
        return self

    def __next__(self) -> Batch:
        """Return the next ``(segments, labels)``."""
        with self._lock:
            if self._closed:
                raise StopIteration
            before = time.monotonic()
            try:
                batch, cpu_s = self._pipes[self._turn].recv()
            except (EOFError, OSError) as error:
                if self._closed:
                    raise StopIteration from error
                self._error = OverheardError(
                    "a process that makes batches died (out of memory?): take fewer --workers; "
                    "what was saved before goes on with --resume"
                )
                raise self._error from error
            self.waited_s += time.monotonic() - before
            self.cpu_s += cpu_s
            self._turn = (self._turn + 1) % len(self._workers)
            found: Batch = batch
            return found

    def check(self) -> None:
        """Raise what ended the batches: TensorFlow, which read them, wraps it in an error of its own."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the workers; whoever waits for a batch gets none."""
        self._closed = True
        for worker in self._workers:
            worker.kill()
            worker.join()


def _work(sender: Connection, maker: PairMaker, seed: int, steps: Iterator[int], n_pairs: int) -> None:
    """Make batches for ever; each waits until the one before it is taken."""
    _start_worker()
    for step in steps:
        before = time.process_time()
        batch = maker.batch(np.random.default_rng([seed, step]), n_pairs)
        sender.send((batch, time.process_time() - before))


def _start_worker() -> None:
    """Leave an interrupt, or being told to end, to the parent; end with it even where it is killed."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both reach the whole group
        signal.signal(number, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)  # the pool's pipes stay open between the workers: they would wait for ever

    threading.Thread(target=watch, daemon=True).start()
