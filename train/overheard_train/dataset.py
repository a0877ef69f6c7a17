"""The corpus as memory-mapped int16 arrays at 8 kHz, decoded once into a cache outside git."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overheard.audio import load
from overheard.spec import SPEC

Int16Array = npt.NDArray[np.int16]


def default_cache_dir() -> Path:
    """Return where decoded audio is kept: ``$OVERHEARD_CACHE_DIR`` or ``~/.cache/overheard``."""
    return Path(os.environ.get("OVERHEARD_CACHE_DIR", Path.home() / ".cache" / "overheard"))


@dataclasses.dataclass(frozen=True)
class Clips:
    """Many recordings end to end in one array.

    Attributes
    ----------
    samples : (n,) int16 memory map
    starts : (n_clips + 1,) int64, in samples
    paths : relative paths, one a clip
    """

    samples: Int16Array
    starts: npt.NDArray[np.int64]
    paths: tuple[str, ...]

    def __len__(self) -> int:
        """Return how many recordings there are."""
        return len(self.paths)

    def clip(self, index: int) -> Int16Array:
        """Return one recording, ``(n,)`` int16."""
        return self.samples[self.starts[index] : self.starts[index + 1]]


def read_manifest(data_dir: Path, kinds: Iterable[str], split: str) -> list[dict[str, str]]:
    """Return the manifest's rows of these kinds and this split (``train`` or ``valid``)."""
    wanted = set(kinds)
    with open(data_dir / "manifest.csv", newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["kind"] in wanted and row["split"] == split]


def load_clips(data_dir: Path, kinds: Iterable[str], split: str, cache_dir: Path | None = None) -> Clips:
    """Decode these recordings at the front-end's sample rate, or map the cached array.

    Parameters
    ----------
    data_dir : the corpus, with its ``manifest.csv``
    kinds : of the manifest's column ``kind``
    split : ``train`` or ``valid``
    """
    kinds = sorted(kinds)
    rows = read_manifest(data_dir, kinds, split)
    paths = tuple(row["path"] for row in rows)
    cache = (cache_dir or default_cache_dir()) / f"{'+'.join(kinds)}-{split}-{SPEC.frontend.sample_rate}"
    index_path, samples_path = cache.with_suffix(".json"), cache.with_suffix(".s16")
    if index_path.exists():
        index = json.loads(index_path.read_text())
        if tuple(index["paths"]) == paths:
            samples = np.memmap(samples_path, dtype=np.int16, mode="r")
            return Clips(samples, np.array(index["starts"], dtype=np.int64), paths)
    starts = _decode(data_dir, paths, samples_path)
    index_path.write_text(json.dumps({"paths": paths, "starts": starts}))
    return Clips(np.memmap(samples_path, dtype=np.int16, mode="r"), np.array(starts, dtype=np.int64), paths)


def _decode(data_dir: Path, paths: tuple[str, ...], destination: Path) -> list[int]:
    destination.parent.mkdir(parents=True, exist_ok=True)
    starts = [0]
    temporary = destination.with_suffix(".partial")
    with open(temporary, "wb") as file:
        for path in paths:
            waveform = load(data_dir / path, SPEC.frontend.sample_rate)
            pcm = np.clip(np.rint(waveform * 32767), -32768, 32767).astype(np.int16)
            file.write(pcm.tobytes())
            starts.append(starts[-1] + len(pcm))
    os.replace(temporary, destination)
    return starts


def load_responses(
    data_dir: Path, kinds: Iterable[str], split: str, cache_dir: Path | None = None
) -> list[npt.NDArray[np.float32]]:
    """Return impulse responses as float32 arrays at the front-end's rate, peak at 1."""
    clips = load_clips(data_dir, kinds, split, cache_dir)
    responses = []
    for index in range(len(clips)):
        response = clips.clip(index).astype(np.float32)
        peak = np.abs(response).max(initial=0)
        if peak > 0:
            responses.append(response / peak)
    return responses
