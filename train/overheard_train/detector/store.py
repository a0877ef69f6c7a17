"""Make the detector's examples on every core, and keep them in a file that an interrupted run continues."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from overheard.hear.detector import spec_digest
from overheard.hear.texture import N_FEATURES
from overheard_train.data import Data, open_data
from overheard_train.detector.examples import SCENE_S, ExampleMaker, Mix, make
from overheard_train.output_files import exclusive_lock, write_text

log = logging.getLogger(__name__)

VERSION = 4  # of the examples: raise it when the same seed makes other ones
CHUNK = 100  # examples that one process makes at a time; an interrupted run loses at most these
Features = npt.NDArray[np.float16]
REPORT_INTERVAL_S = 30.0


@dataclasses.dataclass(frozen=True)
class Examples:
    """Features ``(n, SCENE_S, N_FEATURES)`` float16 and labels ``(n, SCENE_S)`` uint8 of scenes."""

    features: Features
    labels: npt.NDArray[np.uint8]


def stored_examples(data: Data, n: int, held_out: bool, seed: int, workers: int = 2) -> Examples:
    """Return examples from the cache; make those that it lacks.

    Parameters
    ----------
    n : number of examples, rounded up to whole chunks
    held_out : whether they are from the recordings that are held out to choose thresholds
    workers : number of processes
    """
    n_chunks = -(-n // CHUNK)
    base = data.cache_path(f"detector-{_digest(data, held_out, seed)}")
    base.parent.mkdir(parents=True, exist_ok=True)
    problem = f"another training is making the examples {base}"
    with exclusive_lock(base.with_suffix(".lock"), problem, "wait for it, or use another --seed"):
        done = _done(base)
        if done < n_chunks:
            log.info("making %d examples in %s", (n_chunks - done) * CHUNK, base.with_suffix(".f16"))
            _fill(base, data.names, range(done, n_chunks), (held_out, seed), workers)
    n = n_chunks * CHUNK
    return Examples(
        np.memmap(base.with_suffix(".f16"), np.float16, "r", shape=(n, SCENE_S, N_FEATURES)),
        np.memmap(base.with_suffix(".u8"), np.uint8, "r", shape=(n, SCENE_S)),
    )


def _digest(data: Data, held_out: bool, seed: int) -> str:
    stamps = [(data.name(r), r.path.stat().st_size) for r in data.recordings if r.split == "train"]
    about = [VERSION, CHUNK, spec_digest(), dataclasses.astuple(Mix()), held_out, seed, stamps]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def _done(base: Path) -> int:
    """Return the number of chunks that earlier runs completed."""
    files = [base.with_suffix(suffix) for suffix in (".json", ".f16", ".u8")]
    if not all(path.is_file() for path in files):
        return 0
    return int(json.loads(files[0].read_text(encoding="utf-8"))["chunks"])


def _fill(base: Path, names: Sequence[str], chunks: range, which: tuple[bool, int], workers: int) -> None:
    """Append chunks to the files; what an interrupted run left after its last chunk is overwritten."""
    reported_at = time.monotonic()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(_opened(base.with_suffix(suffix))) for suffix in (".f16", ".u8")]
        for number, chunk in zip(chunks, _made(names, chunks, which, workers), strict=True):
            for file, content in zip(files, (part.tobytes() for part in chunk), strict=True):
                file.seek(number * len(content))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            write_text(base.with_suffix(".json"), json.dumps({"chunks": number + 1}) + "\n")
            if time.monotonic() > reported_at + REPORT_INTERVAL_S:
                reported_at = time.monotonic()
                log.info("%d of %d examples", (number + 1) * CHUNK, chunks.stop * CHUNK)


def _opened(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")


Chunk = tuple[Features, npt.NDArray[np.uint8]]


def _made(names: Sequence[str], chunks: range, which: tuple[bool, int], workers: int) -> Iterator[Chunk]:
    if workers < 2:
        maker = make(open_data(names), *which)
        yield from (make_chunk(maker, which, number) for number in chunks)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit TensorFlow's threads
    with ProcessPoolExecutor(workers, context, _start, (names, which)) as pool:
        yield from pool.map(_chunk, chunks)


def make_chunk(maker: ExampleMaker, which: tuple[bool, int], number: int) -> Chunk:
    """Return one chunk of examples; it depends only on the seed, its number and the recordings."""
    held_out, seed = which
    rng = np.random.default_rng([seed, 79, int(held_out), number])
    examples = [maker.example(rng) for _ in range(CHUNK)]
    features, labels = zip(*examples, strict=True)
    return np.stack(features).astype(np.float16), np.stack(labels)


_worker: list[tuple[ExampleMaker, tuple[bool, int]]] = []  # of this process


def _start(names: Sequence[str], which: tuple[bool, int]) -> None:
    _worker.append((make(open_data(names), *which), which))


def _chunk(number: int) -> Chunk:
    maker, which = _worker[0]
    return make_chunk(maker, which, number)
