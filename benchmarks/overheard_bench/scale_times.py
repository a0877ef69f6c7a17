"""Time searches, clips and listening with catalogues of several sizes, in turns.

Each clip and each second of sound is processed with one catalogue after the other, so that other work on the
machine affects all alike. What counts is the ratio of the times.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from overheard.catalogue.pack import open_pack
from overheard.fingerprint.embedder import Embedder, query_waveform
from overheard.fingerprint.frontend import FloatArray, StreamingFrontend
from overheard.fingerprint.model import load_model
from overheard.recognize import speed_follower
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.windows import CLIP_STEP_FRAMES, LISTEN_SEARCH_SHARE
from overheard_bench.corpus import SAMPLE_RATE
from overheard_bench.stopwatch import Method, Stopwatch, spread

SOUND_STAGES: dict[str, list[Method]] = {  # what does not depend on the catalogue
    "front-end": [(StreamingFrontend, "process")],
    "model": [(Embedder, "query")],
}
SHARES = {"search": 1.0, "listen_search": LISTEN_SEARCH_SHARE}

Call = Callable[[], object]
Times = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Sounds:
    """Clips of known and unknown music, and scenes to listen to; each (n,) float32 at 8 kHz."""

    known: Sequence[FloatArray]
    unknown: Sequence[FloatArray]
    scenes: Mapping[str, FloatArray]


def times(packs: Sequence[Path], model_path: Path, sounds: Sounds) -> list[Times]:
    """Return the processor times with each pack, in ms, in all and of search and match."""
    model = load_model(model_path)
    recognizers = [Recognizer(model, [open_pack(pack, model.digest)]) for pack in packs]
    for recognizer in recognizers:
        recognizer.identify(sounds.known[0])
    tables = {name: searches(recognizers, sounds.known, share) for name, share in SHARES.items()}
    tables["clip"] = clips(recognizers, sounds.known)
    tables["unknown_clip"] = clips(recognizers, sounds.unknown)
    with own_speed_only():
        tables["unknown_clip_own_speed"] = clips(recognizers, sounds.unknown)
    heard = {scene: listening(recognizers, sound) for scene, sound in sounds.scenes.items()}
    return [
        {name: table[row] for name, table in tables.items()}
        | {"listen": {scene: table[row] for scene, table in heard.items()}}
        for row in range(len(packs))
    ]


@contextlib.contextmanager
def own_speed_only() -> Iterator[None]:
    """Compare clips only at the speed of their tracks within the block."""
    with mock.patch.object(speed_follower, "SPEEDS", ()):
        yield


def searches(
    recognizers: Sequence[Recognizer], clips: Sequence[FloatArray], share: float
) -> list[dict[str, float]]:
    """Time the search for one query embedding; `share` as in ``Catalogue.candidates``."""
    found: list[list[float]] = [[] for _ in recognizers]
    for clip in clips:
        queries = query_waveform(recognizers[0].embedder, clip, CLIP_STEP_FRAMES).embeddings
        for row in range(len(queries)):
            for recognizer, listed in zip(recognizers, found, strict=True):
                began = time.process_time_ns()
                recognizer.index.candidates(queries[row : row + 1], share=share)
                listed.append((time.process_time_ns() - began) / 1e6)
    return [spread(listed) for listed in found]


def clips(recognizers: Sequence[Recognizer], sounds: Sequence[FloatArray]) -> list[dict[str, float]]:
    """Time the identification of clips; the mean."""
    rows = [[functools.partial(each.identify, sound) for each in recognizers] for sound in sounds]
    return in_turns(rows)


def listening(recognizers: Sequence[Recognizer], sound: FloatArray) -> list[dict[str, float]]:
    """Time listening to a sound from its first second on; the mean of a second."""
    listeners = [recognizer.listener() for recognizer in recognizers]
    return in_turns(
        [functools.partial(each.process, block) for each in listeners] for block in seconds_of(sound)
    )


def seconds_of(sound: FloatArray) -> FloatArray:
    """Return the whole seconds of a sound, ``(n, rate)``."""
    return sound[: len(sound) // SAMPLE_RATE * SAMPLE_RATE].reshape(-1, SAMPLE_RATE)


def in_turns(rows: Iterable[Sequence[Call]]) -> list[dict[str, float]]:
    """Call all of each row, and return the mean times of each column."""
    watch, n = Stopwatch(), 0
    with watch.watch(SOUND_STAGES):
        for row in rows:
            n = len(row)
            for call in row:
                watch.second(call)
    return [_means(watch.seconds[column::n]) for column in range(n)]


def _means(calls: Sequence[Mapping[str, float]]) -> dict[str, float]:
    sound = [sum(each.get(stage, 0.0) for stage in SOUND_STAGES) for each in calls]
    everything = [each["whole path"] for each in calls]
    return {
        "search_match_ms": round(statistics.fmean(np.subtract(everything, sound)), 3),
        "all_ms": round(statistics.fmean(everything), 3),
    }
