"""The work journal of a cache: what is decoded and on the disk, so that an interrupted run goes on there."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import time
from pathlib import Path
from typing import IO, Any

from overheard_train.data.decode import Decoded

log = logging.getLogger(__name__)

VERSION = 1
_SYNC_BYTES = 32 << 20
_SYNC_S = 5.0


class Journal:
    """Samples on their way into a cache, and a line for each recording that is whole.

    While one is open no other process can open it; a second one waits. Lines are written after the samples
    that they vouch for are on the disk.

    Attributes
    ----------
    lengths : samples of each recording that is done, in order; 0 for one that could not be read
    reasons : by the recording's number, why it could not be read
    """

    def __init__(self, base: Path, key: str) -> None:
        """Open or make ``BASE.journal`` and ``BASE.s16.partial``.

        Parameters
        ----------
        key : tells what is decoded; what is left of something else is discarded
        """
        self.base, self._key = base, key
        self.lengths: list[int] = []
        self.reasons: dict[int, str] = {}
        self._lines: list[str] = []  # whose samples may not be on the disk yet
        self._unsynced, self._synced_at = 0, time.monotonic()
        self._file = _open_locked(base.with_suffix(".journal"))
        try:
            self._samples = self._take_up()
            self.sync()
        except BaseException:
            self._file.close()
            raise

    def _take_up(self) -> IO[bytes]:
        """Read what an earlier run did, as far as its samples are there."""
        partial = self.base.with_suffix(".s16.partial")
        samples = open(partial, "r+b" if partial.exists() else "w+b")
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
        """Keep the next recording."""
        samples, reason = decoded
        if samples is not None:
            self._samples.write(samples.tobytes())
            self._unsynced += samples.nbytes
        self._note(0 if samples is None else len(samples), reason)
        if self._unsynced > _SYNC_BYTES or time.monotonic() > self._synced_at + _SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Bring all that is done to the disk, samples first."""
        _flush(self._samples)
        self._file.write("".join(line + "\n" for line in self._lines).encode())
        _flush(self._file)
        self._lines, self._unsynced, self._synced_at = [], 0, time.monotonic()

    def finish(self, index: dict[str, Any]) -> None:
        """Make the cache of it: ``BASE.s16`` and ``BASE.json``, each whole or not at all."""
        self.sync()
        written = self.base.with_suffix(".json.partial")
        with open(written, "w", encoding="utf-8") as file:
            json.dump(index, file)
            _flush(file)
        # A crash between these must not leave an old index beside new samples.
        self.base.with_suffix(".json").unlink(missing_ok=True)
        os.replace(self.base.with_suffix(".s16.partial"), self.base.with_suffix(".s16"))
        os.replace(written, self.base.with_suffix(".json"))
        self.base.with_suffix(".journal").unlink()  # before it is closed, which would let another process in
        self._close()

    def discard(self) -> None:
        """Forget all that is done."""
        for suffix in (".s16.partial", ".journal"):
            self.base.with_suffix(suffix).unlink(missing_ok=True)
        self._close()

    def leave(self) -> None:
        """Let go of it; what is done stays for the next run."""
        if not self._file.closed:
            with contextlib.suppress(OSError):  # as when the disk is full
                self.sync()
            self._close()

    def _close(self) -> None:
        for close in (self._samples.close, self._file.close):
            with contextlib.suppress(OSError):
                close()


def _open_locked(path: Path) -> IO[bytes]:
    while True:
        file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
        try:
            _lock(file, path)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()  # the process that had it was done with it and removed it


def _lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("%s: another process is decoding this; waiting for it", path)
        fcntl.flock(file, fcntl.LOCK_EX)


def _read_lines(file: IO[bytes], key: str) -> list[tuple[int, str]]:
    """Return length and reason of each recording that a journal of this key vouches for."""
    found: list[tuple[int, str]] = []
    try:
        lines = file.read().decode().split("\n")[:-1]  # a torn last line has no end
        if not lines or json.loads(lines[0]) != {"version": VERSION, "key": key}:
            return []
        for line in lines[1:]:
            length, reason = json.loads(line)
            found.append((int(length), str(reason)))
    except (ValueError, TypeError):
        pass  # torn in the middle, as by a power cut: what precedes it counts
    return found


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
