"""The corpus as memory-mapped int16 arrays at 8 kHz, decoded once into a cache outside git."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from overheard.audio import load
from overheard.errors import AudioError
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
    """Return the manifest's rows of these kinds and this split (``train`` or ``valid``), at least one.

    Raises
    ------
    AudioError
        The corpus or its manifest is missing, unreadable, or lists nothing of the kind.
    """
    path, kinds = data_dir / "manifest.csv", sorted(kinds)
    if not data_dir.is_dir():
        raise AudioError(f"there is no corpus in {data_dir}: name its folder with --data")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise AudioError(f"{data_dir} has no manifest.csv: name the corpus with --data") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudioError(f"{path} is unreadable ({error}): mend it or take a new copy") from error
    if rows and not {"kind", "split", "path"} <= set(rows[0]):
        raise AudioError(f"{path} needs the columns kind, split and path")
    found = [row for row in rows if row["kind"] in kinds and row["split"] == split]
    if not found:
        raise AudioError(f"{path} lists no {' or '.join(kinds)} of the split {split}: add some")
    return found


def load_clips(data_dir: Path, kinds: Iterable[str], split: str, cache_dir: Path | None = None) -> Clips:
    """Decode these recordings at the front-end's sample rate, or map the cached array.

    Parameters
    ----------
    data_dir : the corpus, with its ``manifest.csv``
    kinds : of the manifest's column ``kind``
    split : ``train`` or ``valid``

    Raises
    ------
    AudioError
        As :func:`read_manifest`, or a recording cannot be decoded.
    """
    kinds = sorted(kinds)
    paths = tuple(row["path"] for row in read_manifest(data_dir, kinds, split))
    cache = (cache_dir or default_cache_dir()) / f"{'+'.join(kinds)}-{split}-{SPEC.frontend.sample_rate}"
    index_path, samples_path = cache.with_suffix(".json"), cache.with_suffix(".s16")
    stamps = _stamps(data_dir, paths)
    starts = _cached_starts(index_path, samples_path, paths, stamps)
    if starts is None:
        index_path.unlink(missing_ok=True)  # a crash must not leave it beside other samples
        starts = _decode(data_dir, paths, samples_path)
        text = json.dumps({"paths": paths, "stamps": stamps, "starts": starts})
        _replace(index_path, lambda file: file.write(text.encode()))
    if not starts[-1]:
        raise AudioError(f"the {' or '.join(kinds)} of {data_dir} ({split}) hold no sound")
    return Clips(np.memmap(samples_path, dtype=np.int16, mode="r"), np.array(starts, dtype=np.int64), paths)


def _stamps(data_dir: Path, paths: tuple[str, ...]) -> list[list[int]]:
    """Return size and time of each file: what tells that it is the one which was decoded."""
    try:
        return [[found.st_size, found.st_mtime_ns] for found in ((data_dir / path).stat() for path in paths)]
    except OSError as error:
        raise AudioError(
            f"{error.filename} is in the manifest and cannot be read: {error.strerror}"
        ) from error


def _cached_starts(
    index_path: Path, samples_path: Path, paths: tuple[str, ...], stamps: list[list[int]]
) -> list[int] | None:
    try:
        index = json.loads(index_path.read_text(encoding="utf-8"))
        starts: list[int] = index["starts"]
        same = tuple(index["paths"]) == paths and index["stamps"] == stamps
        return starts if same and samples_path.stat().st_size == 2 * starts[-1] else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # missing or damaged: decoded anew
        return None


def _decode(data_dir: Path, paths: tuple[str, ...], destination: Path) -> list[int]:
    destination.parent.mkdir(parents=True, exist_ok=True)
    starts = [0]

    def write(file: BinaryIO) -> None:
        for path in paths:
            waveform = load(data_dir / path, SPEC.frontend.sample_rate)
            pcm = np.clip(np.rint(waveform * 32767), -32768, 32767).astype(np.int16)
            file.write(pcm.tobytes())
            starts.append(starts[-1] + len(pcm))

    _replace(destination, write)
    return starts


def _replace(destination: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside the destination, of a name that no other process takes, and rename it."""
    handle, name = tempfile.mkstemp(prefix=f"{destination.name}.", suffix=".partial", dir=destination.parent)
    try:
        with open(handle, "wb") as file:
            write(file)
        os.replace(name, destination)
    except BaseException:
        os.unlink(name)
        raise


def load_responses(
    data_dir: Path, kinds: Iterable[str], split: str, cache_dir: Path | None = None
) -> list[npt.NDArray[np.float32]]:
    """Return the responses that are not silent, float32 at the front-end's rate, peak at 1."""
    clips = load_clips(data_dir, kinds, split, cache_dir)
    responses = []
    for index in range(len(clips)):
        response = clips.clip(index).astype(np.float32)
        peak = np.abs(response).max(initial=0)
        if peak > 0:
            responses.append(response / peak)
    if not responses:
        raise AudioError(f"the responses of {data_dir} ({split}) are all silent: add some")
    return responses
