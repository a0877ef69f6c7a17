"""The journal of a cache that is being filled, so that an interrupted run continues where it stopped."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from pathlib import Path
from typing import IO, Any

from overheard.files import atomic_write
from overheard_train.data.decode import Decoded

log = logging.getLogger(__name__)

VERSION = 1
SYNC_INTERVAL_BYTES = 32 << 20
SYNC_INTERVAL_S = 5.0


class Journal:
    """The samples decoded so far, and a line for each recording.

    Only one process can have it open; others wait. A recording's line is written after its samples are on the
    disk.

    Attributes
    ----------
    lengths : number of samples of each decoded recording, in order; 0 if it could not be read
    reasons : by the recording's number, why it could not be read
    """

    def __init__(self, base: Path, key: str) -> None:
        """Open or create ``BASE.journal`` and ``BASE.s16.partial``.

        Parameters
        ----------
        key : identifies the recordings; the journal of other recordings is discarded
        """
        self.base, self._key = base, key
        self.lengths: list[int] = []
        self.reasons: dict[int, str] = {}
        self._lines: list[str] = []  # not yet written
        self._unsynced, self._synced_at = 0, time.monotonic()
        self._file = _open_locked(base.with_suffix(".journal"))
        try:
            self._samples = self._open_samples()
            self.sync()
        except BaseException:
            self._file.close()
            raise

    def _open_samples(self) -> IO[bytes]:
        """Open the samples, and read the lines of an interrupted run as far as their samples are there."""
        partial = self.base.with_suffix(".s16.partial")
        samples = partial.open("r+b" if partial.exists() else "w+b")
        total, available = 0, os.fstat(samples.fileno()).st_size // 2
        for length, reason in _read_lines(self._file, self._key):
            if total + length > available:
                break
            total += length
            self._note(length, reason)
        samples.truncate(2 * total)
        samples.seek(0, os.SEEK_END)
        self._file.seek(0)
        self._file.truncate()
        self._lines = [json.dumps({"version": VERSION, "key": self._key}), *self._lines]
        return samples

    def _note(self, length: int, reason: str) -> None:
        if not length:
            self.reasons[len(self.lengths)] = reason
        self.lengths.append(length)
        self._lines.append(json.dumps([length, reason]))

    def add(self, decoded: Decoded) -> None:
        """Append the next recording."""
        samples, reason = decoded
        if samples is not None:
            self._samples.write(samples.tobytes())
            self._unsynced += samples.nbytes
        self._note(0 if samples is None else len(samples), reason)
        if self._unsynced > SYNC_INTERVAL_BYTES or time.monotonic() > self._synced_at + SYNC_INTERVAL_S:
            self.sync()

    def sync(self) -> None:
        """Write everything to the disk, samples first."""
        _flush(self._samples)
        self._file.write("".join(line + "\n" for line in self._lines).encode())
        _flush(self._file)
        self._lines, self._unsynced, self._synced_at = [], 0, time.monotonic()

    def finish(self, index: dict[str, Any]) -> None:
        """Turn the journal into the cache: ``BASE.s16`` and ``BASE.json``."""
        self.sync()
        with atomic_write(self.base.with_suffix(".json")) as file:
            file.write(json.dumps(index).encode())
            file.flush()  # fails here if the disk is full, before the samples are renamed
            # An old index beside new samples would be wrong: delete it first.
            self.base.with_suffix(".json").unlink(missing_ok=True)
            self.base.with_suffix(".s16.partial").replace(self.base.with_suffix(".s16"))
        self.base.with_suffix(".journal").unlink()  # before closing, which would let another process in
        self._close()

    def discard(self) -> None:
        """Delete the journal and the samples."""
        for suffix in (".s16.partial", ".journal"):
            self.base.with_suffix(suffix).unlink(missing_ok=True)
        self._close()

    def close(self) -> None:
        """Close the journal, and keep it for the next run."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # such as a full disk
                self.sync()
            self._close()

    def _close(self) -> None:
        for close in (self._samples.close, self._file.close):
            with contextlib.suppress(OSError):
                close()


def _open_locked(path: Path) -> IO[bytes]:
    """Open and lock the journal; wait for another process that has it."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        try:
            _lock(file, path)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()  # the other process has finished and deleted it


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: waiting for another process that decodes these recordings", path)
        fcntl.flock(file, fcntl.LOCK_EX)


def _read_lines(file: IO[bytes], key: str) -> list[tuple[int, str]]:
    """Return length and reason of each recording in a journal with this key, up to the first damaged line."""
    try:
        lines = file.read().decode().split("\n")[:-1]  # an incomplete last line has no end
        parsed = [json.loads(line) for line in lines[:1]]
    except ValueError:
        return []
    if parsed != [{"version": VERSION, "key": key}]:
        return []
    recordings: list[tuple[int, str]] = []
    for line in lines[1:]:
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, list) or list(map(type, entry)) != [int, str]:
            break
        recordings.append((entry[0], entry[1]))
    return recordings


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
