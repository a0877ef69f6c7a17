"""Decide when another speed is tried for music that stays unknown, and which one.

This is a state machine without audio, like the schedule. Times are seconds of the music's clock.
"""

from __future__ import annotations

import dataclasses
import math

from overheard.recognize.speed.warp import Speed

# From 8% too slow to 8% too fast, music is within 1.7% of one of these or of the track's own speed.
SPEEDS = (1.032, 0.968, 1.065, 0.935)


@dataclasses.dataclass(frozen=True)
class SpeedRules:
    """How often other speeds are tried; each comparison costs one more window.

    Attributes
    ----------
    first_s : from an onset to the first comparison
    known_first_s : the same if the speed of earlier music is tried
    hop_s : at least between two comparisons
    n_saved : comparisons that may be made in quick succession (capacity of a token bucket)
    refill_s : seconds until the bucket gets one more comparison
    follow_s : the sound stays corrected for a speed for this long if no play starts
    refined_below : score under the threshold from which the speed is estimated, which costs three windows
    """

    first_s: float = 7.0
    known_first_s: float = 3.0
    hop_s: float = 4.0
    n_saved: int = len(SPEEDS)
    refill_s: float = 60.0
    follow_s: float = 8.0
    refined_below: float = 1.5


# A recording may be short: of 16 s, there are four windows of more than 6 s.
RECORDING_SPEED_RULES = SpeedRules(
    first_s=6.0,
    known_first_s=0.0,
    hop_s=1.0,
    n_saved=len(SPEEDS),
    refill_s=15.0,
    refined_below=4.0,
)


class SpeedPlan:
    """Returns the speed to try next; the owner reports the result.

    All speeds take turns, also from one piece of music to the next. The speed of the music that was
    recognized last comes first: a turntable or a radio station plays everything too fast.
    """

    def __init__(self, rules: SpeedRules | None = None) -> None:
        self.rules = rules or SpeedRules()
        self._turn = 0
        self._known: Speed | None = None  # of the music that was recognized last at another speed
        self._known_is_next = False
        self._saved, self._saved_s = float(self.rules.n_saved), -math.inf
        self._onset_s = self._next_s = -math.inf

    def onset(self, now_s: float) -> None:
        """Report that music begins or changes."""
        if now_s == self._onset_s:
            return
        self._onset_s = now_s
        self._known_is_next = self._known is not None
        self._next_s = now_s + (self.rules.known_first_s if self._known_is_next else self.rules.first_s)

    def due(self, now_s: float) -> Speed | None:
        """Return the speed at which to compare unknown music now, and count it; None for none."""
        if self._saved_s < now_s:
            earned = (now_s - self._saved_s) / self.rules.refill_s
            self._saved, self._saved_s = min(float(self.rules.n_saved), self._saved + earned), now_s
        if now_s < self._next_s or self._saved < 1.0:
            return None
        self._saved -= 1.0
        self._next_s = now_s + self.rules.hop_s
        if self._known is not None and self._known_is_next:
            self._known_is_next = False
            self._next_s = max(self._next_s, self._onset_s + self.rules.first_s)
            return self._known
        speed = SPEEDS[self._turn % len(SPEEDS)]
        self._turn += 1
        return Speed.of(speed)

    def recognized_at(self, speed: Speed) -> None:
        """Report that music was recognized at a speed."""
        self._known = speed
