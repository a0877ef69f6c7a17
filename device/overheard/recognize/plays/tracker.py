"""Turn the matches of consecutive windows into plays: decide when a play starts, continues and ends."""

from __future__ import annotations

import math
from collections import deque

from overheard.events import Event, Match, Play, PlayStarted, PlayUpdated
from overheard.recognize.plays.agreement import (
    TrackRules,
    agree,
    agreeing_since,
    alignment_s,
    narrowed,
    readings_of,
    realigned,
    recurs,
    returns,
)
from overheard.recognize.plays.open_play import OpenPlay, first_heard_s
from overheard.recognize.plays.unmatched_sound import UnmatchedSound
from overheard.settings import TrackSettings

__all__ = ["PlayTracker", "TrackRules", "alignment_s"]

_MAX_ENDED = 4  # plays that may go on
_SEARCH_GAP_S = 2.0  # if two calls are further apart, the sound between them was not searched


class PlayTracker:
    """Turn the matches of overlapping windows into plays, with hysteresis.

    A play starts with one strong accepted match, or with two accepted matches that agree in track and
    alignment. It stays on its alignment as long as that fits, and weaker matches continue it. It survives
    `settings.gap_s` seconds that were searched without such a match, and then ends at the last one. Another
    track replaces it if that track's matches would start a play, and its own alignment does not fit any more.
    If the track of a play that ended goes on soon, as after a pause, the play does: another `PlayStarted` has
    the same start. A play is ambiguous while several recordings explain all its accepted matches. The owner
    calls `update` for each window of sound, `quiet` for each silent block, `gap` for lost audio, and `finish`
    at the end.
    """

    def __init__(self, settings: TrackSettings | None = None, rules: TrackRules | None = None) -> None:
        self._settings = settings or TrackSettings()
        self._rules = rules or TrackRules()
        self._open: OpenPlay | None = None
        self._ended: deque[OpenPlay] = deque(maxlen=_MAX_ENDED)
        self._searched_to_s = 0.0  # end of the last window
        self._missed_from_s = 0.0  # sound before it was not searched
        self._floor_s = 0.0  # end of the previous play; the next one does not start earlier
        self._pending: Match | None = None  # the last accepted match that did not start a play
        self._recent: deque[Match] = deque()
        self._unmatched = UnmatchedSound(self._settings.unknown_s)

    @property
    def playing(self) -> Play | None:
        """The open play."""
        return None if self._open is None else self._open.play

    @property
    def settled(self) -> bool:
        """Whether one track alone explains the open play, and has done so strongly."""
        current = self._open
        return current is not None and not current.play.ambiguous and current.is_strong

    def position_s(self, at_s: float) -> float | None:
        """Return the position in the open play's track at a second of the source, if it plays on."""
        return None if self._open is None else self._open.alignment_s + at_s

    def recurs(self, match: Match) -> bool:
        """Return whether a match fits the same track at the same alignment as an earlier one."""
        return recurs(match, self._lately(match.end_s), self._rules)

    def update(
        self,
        match: Match | None,
        window_start_s: float,
        window_end_s: float,
        music: bool | None = True,
    ) -> list[Event]:
        """Add the best match of one window of sound and return the resulting events.

        Parameters
        ----------
        match : Match or None
            The best match, accepted or not; None if there is none.
        window_start_s, window_end_s : float
            The window in seconds of the source. Windows must be in the order of their ends. Sound between
            them was not searched, and counts neither for a play nor against it.
        music : bool or None
            Whether the sound is music; None if that is unsure. Only music is reported as unknown music.
        """
        self._note_searched(window_start_s, window_end_s)
        self._unmatched.sound(window_start_s, window_end_s, music is not False)
        self._remember(match, window_end_s)
        events = [] if match is None else self._take(match)
        events += self._expire(window_end_s)
        return events + (self._unknown(window_end_s) if music or self._open is not None else [])

    def silence(self, now_s: float) -> list[Event]:
        """Record silence at this second of the source; report `Silence` once and end a play after the gap."""
        events = self._close_short_sound()
        self._note_searched(now_s - _SEARCH_GAP_S, now_s)
        events += self._expire(now_s)
        return events + self._unmatched.silence(now_s, _SEARCH_GAP_S)

    def speed_changed(self) -> None:
        """Forget the matches that started no play: they were made at another speed of the music."""
        self._pending = None
        self._recent.clear()

    def gap(self, now_s: float) -> list[Event]:
        """Record that the audio until this second of the source was lost; end a play after the gap."""
        self._unmatched.lost()
        return self._expire(now_s)

    def finish(self, end_s: float) -> list[Event]:
        """Record that the source ended at this second; end the open play."""
        events = self._close_short_sound()
        if self._open is not None:
            events += self._end(self._open, min(self._open.heard_s, end_s))
        self._pending = None
        self._recent.clear()
        self._ended.clear()
        self._unmatched.forget()
        return events

    # The open play

    def _note_searched(self, start_s: float, end_s: float) -> None:
        if start_s > self._searched_to_s:
            self._missed_from_s = end_s
        self._searched_to_s = max(self._searched_to_s, end_s)

    def _take(self, match: Match) -> list[Event]:
        """Continue the open play with a match, or use the match as evidence for another play."""
        held: list[Event] = []
        if self._open is not None:
            match = self._open.at_own_alignment(match)
            if self._open.explains(match):
                self._pending = None
                return self._extend(self._open, match)
            if self._open.own_alignment_fits(match, self._rules.kept_below):
                self._open.add_at_own_alignment(match)
                held = [PlayUpdated(self._open.play)]
        enough = match.score >= match.threshold + self._settings.caution
        return held + (self._propose(match) if enough else [])

    def _extend(self, current: OpenPlay, match: Match) -> list[Event]:
        current.extend(match)
        return [PlayUpdated(current.play)]

    def _expire(self, now_s: float) -> list[Event]:
        current = self._open
        if current is None or now_s - max(current.heard_s, self._missed_from_s) <= self._settings.gap_s:
            return []
        return self._end(current, current.heard_s)

    def _end(self, current: OpenPlay, end_s: float) -> list[Event]:
        ended = current.end(end_s)
        self._open = None
        self._ended.append(current)
        self._floor_s = max(self._floor_s, ended.play.end_s)
        self._unmatched.unexplained(current.heard_s)
        return [ended]

    # A new play

    def _propose(self, match: Match) -> list[Event]:
        """Start a play if this accepted match is strong, or confirms an earlier one."""
        rules, current = self._rules, self._open
        self._pending = match
        confirmed = self._is_confirmed(match)
        same_track = current is not None and current.play.track.id in readings_of(match)
        if current is not None and same_track:
            if not confirmed:
                current.add(match)
                return [PlayUpdated(current.play)]
            again = current.started_again(match)
            if again is None:
                self._pending = None
                return self._extend(current, match)  # the player jumped, or the music repeats itself
            match = realigned(match, match.track.id, again, rules.drift_s)
        elif current is not None and current.own_alignment_fits(match, 0.0):
            return []  # a passage that both have
        return self._start(match) if confirmed else []

    def _is_confirmed(self, match: Match) -> bool:
        """Return whether a match starts a play: it is strong, confirms an earlier one, or a play goes on."""
        rules, current = self._rules, self._open
        searched_s = self._unmatched.unmatched_s
        if current is None and self._resumed(match) is not None:
            return True
        if current is not None:
            searched_s = max(0.0, match.end_s - current.over_s) if current.over_s < match.end_s else math.inf
        lead = match.score - match.threshold - self._settings.caution
        if lead >= rules.strong_after(searched_s):
            return True
        if current is None and returns(match, list(self._recent)[:-1], self._settings.caution, rules):
            return True
        wait_s = rules.confirm_after(searched_s, lead)
        since_s = -math.inf if current is None else current.agreed_s
        return any(
            earlier.end_s >= since_s and rules.confirms(match, earlier, wait_s, self._settings.caution)
            for earlier in agreeing_since(match, self._lately(match.end_s)[:-1], rules)
        )

    def _lately(self, now_s: float) -> list[Match]:
        """Return the recent matches that can confirm a new one, in order."""
        return [one for one in self._recent if one.end_s >= now_s - self._rules.recent_s]

    def _start(self, match: Match) -> list[Event]:
        """Start a play where the track was first heard, and end the previous play there."""
        resumed = self._resumed(match)
        if resumed is not None:
            return self._resume(*resumed)
        first_s = first_heard_s(match, list(self._recent), self._rules)
        begin_s = -alignment_s(match)  # the track's own beginning, on the source's clock
        current = self._open
        if current is not None:
            if not first_s <= begin_s <= match.end_s and first_s < current.heard_s:
                first_s = (first_s + current.heard_s) / 2  # the change is somewhere in the overlap of both
            floor_s = max(current.play.start_s, min(current.heard_s, max(first_s, begin_s)))
        else:
            floor_s = self._floor_s
        start_s = min(max(first_s, begin_s, floor_s), match.end_s)
        readings = narrowed(readings_of(match), self._recent, self._rules)
        found = OpenPlay(match, readings, start_s, self._rules)
        least_s = self._rules.shortest_s if len(readings) == 1 else self._rules.distinguishing_s
        if found.length_s < least_s:
            return []  # wait for more of it
        self._pending = None
        if current is None:
            return self._open_with(found)
        if floor_s - current.play.start_s < self._rules.shortest_s:
            return self._correct(current, match)
        return [*self._end(current, floor_s), *self._open_with(found)]

    def _correct(self, current: OpenPlay, match: Match) -> list[Event]:
        """Give the open play the track of this match, which explains all of it."""
        doubtful, current = current.corrected(match)
        self._open = current
        return [PlayUpdated(doubtful), PlayUpdated(current.play)]

    def _open_with(self, found: OpenPlay) -> list[Event]:
        self._open = found
        self._recent.clear()
        return [PlayStarted(found.play)]

    def _resumed(self, match: Match) -> tuple[OpenPlay, Match] | None:
        """Return the play that goes on with this match, and the match where it goes on."""
        going_on = ((ended, ended.resuming(match)) for ended in reversed(self._ended))
        return next(((ended, found) for ended, found in going_on if found), None)

    def _resume(self, resumed: OpenPlay, match: Match) -> list[Event]:
        self._pending = None
        self._ended.remove(resumed)  # before another play is added: only the last few are kept
        events: list[Event] = []
        if (current := self._open) is not None:
            earliest_s = current.play.start_s + self._rules.shortest_s
            events = self._end(current, max(earliest_s, min(current.heard_s, match.start_s)))
        resumed.resume(match)
        return events + self._open_with(resumed)

    def _remember(self, match: Match | None, now_s: float) -> None:
        while self._recent and now_s - self._recent[0].end_s > self._rules.recall_s:
            self._recent.popleft()
        if match is not None:
            self._recent.append(match)
        if self._pending is not None and now_s - self._pending.end_s > self._rules.agree_s:
            self._pending = None

    # Unknown music

    def _unknown(self, now_s: float) -> list[Event]:
        if self._open is not None:
            self._unmatched.explained()
            return []
        return [*self._unmatched.unknown(self._promising_s(now_s))]

    def _promising_s(self, now_s: float) -> float:
        """Return how much longer music is not unknown yet: a play may start, or the last one go on."""
        if any(ended.over_s > now_s for ended in self._ended):
            return self._rules.promising_s
        if len(self._recent) < 2 or not agree(self._recent[-2], self._recent[-1], self._rules.drift_s):
            return 0.0
        lowest = min(one.score - one.threshold for one in (self._recent[-2], self._recent[-1]))
        return self._rules.promising_s if lowest >= -self._rules.kept_below else 0.0

    def _close_short_sound(self) -> list[Event]:
        """Report a play for a sound of one window, which allows no second match, if its match is accepted."""
        pending, sound = self._pending, self._unmatched
        if pending is None or not sound.is_short_music or self._open is not None:
            return []
        self._pending = None
        events = self._start(pending)
        return [*events, *([] if self._open is None else self._end(self._open, pending.end_s))]
