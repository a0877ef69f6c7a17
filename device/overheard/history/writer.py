"""Store plays in a SQLite file, which `overheard history` and other programs read."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sqlite3
import time
from collections import deque
from pathlib import Path

from overheard.events import (
    Event,
    MusicUnknown,
    Play,
    PlayEnded,
    PlayStarted,
    PlayUpdated,
    SourceChanged,
)
from overheard.history.entry import Entry
from overheard.history.file import (
    FileId,
    HistoryDamaged,
    HistoryError,
    companion,
    explained,
    file_id,
    move_aside,
    open_for_writing,
)
from overheard.history.play_rows import PlayRow, read_plays, recover
from overheard.text import plural

__all__ = ["HistorySink", "PlayRow", "read_plays"]

log = logging.getLogger(__name__)

_UPDATE_INTERVAL_S = 20.0  # how often the end of an open play is written; SD cards wear out
_BUSY_TIMEOUT_S = 0.5  # plays are printed after they are written, so a lock must not delay them long
_CLOSE_TIMEOUT_S = 1.5  # the last attempt
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 5.0  # between attempts to write; doubles with each
_MAX_ENDED = 4  # ended plays that may go on
_MAX_KEPT = 10_000  # plays in memory while the file cannot be written: weeks, about 10 MB


@dataclasses.dataclass
class _Heard:
    """What is heard in one room, or without rooms."""

    source: str  # of the plays that follow
    open: Entry | None = None  # the play that is heard now
    ended: deque[Entry] = dataclasses.field(default_factory=lambda: deque(maxlen=_MAX_ENDED))  # may go on

    def going_on(self, play: Play, started: float) -> Entry | None:
        """Return the entry of the play that goes on, as after a pause."""
        return next((entry for entry in reversed(self.ended) if entry.goes_on(play, started)), None)


class HistorySink:
    """Write a row when a play starts, and update its end while the play continues and when it ends.

    After a crash or a power cut, the end of an open play is its last update, at most 20 s old. While the file
    cannot be written, for example because the disk is full, plays stay in memory, and are written later. A
    damaged file is moved aside. If the file is deleted, a new one is started.

    Parameters
    ----------
    path : Path
        The SQLite file; created if it does not exist.
    source : str
        Name of the audio source, stored with each play until it changes. In rooms, it is the name of the
        room, followed by the source while that is another one than usual.
    """

    name = "history"

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._db: sqlite3.Connection | None = None
        self._id: FileId | None = None
        self._wal_id: FileId | None = None
        self._heard: dict[str, _Heard] = {}  # by room
        self._unwritten: list[Entry] = []
        self._lost = 0
        self._timeout_s = _BUSY_TIMEOUT_S
        self._written_s = 0.0
        self._failing = False
        self._late = 0
        self._retry_s = _FIRST_RETRY_S
        self._next_try_s = 0.0
        self._write()  # here, so that a problem is reported before listening starts

    def handle(self, event: Event, started: float) -> None:
        """Insert or update the row of a play, and note the source of the plays that follow."""
        heard = self._heard.get(event.room)
        if heard is None:
            heard = self._heard[event.room] = _Heard(event.room or self._source)
        if isinstance(event, SourceChanged):
            heard.source = event.name
            if event.room:
                heard.source = event.room if event.reason == "returned" else f"{event.room}, {event.name}"
            heard.ended.clear()
        if isinstance(event, MusicUnknown) and event.unknown_id is not None:
            self._keep(Entry.of_unknown(event, started, heard.source))
            self._write()
        if not isinstance(event, PlayStarted | PlayUpdated | PlayEnded):
            return
        play, entry = event.play, heard.open
        if entry is None or not entry.is_of(play) or (isinstance(event, PlayStarted) and entry.settles(play)):
            entry = heard.open = heard.going_on(play, started) or Entry(play, started, heard.source)
            entry.update(play, started)
            due = True
        else:
            due = entry.settles(play) or time.monotonic() - self._written_s >= _UPDATE_INTERVAL_S
            entry.update(play, started)
        if isinstance(event, PlayEnded):
            heard.open = None
            heard.ended.append(entry)
            entry.explain(event.evidence)
            due = True
        if due:
            self._keep(entry)
            self._keep_open()  # of other rooms, whose end would otherwise be written less often
            self._write()

    def idle(self) -> None:
        """Write what could not be written before, and notice that the file was deleted."""
        self._write()

    def close(self) -> None:
        """Write what could not be written before, and close the file."""
        self._keep_open()
        if self._unwritten:
            self._close_file()  # the last attempt has another timeout
            self._timeout_s, self._next_try_s = _CLOSE_TIMEOUT_S, 0.0
            self._write()
        lost = self._lost + len(self._unwritten)
        if lost:
            log.warning("history: %s could not be saved", plural(lost, "play"))
        self._close_file()

    # Plays in memory

    def _keep(self, entry: Entry) -> None:
        if entry in self._unwritten:
            return
        self._unwritten.append(entry)
        if len(self._unwritten) > _MAX_KEPT:
            del self._unwritten[0]
            self._lost += 1

    def _keep_open(self) -> None:
        for heard in self._heard.values():
            if heard.open is not None:
                self._keep(heard.open)

    def _write(self) -> None:
        """Write what is in memory, unless the last failure is too recent."""
        if time.monotonic() < self._next_try_s:
            return
        try:
            try:
                self._write_file()
            except HistoryDamaged as error:
                self._replace_damaged(error)
                self._write_file()
        except HistoryError as error:
            self._fail(error)
        else:
            self._recovered()

    def _fail(self, error: HistoryError) -> None:
        if not self._failing:
            log.warning("history: %s. Plays are kept in memory until it can be written", error)
        log.debug("history: %s", error)
        self._failing = True
        self._close_file()  # a disk that was removed and is back needs a new connection
        self._next_try_s = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)

    def _recovered(self) -> None:
        if self._failing:
            log.warning("history: can be written again; plays written late: %d", self._late)
        self._failing, self._retry_s, self._next_try_s, self._late = False, _FIRST_RETRY_S, 0.0, 0

    # The file

    def _write_file(self) -> None:
        with explained(self._path):
            db = self._current_file()
            if not self._unwritten:
                return
            with db:
                rows = [entry.write(db) for entry in self._unwritten]
            for entry, row in zip(self._unwritten, rows, strict=True):
                entry.written(row)
            self._late = len(rows)
            self._unwritten.clear()
            self._written_s = time.monotonic()
            if self._wal_id is None:
                self._wal_id = file_id(companion(self._path, "-wal"))

    def _current_file(self) -> sqlite3.Connection:
        """Return the connection to the file that has the path now; open it if necessary."""
        if self._db is not None and self._was_replaced():
            self._close_file()
        if self._db is None:
            self._db = open_for_writing(self._path, self._timeout_s)
            self._id = file_id(self._path)
            self._wal_id = file_id(companion(self._path, "-wal"))
            self._keep_open()  # this file does not have them
            for entry in (*self._unwritten, *(one for heard in self._heard.values() for one in heard.ended)):
                entry.row = None
        return self._db

    def _was_replaced(self) -> bool:
        now = file_id(self._path)
        if now != self._id:
            what = "deleted" if now is None else "replaced"
            log.warning("history: %s was %s; plays go to the new file from now on", self._path, what)
            return True
        # Without this file, other programs do not see what was written to it.
        return self._wal_id is not None and file_id(companion(self._path, "-wal")) != self._wal_id

    def _close_file(self) -> None:
        """Close the file; if it was deleted, remove what SQLite left beside it, which contains titles."""
        db, self._db = self._db, None
        if db is None:
            return
        with contextlib.suppress(OSError, sqlite3.Error):
            # If the file was moved, closing does not complete it. If there is a new file, it uses the name
            # of the write-ahead log, so this is left alone.
            if file_id(self._path) in (None, self._id):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            db.close()
        with contextlib.suppress(OSError):
            if file_id(self._path) is None:
                for suffix in ("-wal", "-shm"):
                    companion(self._path, suffix).unlink(missing_ok=True)

    def _replace_damaged(self, error: HistoryDamaged) -> None:
        """Move a damaged file aside, and start a new one with the plays that are readable."""
        if self._db is not None and file_id(self._path) != self._id:
            return  # another process has done so
        db, self._db = self._db, None
        with explained(self._path):
            aside = move_aside(self._path)
            if db is not None:
                with contextlib.suppress(sqlite3.Error):
                    db.close()
            # Reported before the plays are copied, for which the disk may be too full.
            log.warning("history: %s; moved to %s, and started a new one", error.problem, aside.name)
            count = recover(aside, self._current_file())
        log.warning("history: %s recovered from the damaged file", plural(count, "play"))
