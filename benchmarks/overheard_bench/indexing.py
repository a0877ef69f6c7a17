"""Measure how many times faster than real time music is indexed, on one core, decoding included."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from overheard.demo.synth import synthesize
from overheard.fingerprint.model import Model
from overheard.index.run import index
from overheard.index.worker import ModelFingerprinter

SAMPLE_RATE = 44_100
FORMATS = {"flac": ("flac", "s16", 4096), "ogg": ("vorbis", "fltp", 64)}  # encoder, sample format, frame size
SEED = 500  # of the first synthesized piece


def make_collection(folder: Path, n: int, seconds: float) -> None:
    """Synthesize n pieces as 44.1 kHz stereo, and encode each in every format."""
    for i in range(n):
        left = synthesize(SEED + i, seconds, SAMPLE_RATE).waveform
        right = 0.8 * np.roll(left, 40)
        stereo = np.stack([left, right.astype(np.float32)])
        for suffix in FORMATS:
            encode(folder / suffix / f"piece-{i}.{suffix}", stereo)


def encode(path: Path, stereo: npt.NDArray[np.float32]) -> None:
    """Encode (2, n) float32 at 44.1 kHz in the format of the suffix."""
    codec, sample_format, frame_size = FORMATS[path.suffix[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        # FFmpeg marks its own Vorbis encoder as experimental: strict=-2 allows it.
        options = {"strict": "-2"}
        stream: Any = container.add_stream(codec, SAMPLE_RATE, options, layout="stereo", format=sample_format)
        convert = av.AudioResampler(sample_format, "stereo", SAMPLE_RATE, frame_size)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stereo), format="fltp", layout="stereo")
        frame.sample_rate = SAMPLE_RATE
        for converted in (*convert.resample(frame), *convert.resample(None)):
            for packet in stream.encode(converted):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process and its children on one core, if the system supports it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measure(folder: Path, model: Model, n: int, seconds: float) -> list[dict[str, Any]]:
    """Index the collection in this process on one core, one format at a time."""
    make = functools.partial(ModelFingerprinter, model.path)
    make_collection(folder, n, seconds)
    results = []
    for suffix, (codec, *_) in FORMATS.items():
        with one_core():
            began, cpu = time.perf_counter(), time.process_time()
            index([folder / suffix], folder / f"{suffix}.pack", make, jobs=0)
            wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        results.append(
            {
                "format": suffix,
                "codec": codec,
                "audio_s": n * seconds,
                "wall_s": round(wall_s, 3),
                "cpu_s": round(cpu_s, 3),
                "x_real_time": round(n * seconds / wall_s, 1),
                "x_real_time_by_cpu": round(n * seconds / cpu_s, 1),
            }
        )
    return results
