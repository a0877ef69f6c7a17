"""Audio files to int16, in some processes that end with the one that started them."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.io
import soxr

from overheard.errors import AudioError
from overheard.fingerprint.spec import SPEC
from overheard.hear import decode as audio
from overheard.index.pool import follow_parent
from overheard.index.scan import file_size
from overheard.process import ONE_THREAD, environment

Int16Array = npt.NDArray[np.int16]
FloatArray = npt.NDArray[np.float32]
Load = Callable[[Path, int], FloatArray]

MIN_POOL_BYTES = 8 << 20  # to start processes for less takes longer than to decode it here
# What scipy lets through when a .mat file is damaged or holds something else.
_MATLAB_ERRORS = (OSError, ValueError, TypeError, LookupError, NotImplementedError, ArithmeticError)


class Decoded(NamedTuple):
    """The sound of a file, ``(n,)`` int16 at the front-end's rate and never empty, or why there is none."""

    samples: Int16Array | None
    reason: str


def load(path: Path, sample_rate: int) -> FloatArray:
    """Load a recording, or a response in the form of the Aachen collection (``.mat`` with ``h_air``).

    Returns
    -------
    (n,) float32, the mean of its channels

    Raises
    ------
    AudioError
        It cannot be read.
    """
    if path.suffix.lower() != ".mat":
        return audio.load(path, sample_rate)
    try:
        tables = scipy.io.loadmat(path, variable_names=["h_air", "air_info"])
        response = np.asarray(tables["h_air"], dtype=np.float32)
        rate = float(tables["air_info"]["fs"].item().item())
        response = response.reshape(min(response.shape), -1) if response.ndim == 2 else response[None]
        return np.asarray(soxr.resample(response.mean(axis=0), rate, sample_rate), dtype=np.float32)
    except _MATLAB_ERRORS as error:
        raise AudioError(f"{path}: holds no response as the Aachen collection keeps it ({error})") from error


def decode(path: Path, normalize: bool = False, loader: Load = load) -> Decoded:
    """Decode a file; `normalize` brings its peak to full scale, so that a quiet response keeps its tail."""
    try:
        waveform = loader(path, SPEC.frontend.sample_rate)
    except AudioError as error:
        return Decoded(None, str(error).removeprefix(f"{path}: "))
    if not len(waveform):
        return Decoded(None, "it holds no sound")
    peak = float(np.abs(waveform).max())
    if normalize and peak > 0:
        waveform = waveform / np.float32(peak)
    samples: Int16Array = np.clip(np.rint(waveform * 32767), -32768, 32767).astype(np.int16)
    return Decoded(samples, "")


def decode_files(
    paths: Sequence[Path], normalize: bool = False, jobs: int = 2, loader: Load = load
) -> Generator[Decoded, None, None]:
    """Decode files in order; no more than two a process are in memory at a time.

    Parameters
    ----------
    jobs : processes; 1 works in this one, and so does what is little
    loader : loads a file; a function of a module where there are several processes
    """
    if jobs <= 1 or sum(map(file_size, paths)) < MIN_POOL_BYTES:
        for path in paths:
            yield decode(path, normalize, loader)
        return
    todo = deque(paths)
    with environment(ONE_THREAD):
        while todo:
            suspects = yield from _in_pool(todo, normalize, jobs, loader)
            for path in suspects:  # one of them took its process down: find out which
                if (yield from _in_pool(deque([path]), normalize, 1, loader)):
                    yield Decoded(None, "decoding it crashed or took too much memory")


def _in_pool(
    todo: deque[Path], normalize: bool, jobs: int, loader: Load
) -> Generator[Decoded, None, list[Path]]:
    """Empty `todo`; return what was being worked on when a process died, else nothing."""
    context = multiprocessing.get_context(
        "spawn"
    )  # a fork would keep the cache's lock, and copy threads' locks
    pending: deque[tuple[Path, Future[Decoded]]] = deque()
    pool = ProcessPoolExecutor(min(jobs, len(todo)), context, follow_parent)
    try:
        while todo or pending:
            while todo and len(pending) < 2 * jobs:
                future = pool.submit(decode, todo[0], normalize, loader)  # raises where a worker has died
                pending.append((todo.popleft(), future))
            decoded = pending[0][1].result()
            pending.popleft()
            yield decoded
    except BrokenProcessPool:
        return [path for path, _ in pending] or [todo.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)
    return []
