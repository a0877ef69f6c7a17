"""Decide which plays count as listened to, and when: the rule of ListenBrainz and Last.fm.

A listening counts once, when half of the track or 4 minutes have been heard, whichever comes first.
https://www.last.fm/api/scrobbling
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from overheard.events import Event, Play, PlayEnded, PlayStarted, PlayUpdated, Track

ENOUGH_S = 240.0
_BACK_S = 10.0  # a play that starts this much before the end of the one before it continues it
_PAUSE_S = 600.0  # after a longer pause, it is another listening
_SAME_START_S = 15.0  # unless the track started at the same moment: then it was masked, not paused
_MAX_RECENT = 50
_CLOCK_SET_S = 5.0


@dataclasses.dataclass(frozen=True)
class NowPlaying:
    """A track plays now, and for about so long."""

    track: Track
    left_s: float


@dataclasses.dataclass(frozen=True)
class Listened:
    """A track was listened to, from this Unix time on."""

    track: Track
    started_at: float


@dataclasses.dataclass
class _Listening:
    """One listening to a track, which may consist of several plays."""

    track_id: str
    started_at: float  # Unix time
    heard_s: float = 0.0
    ended_at: float = 0.0  # Unix time
    end_offset_s: float = 0.0  # position in the track
    play_started_at: float = 0.0  # Unix time at which its last play started
    counted: bool = False

    def continues(self, play: Play, starts_at: float) -> bool:
        """Return whether a play of the same track belongs to this listening, which was interrupted."""
        if self.is_of(starts_at):
            return True
        back_s = min(_BACK_S, play.track.duration_s / 4) if play.track.duration_s else _BACK_S
        if play.offset_s < self.end_offset_s - back_s:
            return False  # it started again
        zero_at, before = starts_at - play.offset_s, self.ended_at - self.end_offset_s
        return abs(starts_at - self.ended_at) <= _PAUSE_S or abs(zero_at - before) <= _SAME_START_S

    def is_of(self, starts_at: float) -> bool:
        """Return whether a play is the last one of this listening, which had ended and goes on."""
        return abs(starts_at - self.play_started_at) <= _CLOCK_SET_S


def _is_listening(values: Any) -> bool:
    """Return whether a value that was stored, maybe by another version, has the fields of a listening."""
    fields = dataclasses.fields(_Listening)
    if not isinstance(values, dict) or set(values) != {field.name for field in fields}:
        return False
    return isinstance(values["track_id"], str) and all(
        isinstance(value, int | float) for name, value in values.items() if name != "track_id"
    )


class ScrobbleRule:
    """Follow the events of one listener.

    Parameters
    ----------
    shortest_s : tracks of a known duration below this never count
    recent : what `recent` returned before a restart
    """

    def __init__(self, shortest_s: float = 0.0, recent: Iterable[dict[str, Any]] = ()) -> None:
        self._shortest_s = shortest_s
        restored = [_Listening(**values) for values in recent if _is_listening(values)]
        self._recent = {listening.track_id: listening for listening in restored}
        self._play: Play | None = None  # the play that is heard now
        self._now: _Listening | None = None
        self._before_s = 0.0  # heard of this listening before this stretch of sound
        self._from_s = 0.0  # start of the stretch
        self._clock = 0.0

    def follow(self, event: Event, started: float) -> list[NowPlaying | Listened]:
        """Return what an event means; `started` is the Unix time at which the source's clock was 0."""
        if isinstance(event, PlayStarted):
            self._play = None
        if not isinstance(event, PlayStarted | PlayUpdated | PlayEnded) or event.play.ambiguous:
            return []
        play, found = event.play, list[NowPlaying | Listened]()
        if not self._same(play):
            self._begin(play, started)
            if not isinstance(event, PlayEnded):
                left_s = (play.track.duration_s - play.position_s(play.end_s)) / play.speed
                found.append(NowPlaying(play.track, left_s if play.track.duration_s else 2 * ENOUGH_S))
        found += self._hear(play, started)
        if isinstance(event, PlayEnded):
            self._play = None
        return found

    def recent(self) -> list[dict[str, Any]]:
        """Return the latest listenings as JSON types, so that a restart does not count one again."""
        return [dataclasses.asdict(listening) for listening in self._recent.values()]

    def _same(self, play: Play) -> bool:
        now = self._play
        return now is not None and (now.track.id, now.start_s) == (play.track.id, play.start_s)

    def _begin(self, play: Play, started: float) -> None:
        starts_at = started + play.start_s
        listening = self._recent.pop(play.track.id, None)
        if listening is None or not listening.continues(play, starts_at):
            listening = _Listening(play.track.id, starts_at)
        self._recent[play.track.id] = self._now = listening  # the last of the dictionary
        while len(self._recent) > _MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        # Of a play that goes on after a pause, what follows now counts.
        self._from_s = play.end_s if listening.is_of(starts_at) else play.start_s
        self._before_s, self._clock = listening.heard_s, started
        listening.play_started_at = starts_at

    def _hear(self, play: Play, started: float) -> list[NowPlaying | Listened]:
        now = self._now
        self._play = play
        if now is None:
            return []
        if abs(started - self._clock) > _CLOCK_SET_S:  # the clock of the computer was set
            now.started_at += started - self._clock
            self._clock = started
        now.heard_s = self._before_s + play.end_s - self._from_s
        now.ended_at, now.end_offset_s = started + play.end_s, play.position_s(play.end_s)
        if now.counted or 0 < play.track.duration_s < self._shortest_s:
            return []
        if now.heard_s < enough_s(play.track.duration_s):
            return []
        now.counted = True
        return [Listened(play.track, now.started_at)]


def enough_s(duration_s: float) -> float:
    """Return how many seconds of a track must be heard; a duration of 0 is unknown.

    Examples
    --------
    >>> enough_s(180), enough_s(600), enough_s(0)
    (90.0, 240.0, 240.0)
    """
    return min(duration_s / 2, ENOUGH_S) if duration_s > 0 else ENOUGH_S
