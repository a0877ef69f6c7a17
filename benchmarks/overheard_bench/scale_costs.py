"""Measure what a catalogue costs: opening, memory, adding an album.

Each measurement runs in a process of its own, so that memory and caches of one do not affect another.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from overheard.catalogue.layers import merge_layers, write_layer
from overheard.catalogue.pack import TrackEntry, open_pack
from overheard.fingerprint.model import load_model
from overheard.recognize.recognizer import Recognizer
from overheard_bench.memory_limit import run_limited
from overheard_bench.process import memory_kb
from overheard_bench.scale_times import Sounds, seconds_of

REMEMBERED_S = 20  # of each scene that is listened to before the memory is measured
MEMORY_LIMIT_MB = 400  # of a control group

Result = TypeVar("Result")
Costs = dict[str, Any]


def costs(
    pack: Path, model: Path, sounds: Sounds, album: Sequence[TrackEntry], call: Callable[..., Costs]
) -> Costs:
    """Measure one pack, which is linked to from a folder beside it, so that its derived files are separate.

    Parameters
    ----------
    album : tracks to add
    call : :func:`in_process`, or :func:`call_directly` in a quick run
    """
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
        result |= {"memory": call(remembering, linked, model, sounds)}
        result |= {"album": call(adding, linked, album)}
        result |= {"open_with_album": call(opening, linked, model)}
        for file in _derived_files(folder):
            file.unlink()
        result |= {"limited": run_limited(MEMORY_LIMIT_MB, opening_and_remembering, linked, model, sounds)}
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


def remembering(pack: Path, model_path: Path, sounds: Sounds) -> Costs:
    """Measure the memory of a process that has identified a clip and listened."""
    model = load_model(model_path)
    recognizer = Recognizer(model, [open_pack(pack, model.digest)])
    recognizer.identify(sounds.known[0])
    for sound in sounds.scenes.values():
        listener = recognizer.listener()
        for block in seconds_of(sound)[:REMEMBERED_S]:
            listener.process(block)
    names = {"resident_mb": "VmRSS", "anonymous_mb": "RssAnon", "mapped_mb": "RssFile", "peak_mb": "VmHWM"}
    return {name: _mb(field) for name, field in names.items()}


def opening_and_remembering(pack: Path, model_path: Path, sounds: Sounds) -> Costs:
    """Measure a first opening, which builds the derived index, and what follows it, in one process."""
    return {"first_open": opening(pack, model_path), "memory": remembering(pack, model_path, sounds)}


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
