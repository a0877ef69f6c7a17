"""Recordings as one memory-mapped int16 array, decoded once into a cache outside git."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.errors import AudioError
from overheard.fingerprint.spec import SPEC
from overheard_train.data.decode import Decoded, Int16Array, Load, decode_files, load
from overheard_train.data.journal import Journal

log = logging.getLogger(__name__)

JOBS = 2
_REPORT_S = 30.0
Stamp = tuple[int, int]


def default_cache_dir() -> Path:
    """Return where decoded audio is kept: ``$OVERHEARD_CACHE_DIR`` or ``~/.cache/overheard``."""
    return Path(os.environ.get("OVERHEARD_CACHE_DIR") or Path.home() / ".cache" / "overheard")


@dataclasses.dataclass(frozen=True)
class Clips:
    """Many recordings end to end in one array.

    Attributes
    ----------
    samples : (n,) int16 memory map
    starts : (n_clips + 1,) int64, in samples
    paths : one a clip, as :meth:`overheard_train.data.Data.name` calls it
    unreadable : path and reason of each recording that is left out
    """

    samples: Int16Array
    starts: npt.NDArray[np.int64]
    paths: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """Return how many recordings there are."""
        return len(self.paths)

    def clip(self, index: int) -> Int16Array:
        """Return one recording, ``(n,)`` int16."""
        return self.samples[self.starts[index] : self.starts[index + 1]]

    def hours_of(self, numbers: Sequence[int]) -> float:
        """Return how long some of them are together."""
        lengths = np.diff(self.starts)[list(numbers)]
        return float(lengths.sum()) / SPEC.frontend.sample_rate / 3600

    def within(self, hours: float, seed: int) -> npt.NDArray[np.int64]:
        """Return numbers of recordings, drawn by chance, of so many hours at most: in order, at least one."""
        order = np.random.default_rng(seed).permutation(len(self))
        ends = np.cumsum(np.diff(self.starts)[order])
        n = int(np.sum(ends <= hours * 3600 * SPEC.frontend.sample_rate))
        return np.sort(order[: max(1, n)]).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a cache is to hold.

    Attributes
    ----------
    names : what the clips are called, one a file
    normalize : bring each recording's peak to full scale
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    normalize: bool = False

    def stamps(self) -> list[Stamp]:
        """Return size and time of each file: what tells that it is the one which was decoded."""
        return [_stamp(path) for path in self.files]


def cached_clips(base: Path, listing: Listing, jobs: int = JOBS, loader: Load = load) -> Clips:
    """Map a cache; decode what it lacks before, taking up what an interrupted run left.

    Parameters
    ----------
    base : the cache is ``BASE.s16`` and ``BASE.json``
    jobs : processes that decode
    loader : loads a file

    Raises
    ------
    AudioError
        Not a single recording can be read.
    """
    stamps = listing.stamps()
    index = _read_index(base)
    if not _fits(index, listing, stamps):
        base.parent.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(json.dumps([listing.names, stamps, listing.normalize]).encode()).hexdigest()
        journal = Journal(base, key)
        try:
            index = _read_index(base)
            if _fits(index, listing, stamps):  # another process decoded it meanwhile
                journal.discard()
            else:
                index = _fill(journal, listing, stamps, index, jobs, loader)
        finally:
            journal.leave()
    return _map(base, index)


def _fill(
    journal: Journal,
    listing: Listing,
    stamps: list[Stamp],
    old: dict[str, Any],
    jobs: int,
    loader: Load,
) -> dict[str, Any]:
    """Decode what the journal lacks, and make the cache of it; return its index."""
    names, done = listing.names, len(journal.lengths)
    log.info(
        "decoding %d recordings into %s%s", len(names), journal.base, f", {done} are there" if done else ""
    )
    told = time.monotonic()
    for decoded in _decoded(listing, stamps, done, _old_clips(journal.base, old), jobs, loader):
        if decoded.samples is None:
            log.warning("%s cannot be read and is left out: %s", names[len(journal.lengths)], decoded.reason)
        journal.add(decoded)
        if time.monotonic() > told + _REPORT_S:
            told = time.monotonic()
            log.info("%d of %d", len(journal.lengths), len(names))
    starts = [0, *np.cumsum(journal.lengths, dtype=np.int64).tolist()]
    unreadable = {str(number): reason for number, reason in journal.reasons.items()}
    index = {"paths": list(names), "stamps": stamps, "starts": starts, "unreadable": unreadable}
    if not starts[-1]:
        journal.discard()
        first = f", the first, {names[0]}: {journal.reasons[0]}" if names else ""
        raise AudioError(f"none of {len(names)} recordings can be read{first}")
    journal.finish(index)
    return index


def _decoded(
    listing: Listing,
    stamps: list[Stamp],
    done: int,
    old: dict[tuple[str, Stamp], Decoded],
    jobs: int,
    loader: Load,
) -> Iterator[Decoded]:
    """Yield the recordings from number `done` on, from the old cache where they are unchanged."""
    keys = list(zip(listing.names, stamps, strict=True))
    lacking = [path for path, key in zip(listing.files[done:], keys[done:], strict=True) if key not in old]
    new = decode_files(lacking, listing.normalize, jobs, loader)
    try:
        for key in keys[done:]:
            yield old[key] if key in old else next(new)
    finally:
        new.close()


def _old_clips(base: Path, index: dict[str, Any]) -> dict[tuple[str, Stamp], Decoded]:
    """Return the recordings of the cache that is about to be replaced."""
    if not index:
        return {}
    starts, reasons = index["starts"], index.get("unreadable", {})
    samples = np.memmap(base.with_suffix(".s16"), dtype=np.int16, mode="r")
    clips = {}
    for number, (name, stamp) in enumerate(zip(index["paths"], index["stamps"], strict=True)):
        start, stop = starts[number], starts[number + 1]
        found = Decoded(samples[start:stop], "") if stop > start else Decoded(None, _reason(reasons, number))
        clips[name, (stamp[0], stamp[1])] = found
    return clips


def _read_index(base: Path) -> dict[str, Any]:
    """Return the index of a cache; nothing where it is missing or damaged."""
    try:
        index: dict[str, Any] = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
        starts, n_files = index["starts"], len(index["paths"])
        whole = base.with_suffix(".s16").stat().st_size == 2 * starts[-1]
        fits = len(index["stamps"]) == n_files == len(starts) - 1
        return index if whole and fits and isinstance(index.get("unreadable", {}), dict) else {}
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return {}


def _fits(index: dict[str, Any], listing: Listing, stamps: list[Stamp]) -> bool:
    if not index:
        return False
    found = [tuple(stamp) for stamp in index["stamps"]]
    return tuple(index["paths"]) == listing.names and found == stamps


def _map(base: Path, index: dict[str, Any]) -> Clips:
    starts = np.array(index["starts"], dtype=np.int64)
    lengths, reasons = np.diff(starts), index.get("unreadable", {})
    readable = np.flatnonzero(lengths)
    return Clips(
        np.memmap(base.with_suffix(".s16"), dtype=np.int16, mode="r"),
        np.append(starts[readable], starts[-1]),
        tuple(index["paths"][number] for number in readable),
        tuple((index["paths"][n], _reason(reasons, n)) for n in np.flatnonzero(lengths == 0).tolist()),
    )


def _reason(reasons: dict[str, str], number: int) -> str:
    return reasons.get(str(number), "it holds no sound")


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return 0, 0  # reading it says why
    return found.st_size, found.st_mtime_ns
