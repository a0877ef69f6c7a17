"""Delete plays from the history when they are older than the user wants to keep them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from overheard.errors import OverheardError
from overheard.event_json import iso_utc
from overheard.events import Event
from overheard.history.file import damaged_files, explained
from overheard.history.forget import forget
from overheard.text import plural

log = logging.getLogger(__name__)

_DAY_S = 86400.0
_FIRST_S = 600.0  # after the start, when the clock of a computer without a battery is set
_RETRY_S = 3600.0  # after a failure, and after the clock was set


class RetentionSink:
    """Delete old plays ten minutes after the start and then once a day, as `overheard history forget` does.

    If the clock was set by more than a day since the last time, nothing is deleted for an hour: a clock that
    is wrong must not delete the history.

    Parameters
    ----------
    path : the history
    keep_days : how long plays are kept after their end
    forget_also : deletes what others remember from before a Unix time, such as unknown music
    now : returns the Unix time in seconds
    elapsed : returns seconds that nobody sets
    """

    name = "retention"

    def __init__(
        self,
        path: Path,
        keep_days: int,
        forget_also: Callable[[float], object] | None = None,
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._keep_s = keep_days * _DAY_S
        self._forget_also = forget_also or (lambda before: None)
        self._now, self._elapsed = now, elapsed
        self._due_s = elapsed() + _FIRST_S
        self._offset_s = now() - elapsed()

    def handle(self, event: Event, started: float) -> None:
        """Do nothing: this sink only waits."""

    def idle(self) -> None:
        """Delete old plays, if it is time."""
        if self._elapsed() < self._due_s:
            return
        offset_s = self._now() - self._elapsed()
        was_set = abs(offset_s - self._offset_s) > _DAY_S
        self._offset_s = offset_s
        self._due_s = self._elapsed() + (_RETRY_S if was_set else _DAY_S)
        if was_set:
            log.warning("history: the clock was set; old plays are deleted in an hour, unless it is set back")
            return
        try:
            self._delete(self._now() - self._keep_s)
        except OverheardError as error:
            self._due_s = self._elapsed() + _RETRY_S
            log.warning("history: old plays could not be deleted: %s", error)

    def _delete(self, before: float) -> None:
        with explained(self._path):
            for file in damaged_files(self._path):
                if file.stat().st_mtime < before:
                    file.unlink(missing_ok=True)
        self._forget_also(before)
        count = forget(self._path, before=iso_utc(before))
        if count:
            log.info("history: %s deleted, because history.keep_days is set", plural(count, "old play"))

    def close(self) -> None:
        """Do nothing: the file is closed after each use."""
