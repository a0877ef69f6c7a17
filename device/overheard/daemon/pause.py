"""Whether listening is paused: by the user, for a while or until further notice, or in quiet hours."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from overheard.daemon.session import elapsed_s
from overheard.settings.quiet_hours import QuietHours


class Pause:
    """The pause switch. Any thread may use it.

    Parameters
    ----------
    quiet_hours : when listening is paused each day, as the setting ``listen.quiet_hours``
    now : returns the Unix time in seconds
    elapsed : returns seconds that go on while the computer sleeps, and that nobody sets

    Raises
    ------
    SettingsError
        If `quiet_hours` is invalid.
    """

    def __init__(
        self,
        quiet_hours: str = "",
        now: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = elapsed_s,
    ) -> None:
        self._quiet_hours = QuietHours.parse(quiet_hours)
        self._now, self._elapsed = now, elapsed
        self._lock = threading.Lock()
        self._end_s = -math.inf  # of the user's pause, on the clock that nobody sets
        self._awake = False  # the user resumed in quiet hours; until these end

    def pause(self, for_s: float | None = None) -> None:
        """Pause for a number of seconds, or until `resume`.

        Raises
        ------
        ValueError
            If `for_s` is not positive.
        """
        if for_s is not None and not for_s > 0:
            raise ValueError(f"for_s must be positive, not {for_s}")
        with self._lock:
            self._awake = False
            self._end_s = math.inf if for_s is None else self._elapsed() + for_s

    def resume(self) -> None:
        """Go on listening; in quiet hours too, until the next ones begin."""
        with self._lock:
            self._end_s = -math.inf
            self._awake = self._quiet_hours.contain(self._now())

    @property
    def is_paused(self) -> bool:
        """Whether nothing is to be analysed now."""
        return bool(self.reason)

    @property
    def reason(self) -> str:
        """``"user"``, ``"quiet hours"``, or empty if listening is not paused."""
        with self._lock:
            quiet = self._quiet_hours.contain(self._now())
            self._awake = self._awake and quiet
            if self._elapsed() < self._end_s:
                return "user"
            return "quiet hours" if quiet and not self._awake else ""

    @property
    def until(self) -> float | None:
        """Unix time at which the pause ends by itself; None if it does not, or if there is none."""
        reason, now = self.reason, self._now()
        if reason == "quiet hours":
            return self._quiet_hours.end(now)
        left_s = self._end_s - self._elapsed()
        return now + left_s if reason and math.isfinite(left_s) else None
