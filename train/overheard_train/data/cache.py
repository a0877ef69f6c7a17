"""Decode recordings once into a cache, and map them as one int16 array."""

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
from overheard_train.data.decode import NO_SOUND, Decoded, Int16Array, Load, decode_files, load
from overheard_train.data.journal import Journal

log = logging.getLogger(__name__)

FORMAT = 2  # of the cache; 2: full scale is 32,768 as everywhere else, not 32,767
JOBS = 2
REPORT_INTERVAL_S = 30.0
Stamp = tuple[int, int]  # size in bytes, time of modification in ns


def default_cache_dir() -> Path:
    """Return the folder for decoded audio: ``$OVERHEARD_CACHE_DIR`` or ``~/.cache/overheard``."""
    return Path(os.environ.get("OVERHEARD_CACHE_DIR") or Path.home() / ".cache" / "overheard")


@dataclasses.dataclass(frozen=True)
class Clips:
    """Recordings, one after the other in one array.

    Attributes
    ----------
    samples : (n,) int16 memory map
    starts : (n_clips + 1,) int64, first sample of each recording, and the end
    paths : name of each recording, see :meth:`overheard_train.data.Data.name`
    unreadable : name and reason of each recording that could not be decoded
    """

    samples: Int16Array
    starts: npt.NDArray[np.int64]
    paths: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.paths)

    def clip(self, index: int) -> Int16Array:
        """Return one recording, ``(n,)`` int16."""
        return self.samples[self.starts[index] : self.starts[index + 1]]

    def hours_of(self, numbers: Sequence[int]) -> float:
        """Return the total duration of some recordings, in hours."""
        lengths = np.diff(self.starts)[list(numbers)]
        return float(lengths.sum()) / SPEC.frontend.sample_rate / 3600

    def within(self, hours: float, seed: int) -> npt.NDArray[np.int64]:
        """Draw recordings of at most `hours` in total, but at least one; return their numbers in order."""
        order = np.random.default_rng(seed).permutation(len(self))
        ends = np.cumsum(np.diff(self.starts)[order])
        n = int(np.sum(ends <= hours * 3600 * SPEC.frontend.sample_rate))
        return np.sort(order[: max(1, n)]).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Listing:
    """The contents of a cache.

    Attributes
    ----------
    names : name of each file's recording
    normalize : scale the peak of each recording to full scale
    """

    names: tuple[str, ...]
    files: tuple[Path, ...]
    normalize: bool = False

    def stamps(self) -> list[Stamp]:
        """Return size and time of each file, which change if the file does."""
        return [_stamp(path) for path in self.files]


def cached_clips(base: Path, listing: Listing, jobs: int = JOBS, loader: Load = load) -> Clips:
    """Map a cache; first decode recordings that it lacks, and continue an interrupted run.

    Parameters
    ----------
    base : the cache is ``BASE.s16`` and ``BASE.json``
    jobs : number of processes
    loader : see :func:`~overheard_train.data.decode.decode`

    Raises
    ------
    AudioError
        No recording can be decoded.
    """
    stamps = listing.stamps()
    index = _read_index(base)
    if not _fits(index, listing, stamps):
        base.parent.mkdir(parents=True, exist_ok=True)
        contents = [FORMAT, listing.names, stamps, listing.normalize]
        journal = Journal(base, hashlib.sha256(json.dumps(contents).encode()).hexdigest())
        try:
            index = _read_index(base)
            if _fits(index, listing, stamps):  # another process decoded it while this one waited
                journal.discard()
            else:
                index = _fill(journal, listing, stamps, index, jobs, loader)
        finally:
            journal.close()
    return _map(base, index)


def _fill(
    journal: Journal,
    listing: Listing,
    stamps: list[Stamp],
    old: dict[str, Any],
    jobs: int,
    loader: Load,
) -> dict[str, Any]:
    """Decode the recordings that the journal lacks, turn it into the cache, and return the index."""
    names, done = listing.names, len(journal.lengths)
    resumed = f"; {done} are done" if done else ""
    log.info("decoding %d recordings into %s%s", len(names), journal.base, resumed)
    reported_at = time.monotonic()
    for decoded in _decoded(listing, stamps, done, _old_clips(journal.base, old), jobs, loader):
        if decoded.samples is None:
            log.warning(
                "%s is ignored, because it cannot be decoded: %s", names[len(journal.lengths)], decoded.reason
            )
        journal.add(decoded)
        if time.monotonic() > reported_at + REPORT_INTERVAL_S:
            reported_at = time.monotonic()
            log.info("%d of %d", len(journal.lengths), len(names))
    starts = [0, *np.cumsum(journal.lengths, dtype=np.int64).tolist()]
    unreadable = {str(number): reason for number, reason in journal.reasons.items()}
    index = {"format": FORMAT, "paths": list(names), "stamps": stamps, "starts": starts}
    index["unreadable"] = unreadable
    if not starts[-1]:
        journal.discard()
        first = f"; the first is {names[0]}: {journal.reasons[0]}" if names else ""
        raise AudioError(f"none of {len(names)} recordings can be decoded{first}")
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
    """Yield the recordings from number `done` on; unchanged ones come from the old cache."""
    keys = list(zip(listing.names, stamps, strict=True))
    missing = [path for path, key in zip(listing.files[done:], keys[done:], strict=True) if key not in old]
    new = decode_files(missing, listing.normalize, jobs, loader)
    try:
        for key in keys[done:]:
            yield old[key] if key in old else next(new)
    finally:
        new.close()


def _old_clips(base: Path, index: dict[str, Any]) -> dict[tuple[str, Stamp], Decoded]:
    """Return the recordings of a cache that is about to be replaced."""
    if not index:
        return {}
    starts, reasons = index["starts"], index["unreadable"]
    samples = np.memmap(base.with_suffix(".s16"), dtype=np.int16, mode="r")
    clips = {}
    for number, (name, stamp) in enumerate(zip(index["paths"], index["stamps"], strict=True)):
        start, stop = starts[number], starts[number + 1]
        clip = Decoded(samples[start:stop], "") if stop > start else Decoded(None, _reason(reasons, number))
        clips[name, (stamp[0], stamp[1])] = clip
    return clips


def _read_index(base: Path) -> dict[str, Any]:
    """Return the index of a cache; an empty one if it is missing, damaged or of another format."""
    try:
        index = json.loads(base.with_suffix(".json").read_text(encoding="utf-8"))
        n_bytes = base.with_suffix(".s16").stat().st_size
    except (OSError, ValueError):
        return {}
    if not isinstance(index, dict) or index.get("format") != FORMAT or not _is_index(index):
        return {}
    return index if n_bytes == 2 * index["starts"][-1] else {}


def _is_index(index: dict[str, Any]) -> bool:
    """Return whether the lists of an index have the expected types and lengths."""
    lists = [index.get(name) for name in ("paths", "stamps", "starts")]
    if not all(isinstance(items, list) for items in lists) or not isinstance(index.get("unreadable"), dict):
        return False
    paths, stamps, starts = (items or [] for items in lists)
    typed = all(isinstance(start, int) for start in starts)
    typed &= all(isinstance(stamp, list) and list(map(type, stamp)) == [int, int] for stamp in stamps)
    return typed and len(stamps) == len(paths) == len(starts) - 1


def _fits(index: dict[str, Any], listing: Listing, stamps: list[Stamp]) -> bool:
    if not index:
        return False
    indexed = [tuple(stamp) for stamp in index["stamps"]]
    return tuple(index["paths"]) == listing.names and indexed == stamps


def _map(base: Path, index: dict[str, Any]) -> Clips:
    starts = np.array(index["starts"], dtype=np.int64)
    lengths, reasons = np.diff(starts), index["unreadable"]
    readable = np.flatnonzero(lengths)
    return Clips(
        np.memmap(base.with_suffix(".s16"), dtype=np.int16, mode="r"),
        np.append(starts[readable], starts[-1]),
        tuple(index["paths"][number] for number in readable),
        tuple((index["paths"][n], _reason(reasons, n)) for n in np.flatnonzero(lengths == 0).tolist()),
    )


def _reason(reasons: dict[str, str], number: int) -> str:
    return reasons.get(str(number), NO_SOUND)


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return 0, 0  # decoding it reports the reason
    return status.st_size, status.st_mtime_ns
