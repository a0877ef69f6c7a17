"""Measure what a catalogue costs: opening, searching, listening, identifying a clip, adding an album.

Each measurement runs in a process of its own, so that memory and caches of one do not affect another.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from overheard.catalogue.layers import merge_layers, write_layer
from overheard.catalogue.pack import TrackEntry, open_pack
from overheard.fingerprint.embedder import Embedder, query_waveform
from overheard.fingerprint.frontend import FloatArray, StreamingFrontend
from overheard.fingerprint.model import load_model
from overheard.recognize.pipeline import Recognizer
from overheard.recognize.windows import CLIP_STEP_FRAMES
from overheard_bench.corpus import SAMPLE_RATE
from overheard_bench.process import memory_kb
from overheard_bench.stopwatch import Method, Stopwatch, spread

WARM_UP_S = 12  # of listening; the longest window is full after it
SOUND_STAGES: dict[str, list[Method]] = {  # what does not depend on the catalogue
    "front-end": [(StreamingFrontend, "process")],
    "model": [(Embedder, "query")],
}

Result = TypeVar("Result")
Costs = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Sounds:
    """Clips of known music to identify, and scenes to listen to; each (n,) float32 at 8 kHz."""

    clips: Sequence[FloatArray]
    scenes: Mapping[str, FloatArray]


def costs(
    pack: Path, model: Path, sounds: Sounds, album: Sequence[TrackEntry], isolated: bool = True
) -> Costs:
    """Measure one pack, which is linked to from a folder beside it, so that its derived files are separate.

    Parameters
    ----------
    album : tracks to add
    isolated : whether each measurement has a process of its own; a quick run does without
    """
    call = in_process if isolated else call_directly
    folder = pack.parent / f"measured-{os.getpid()}"
    folder.mkdir()
    linked = folder / pack.name
    try:
        os.link(pack, linked)
        result = {"first_open": call(opening, linked, model)}
        derived = sum(path.stat().st_size for path in _derived_files(folder))
        drop_cached(folder)
        result |= {"cold_open": call(opening, linked, model)}
        result |= {"warm_open": call(opening, linked, model)}
        result |= call(searching, linked, model, sounds)
        result |= {"album": call(adding, linked, album)}
        result |= {"open_with_album": call(opening, linked, model)}
        return result | {"derived_bytes": derived}
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()


def _derived_files(folder: Path) -> list[Path]:
    return [path for path in (folder / ".derived").rglob("*") if path.is_file()]


def in_process(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function of a module in a new process and return its result."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def call_directly(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in this process."""
    return function(*arguments)


def drop_cached(folder: Path) -> None:
    """Ask the system to forget the files of a folder, so that they are read from the disk again."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # what is not written cannot be forgotten
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def opening(pack: Path, model_path: Path) -> Costs:
    """Measure opening a pack for recognition; the model is loaded before."""
    model = load_model(model_path)
    Recognizer(model, [])
    wall, cpu = time.perf_counter(), time.process_time()
    Recognizer(model, [open_pack(pack, model.digest)])
    return {
        "cpu_s": round(time.process_time() - cpu, 3),
        "wall_s": round(time.perf_counter() - wall, 3),
        "peak_resident_mb": _mb("VmHWM"),
    }


def searching(pack: Path, model_path: Path, sounds: Sounds) -> Costs:
    """Measure searches, clips and listening, and the memory of the process after it."""
    model = load_model(model_path)
    recognizer = Recognizer(model, [open_pack(pack, model.digest)])
    recognizer.identify(sounds.clips[0])
    result: Costs = {"search": searches(recognizer, sounds.clips), "clip": clips(recognizer, sounds.clips)}
    result["listen"] = {name: listening(recognizer, sound) for name, sound in sounds.scenes.items()}
    names = {"resident_mb": "VmRSS", "anonymous_mb": "RssAnon", "mapped_mb": "RssFile"}
    result["memory"] = {name: _mb(field) for name, field in names.items()}
    return result


def searches(recognizer: Recognizer, waveforms: Sequence[FloatArray]) -> dict[str, float]:
    """Measure the search for one query embedding, in ms of processor time."""
    times: list[float] = []
    for waveform in waveforms:
        queries = query_waveform(recognizer.embedder, waveform, CLIP_STEP_FRAMES)
        for row in range(len(queries.embeddings)):
            began = time.process_time_ns()
            recognizer.index.candidates(queries.embeddings[row : row + 1])
            times.append((time.process_time_ns() - began) / 1e6)
    return spread(times)


def clips(recognizer: Recognizer, waveforms: Sequence[FloatArray]) -> dict[str, float]:
    """Measure the identification of clips: median processor time in ms, in all and of search and match."""
    tables = []
    for waveform in waveforms:
        watch = Stopwatch()
        with watch.watch(SOUND_STAGES):
            watch.second(functools.partial(recognizer.identify, waveform))
        tables.append(_search_and_match(watch)[0])
    return {name: round(statistics.median(each[name] for each in tables), 3) for name in tables[0]}


def listening(recognizer: Recognizer, sound: FloatArray) -> dict[str, float]:
    """Measure listening: mean processor time in ms per second, in all and of search and match."""
    listener, watch = recognizer.listener(), Stopwatch()
    blocks = sound[: len(sound) // SAMPLE_RATE * SAMPLE_RATE].reshape(-1, SAMPLE_RATE)
    for block in blocks[:WARM_UP_S]:
        listener.process(block)
    with watch.watch(SOUND_STAGES):
        for block in blocks[WARM_UP_S:]:
            watch.second(functools.partial(listener.process, block))
    seconds = _search_and_match(watch)
    return {name: round(statistics.fmean(each[name] for each in seconds), 3) for name in seconds[0]}


def _search_and_match(watch: Stopwatch) -> list[dict[str, float]]:
    return [
        {
            "search_match_ms": each["whole path"] - sum(each.get(stage, 0.0) for stage in SOUND_STAGES),
            "all_ms": each["whole path"],
        }
        for each in watch.seconds
    ]


def adding(pack_path: Path, album: Sequence[TrackEntry]) -> Costs:
    """Measure adding tracks, whose fingerprints exist, to a pack on disk."""
    before = {path: path.stat().st_mtime_ns for path in pack_path.parent.rglob("*") if path.is_file()}
    wall, cpu = time.perf_counter(), time.process_time()
    write_layer(open_pack(pack_path), album)
    merge_layers(open_pack(pack_path))
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    files = [path for path in pack_path.parent.rglob("*") if path.is_file()]
    written = sum(path.stat().st_size for path in files if before.get(path) != path.stat().st_mtime_ns)
    return {
        "tracks": len(album),
        "cpu_s": round(cpu_s, 3),
        "wall_s": round(wall_s, 3),
        "written_mb": round(written / 1e6, 3),
        "peak_resident_mb": _mb("VmHWM"),
    }


def _mb(field: str) -> float | None:
    kb = memory_kb(os.getpid()).get(field)
    return None if kb is None else round(kb * 1024 / 1e6, 1)
