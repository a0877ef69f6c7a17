"""Convert between the seconds of the source and those of the music, which may play faster or slower.

Plays are tracked on the clock of the music, on which each track advances by one second per second, whatever
its speed.
"""

from __future__ import annotations

import dataclasses

from overheard.events import Event, Match, MusicUnknown, Play, PlayEnded, PlayStarted, PlayUpdated
from overheard.recognize.speed.warp import NORMAL, Speed

MAX_PERIODS = 64  # that are remembered


@dataclasses.dataclass(frozen=True)
class _SpeedPeriod:
    """A stretch of the music's clock with one speed.

    Attributes
    ----------
    from_s : where it begins, on the music's clock
    music_s, source_s : a moment on both clocks
    speed : seconds of music per second of the source
    """

    from_s: float
    music_s: float
    source_s: float
    speed: Speed


class MusicClock:
    """The clock of the music. It is equal to the clock of the source until the speed changes."""

    def __init__(self) -> None:
        self._periods = [_SpeedPeriod(float("-inf"), 0.0, 0.0, NORMAL)]

    @property
    def speed(self) -> Speed:
        """The present speed of the music."""
        return self._periods[-1].speed

    def change(self, at_s: float, speed: Speed, from_s: float | None = None) -> None:
        """Run at another speed from now on.

        Parameters
        ----------
        at_s : second of the music that stays the same moment
        speed : of the music
        from_s : second of the music from which on it had this speed already; `at_s` by default
        """
        source_s = self.source_s(at_s)
        first_s = at_s if from_s is None else min(from_s, at_s)
        self._periods = [*self._periods[-MAX_PERIODS + 1 :], _SpeedPeriod(first_s, at_s, source_s, speed)]

    def since(self, music_s: float) -> None:
        """Learn from which second of the music on it has had the present speed."""
        self._periods[-1] = dataclasses.replace(self._periods[-1], from_s=music_s)

    def music_s(self, source_s: float) -> float:
        """Return the second of the music that is heard at a second of the source, at the present speed."""
        period = self._periods[-1]
        return period.music_s + (source_s - period.source_s) * period.speed.tempo

    def source_s(self, music_s: float) -> float:
        """Return the second of the source at which a second of the music was heard."""
        period = self._period_at(music_s)
        return period.source_s + (music_s - period.music_s) / period.speed.tempo

    def _period_at(self, music_s: float) -> _SpeedPeriod:
        return next(
            (period for period in reversed(self._periods) if period.from_s <= music_s), self._periods[0]
        )

    def play(self, play: Play) -> Play:
        """Return a play of the music's clock with times of the source, and with its speed."""
        if len(self._periods) == 1:
            return play
        start_s, end_s = self.source_s(play.start_s), self.source_s(play.end_s)
        speed = play.speed * self._period_at(play.start_s).speed.tempo
        return dataclasses.replace(play, start_s=start_s, end_s=end_s, speed=speed)

    def match(self, match: Match) -> Match:
        """Return a match of the music's clock with times of the source."""
        start_s, end_s = self.source_s(match.start_s), self.source_s(match.end_s)
        return dataclasses.replace(match, start_s=start_s, end_s=end_s)

    def event(self, event: Event) -> Event:
        """Return an event of the music's clock with times of the source."""
        if len(self._periods) == 1:
            return event
        if isinstance(event, PlayStarted | PlayUpdated):
            return dataclasses.replace(event, play=self.play(event.play))
        if isinstance(event, PlayEnded):
            evidence = tuple(
                dataclasses.replace(point, at_s=self.source_s(point.at_s)) for point in event.evidence
            )
            return PlayEnded(self.play(event.play), evidence)
        if isinstance(event, MusicUnknown):
            start_s, end_s = self.source_s(event.start_s), self.source_s(event.end_s)
            return dataclasses.replace(event, start_s=start_s, end_s=end_s)
        return dataclasses.replace(event, start_s=self.source_s(event.start_s))
