"""Decode audio files to int16, in worker processes that end with their parent."""

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
import soxr

from overheard.errors import AudioError
from overheard.fingerprint.spec import SPEC
from overheard.hear import decode as audio
from overheard.hear.resampler import to_int16
from overheard.index.pool import follow_parent
from overheard.index.scan import file_size
from overheard.process import ONE_THREAD, environment

Int16Array = npt.NDArray[np.int16]
FloatArray = npt.NDArray[np.float32]
Load = Callable[[Path, int], FloatArray]

MIN_POOL_BYTES = 8 << 20  # decoding less takes less time than starting processes
CRASHED = "decoding it crashed or took too much memory"
NO_SOUND = "it holds no sound"


class Decoded(NamedTuple):
    """The samples of a file, or the reason why there are none.

    Attributes
    ----------
    samples : (n,) int16 at the front-end's sample rate, not empty; None if the file cannot be decoded
    reason : empty if it can
    """

    samples: Int16Array | None
    reason: str


def load(path: Path, sample_rate: int) -> FloatArray:
    """Load a recording, or an impulse response of the Aachen collection (``.mat`` with ``h_air``).

    Returns
    -------
    (n,) float32, the mean of all channels

    Raises
    ------
    AudioError
        The file cannot be read.
    """
    if path.suffix.lower() != ".mat":
        return audio.load(path, sample_rate)
    response, rate = _read_matlab(path)
    mono = response.reshape(min(response.shape), -1).mean(axis=0, dtype=np.float32)
    return np.asarray(soxr.resample(mono, rate, sample_rate), dtype=np.float32)


def _read_matlab(path: Path) -> tuple[FloatArray, float]:
    """Return an Aachen response, ``(n, m)`` with channels in the shorter dimension, and its sample rate."""
    import scipy.io  # its import takes as long as that of all others, in each process

    format_error = f"{path}: not a response in the format of the Aachen collection"
    try:
        tables = scipy.io.loadmat(path, variable_names=["h_air", "air_info"])
    except Exception as error:  # scipy raises errors of many types for damaged files
        raise AudioError(f"{format_error} ({error})") from error
    response, info = tables.get("h_air"), tables.get("air_info")
    if response is None or response.dtype.kind not in "iuf" or response.ndim != 2 or not response.size:
        raise AudioError(f"{format_error} (no matrix h_air)")
    if info is None or info.dtype.names is None or "fs" not in info.dtype.names or info.size != 1:
        raise AudioError(f"{format_error} (no air_info.fs)")
    rate = np.asarray(info["fs"].item())
    if rate.size != 1 or rate.dtype.kind not in "iuf" or not 0 < rate.item() < np.inf:
        raise AudioError(f"{format_error} (no sample rate in air_info.fs)")
    return response.astype(np.float32), float(rate.item())


def decode(path: Path, normalize: bool = False, loader: Load = load) -> Decoded:
    """Decode a file.

    Parameters
    ----------
    normalize : scale the peak to full scale, so that int16 keeps the tail of a quiet response
    loader : loads a file at a sample rate
    """
    try:
        waveform = loader(path, SPEC.frontend.sample_rate)
    except AudioError as error:
        return Decoded(None, error.problem.removeprefix(f"{path}: "))
    if not len(waveform):
        return Decoded(None, NO_SOUND)
    peak = float(np.abs(waveform).max())
    if normalize and peak > 0:
        waveform = waveform / np.float32(peak)
    return Decoded(to_int16(waveform), "")


def decode_files(
    paths: Sequence[Path], normalize: bool = False, jobs: int = 2, loader: Load = load
) -> Generator[Decoded, None, None]:
    """Decode files, and yield them in order; at most two per process are in memory.

    Parameters
    ----------
    normalize, loader : see :func:`decode`; with several processes, the loader must be picklable
    jobs : number of processes; 1, or little data, uses the current process
    """
    if jobs <= 1 or sum(map(file_size, paths)) < MIN_POOL_BYTES:
        for path in paths:
            yield decode(path, normalize, loader)
        return
    todo = deque(paths)
    with environment(ONE_THREAD):
        while todo:
            suspects = yield from _in_pool(todo, normalize, jobs, loader)
            for path in suspects:  # one of them crashed the process: decode each in a process of its own
                if (yield from _in_pool(deque([path]), normalize, 1, loader)):
                    yield Decoded(None, CRASHED)


def _in_pool(
    todo: deque[Path], normalize: bool, jobs: int, loader: Load
) -> Generator[Decoded, None, list[Path]]:
    """Decode all of `todo`; if a process dies, return the files that were being decoded."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of threads, and the cache's lock
    pending: deque[tuple[Path, Future[Decoded]]] = deque()
    pool = ProcessPoolExecutor(min(jobs, len(todo)), context, follow_parent)
    try:
        while todo or pending:
            while todo and len(pending) < 2 * jobs:
                future = pool.submit(decode, todo[0], normalize, loader)  # raises if a worker died
                pending.append((todo.popleft(), future))
            decoded = pending[0][1].result()
            pending.popleft()
            yield decoded
    except BrokenProcessPool:
        return [path for path, _ in pending] or [todo.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)
    return []
