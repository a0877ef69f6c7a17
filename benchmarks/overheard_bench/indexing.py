"""How many times faster than it plays music is indexed, on one core, decoding included."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np

if TYPE_CHECKING:
    from overheard.fingerprint.model import Model

RATE = 44_100
FORMATS = {"flac": ("flac", "s16"), "ogg": ("vorbis", "fltp")}  # suffix: encoder, its sample format
SEED = 500


def make_collection(folder: Path, n: int, seconds: float) -> None:
    """Synthesize n pieces as 44.1 kHz stereo, and encode each in every format."""
    from overheard.demo.synth import synthesize

    for i in range(n):
        left = synthesize(SEED + i, seconds, RATE).waveform
        right = 0.8 * np.roll(left, 40)
        stereo = np.stack([left, right.astype(np.float32)])
        for suffix in FORMATS:
            encode(folder / suffix / f"piece-{i}.{suffix}", stereo)


def encode(path: Path, stereo: np.ndarray) -> None:
    """Encode (2, n) float32 at 44.1 kHz in the format that the suffix names."""
    codec, sample_format = FORMATS[path.suffix[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        kind = {"rate": RATE, "layout": "stereo", "format": sample_format}
        vorbis = codec == "vorbis"  # ffmpeg's own encoder: calls itself experimental, takes short frames
        stream = container.add_stream(codec, options={"strict": "-2"} if vorbis else {}, **kind)
        convert = av.AudioResampler(**kind, frame_size=64 if vorbis else 4096)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(stereo), format="fltp", layout="stereo")
        frame.sample_rate = RATE
        for converted in (*convert.resample(frame), *convert.resample(None)):
            for packet in stream.encode(converted):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and what it starts, on one core where the system can."""
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
    """Index the collection, one format at a time, by this process on one core."""
    from overheard.index.run import index
    from overheard.index.worker import ModelFingerprinter

    make = functools.partial(ModelFingerprinter, model.path)
    make_collection(folder, n, seconds)
    found = []
    for suffix, (codec, _) in FORMATS.items():
        with one_core():
            began, cpu = time.perf_counter(), time.process_time()
            index([folder / suffix], folder / f"{suffix}.pack", make, jobs=0)
            wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        found.append(
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
    return found
