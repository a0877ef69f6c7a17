"""Append events to a file of JSON lines, each once; rename the file when it is large."""

from __future__ import annotations

import errno
import itertools
import json
import os
import stat
from pathlib import Path
from typing import Any

from overheard.files import create_folder, expand_user
from overheard.settings import Settings
from overheard.sinks.context import Context
from overheard.sinks.courier import Rejected, RetryLater
from overheard.sinks.event_sink import EventSink
from overheard.sinks.messages import Messages

NAME = "jsonl"
_TAIL_BYTES = 1 << 16  # that are read to find what was written before a crash


class JsonlFile:
    """A file that is opened for each line, so that other programs may rename or delete it at any time.

    Parameters
    ----------
    path : created if it does not exist, for the owner only
    max_bytes : size at which it is renamed to NAME.1, NAME.1 to NAME.2, and so on; 0: never
    keep : number of renamed files
    """

    def __init__(self, path: Path, max_bytes: int = 0, keep: int = 5) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._first = True

    def deliver(self, body: dict[str, Any]) -> float:
        """Append a message as one line, unless it was the last thing that was written before a crash."""
        if "event" not in body:
            raise Rejected("an item of the queue is damaged")
        line = json.dumps(body).encode() + b"\n"
        try:
            self._append(line)
        except OSError as error:
            raise RetryLater(f"{self._path}: {error.strerror}") from error
        return 0.0

    def _append(self, line: bytes) -> None:
        create_folder(self._path.parent, private=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
        with open(self._path, "r+b", opener=lambda name, _: os.open(name, flags, 0o600), buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a file")
            first, self._first = self._first, False
            file.seek(max(0, status.st_size - (_TAIL_BYTES if first else 1)))
            tail = file.read(_TAIL_BYTES)
            if first and line.rstrip() in tail.splitlines():
                return
            # The end of a line may be missing after a crash or on a full disk.
            rest = memoryview(b"\n" + line if tail and not tail.endswith(b"\n") else line)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
            size = file.tell()
        if self._max_bytes and size >= self._max_bytes:
            self._rotate()

    def _rotate(self) -> None:
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._keep + 1))]
        for old, new in reversed(list(itertools.pairwise(names))):
            if old.exists():
                old.replace(new)


def file_path(settings: Settings) -> Path:
    """Return the path of the file."""
    chosen = settings.sinks.jsonl.path
    return expand_user(chosen) if chosen else settings.data_dir / "plays.jsonl"


def _open_file(settings: Settings) -> JsonlFile:
    chosen = settings.sinks.jsonl
    return JsonlFile(file_path(settings), round(1e6 * chosen.max_mb), chosen.keep)


def open_sink(settings: Settings, _context: Context) -> EventSink:
    """Return the sink."""
    messages = Messages("sinks.jsonl.events", settings.sinks.jsonl.events)
    return EventSink(NAME, settings.data_dir, messages, _open_file(settings).deliver)


def test(settings: Settings, _context: Context) -> str:
    """Append a line."""
    _open_file(settings).deliver({"id": "test", "event": "test"})
    return f"{file_path(settings)} has a line with the event test"
