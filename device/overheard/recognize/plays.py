"""Matches to plays: when a play begins, that it goes on, and when it is over."""

from __future__ import annotations

import dataclasses
from collections import deque

from overheard.events import Event, Match, MusicUnknown, Play, PlayEnded, PlayStarted, PlayUpdated, Silence
from overheard.settings import TrackSettings

_LONG_AGO = -1e9


@dataclasses.dataclass(frozen=True)
class TrackRules:
    """What is tuned with the matcher and no matter of taste; the user's part is in `TrackSettings`."""

    # The score is in log-odds; the threshold of a match is what its window's length asks for.
    # A threshold fits one query; a day asks thousands. So a play needs more than one accepted match.
    strong_above: float = 5.0  # over the threshold: one such match starts a play, weaker ones need a second
    kept_below: float = 4.0  # under the threshold, yet enough to go on in the same track and alignment
    drift_s: float = 1.0  # alignments that differ by less are the same
    confirm_s: float = 6.0  # the second match must end so much later: overlapping windows share their errors
    agree_s: float = 10.0  # and within this time of the first
    hope_s: float = 10.0  # weak matches that agree delay the word of unknown music by so much
    recall_s: float = 20.0  # how far back a play's start is looked for in earlier, weaker matches


def alignment_s(match: Match) -> float:
    """Return the position in the track at second 0 of the source; constant while a track plays on."""
    return match.offset_s - match.start_s


class PlayTracker:
    """Turn the matches of overlapping windows into plays, with hysteresis.

    A play starts at one strong accepted match or at two that agree in track and alignment. It goes on
    through weaker matches that agree with it, bridges `settings.gap_s` without any, and ends at the last that
    agreed. Another track takes over only when it is accepted as at a start and the present one has not been
    heard since. The owner calls `update` for each window of sound, `quiet` for each block while nothing
    sounds, and `finish` at the end.
    """

    def __init__(self, settings: TrackSettings | None = None, rules: TrackRules | None = None) -> None:
        self._settings = settings or TrackSettings()
        self._rules = rules or TrackRules()
        self._play: Play | None = None
        self._alignment_s = 0.0  # of the last match that agreed with the play
        self._heard_s = 0.0  # end of the last window that agreed with the play
        self._floor_s = 0.0  # no play starts before the one before it ended
        self._pending: Match | None = None  # accepted, waits for a second that agrees
        self._recent: deque[Match] = deque()
        self._told = False  # of unknown music in this stretch of sound
        self._sounding = False
        self._windows = 0  # of sound since the last silence
        self._sound_end_s = _LONG_AGO
        self._unmatched_s = 0.0
        self._unmatched_from_s = 0.0

    @property
    def playing(self) -> Play | None:
        """The open play."""
        return self._play

    def update(self, match: Match | None, window_start_s: float, window_end_s: float) -> list[Event]:
        """Take the best match of one window of sound, None where there is none at all.

        Parameters
        ----------
        match
            Best match, accepted or not.
        window_start_s, window_end_s
            The window in seconds of the source; ends must not go backwards.
        """
        events = self._expire(window_start_s)
        self._count_sound(window_start_s, window_end_s)
        self._remember(match, window_end_s)
        if match is not None and self._continues(match):
            self._pending = None
            events += self._extend(match)
        elif match is not None and match.accepted:
            events += self._propose(match)
        events += self._expire(window_end_s)
        return events + self._unknown(window_end_s)

    def quiet(self, now_s: float) -> list[Event]:
        """Take note that nothing sounds at this second; says `Silence` once, ends a play after the gap."""
        events = self._close_short_stretch()
        events += self._expire(now_s)
        if self._sounding:
            self._sounding = False
            events.append(Silence(self._sound_end_s))
        if now_s - self._sound_end_s >= self._settings.unknown_s:
            self._forget_stretch()
        return events

    def gap(self, now_s: float) -> list[Event]:
        """Take note that what sounded until this second was lost; ends a play after the gap."""
        if self._sounding:
            self._windows += 1  # no short sound: nobody knows how long it was
        return self._expire(now_s)

    def finish(self, end_s: float) -> list[Event]:
        """End the open play; the source is over at this second."""
        events = self._close_short_stretch()
        if self._play is not None:
            events += self._end(min(self._heard_s, end_s))
        self._pending = None
        self._recent.clear()
        self._forget_stretch()
        return events

    # The open play

    def _continues(self, match: Match) -> bool:
        play = self._play
        if play is None or match.track.id != play.track.id:
            return False
        near = abs(alignment_s(match) - self._alignment_s) <= self._rules.drift_s
        return near and self._kept(match)

    def _kept(self, match: Match) -> bool:
        return match.score >= match.threshold - self._rules.kept_below

    def _extend(self, match: Match) -> list[Event]:
        """Go on to this match's end; the alignment follows, so that a wrong speed does not add up."""
        self._alignment_s = alignment_s(match)
        return self._hear(match)

    def _hear(self, match: Match) -> list[Event]:
        play = self._play
        if play is None:
            return []
        self._heard_s = max(self._heard_s, match.end_s)
        self._play = dataclasses.replace(
            play,
            end_s=max(play.end_s, self._clip_to_track(match, self._heard_s)),
            score=max(play.score, match.score),
            confidence=max(play.confidence, match.confidence),
        )
        return [PlayUpdated(self._play)]

    def _expire(self, now_s: float) -> list[Event]:
        if self._play is not None and now_s - self._heard_s > self._settings.gap_s:
            return self._end(self._heard_s)
        return []

    def _end(self, end_s: float) -> list[Event]:
        play = self._play
        if play is None:
            return []
        play = dataclasses.replace(play, end_s=max(play.start_s, min(play.end_s, end_s)))
        self._play = None
        self._floor_s = play.end_s
        self._unmatched_s = max(0.0, self._sound_end_s - self._heard_s)
        self._unmatched_from_s = self._heard_s
        self._told = False
        return [PlayEnded(play)]

    # A new one

    def _propose(self, match: Match) -> list[Event]:
        """Start a play if this accepted match is strong or the second to say the same."""
        first, rules = self._pending, self._rules
        agrees = first is not None and self._agree(first, match)
        if first is None or not agrees:
            first = self._pending = match
        later_s = match.end_s - first.end_s
        confirmed = match.score >= match.threshold + rules.strong_above or later_s >= rules.confirm_s
        play = self._play
        same_track = play is not None and play.track.id == match.track.id
        if not confirmed:
            return self._hear(match) if same_track else []
        self._pending = None
        if same_track and not self._started_again(match):
            return self._extend(match)  # a seek, or music that repeats itself
        return self._start(match)

    def _agree(self, first: Match, second: Match) -> bool:
        near = abs(alignment_s(first) - alignment_s(second)) <= self._rules.drift_s
        return near and first.track.id == second.track.id

    def _started_again(self, match: Match) -> bool:
        """Whether the track, played to its end, now begins anew."""
        duration_s = match.track.duration_s
        position_s = alignment_s(match) + match.end_s
        expected_s = self._alignment_s + match.end_s
        over = duration_s > 0 and expected_s > duration_s - 2
        return over and position_s < expected_s - self._rules.drift_s

    def _start(self, match: Match) -> list[Event]:
        """Start a play where the track was first heard, and end the one before it there."""
        first_s = self._first_heard_s(match)
        begin_s = -alignment_s(match)  # where the track itself begins
        events: list[Event] = []
        if self._play is not None:
            if not first_s <= begin_s <= match.end_s and first_s < self._heard_s:
                first_s = (first_s + self._heard_s) / 2  # both were heard between; the truth is in the middle
            events = self._end(min(self._heard_s, max(first_s, begin_s)))
        start_s = min(max(first_s, begin_s, self._floor_s), match.end_s)
        self._alignment_s = alignment_s(match)
        self._heard_s = match.end_s
        self._play = Play(
            track=match.track,
            start_s=start_s,
            end_s=max(start_s, self._clip_to_track(match, match.end_s)),
            offset_s=max(0.0, start_s + self._alignment_s),
            score=match.score,
            confidence=match.confidence,
        )
        self._recent.clear()
        return [*events, PlayStarted(self._play)]

    def _first_heard_s(self, match: Match) -> float:
        """Return the start of the earliest of the last matches that agree with this one."""
        first_s = match.start_s
        for earlier in self._recent:
            if self._agree(earlier, match) and self._kept(earlier):
                first_s = min(first_s, earlier.start_s)
        return first_s

    def _clip_to_track(self, match: Match, end_s: float) -> float:
        """Let no play outlast its track."""
        if match.track.duration_s <= 0:
            return end_s
        return min(end_s, match.track.duration_s - alignment_s(match))

    def _remember(self, match: Match | None, now_s: float) -> None:
        while self._recent and now_s - self._recent[0].end_s > self._rules.recall_s:
            self._recent.popleft()
        if match is not None:
            self._recent.append(match)
        if self._pending is not None and now_s - self._pending.end_s > self._rules.agree_s:
            self._pending = None

    # Sound that nothing explains

    def _forget_stretch(self) -> None:
        self._told = self._sounding = False
        self._windows = 0
        self._sound_end_s = _LONG_AGO
        self._unmatched_s = 0.0

    def _count_sound(self, start_s: float, end_s: float) -> None:
        if start_s - self._sound_end_s >= self._settings.unknown_s:
            self._forget_stretch()
        self._windows = self._windows + 1 if self._sounding else 1
        self._sounding = True
        if self._unmatched_s <= 0:
            self._unmatched_from_s = max(start_s, self._sound_end_s)
        self._unmatched_s += end_s - max(start_s, self._sound_end_s)
        self._sound_end_s = max(self._sound_end_s, end_s)

    def _unknown(self, now_s: float) -> list[Event]:
        """Say once in a stretch that the sound is known to no pack."""
        if self._play is not None:
            self._unmatched_s = 0.0
            self._told = False
        elif not self._told and self._unmatched_s >= self._patience_s():
            self._told = True
            return [MusicUnknown(self._unmatched_from_s, now_s)]
        return []

    def _patience_s(self) -> float:
        """Wait longer where the last two matches agree: a play may be about to start."""
        if len(self._recent) < 2 or not self._agree(self._recent[-2], self._recent[-1]):
            return self._settings.unknown_s
        hopeful = self._kept(self._recent[-2]) and self._kept(self._recent[-1])
        return self._settings.unknown_s + (self._rules.hope_s if hopeful else 0.0)

    def _close_short_stretch(self) -> list[Event]:
        """Name a sound that was too short for a second window by its only match, if that is accepted."""
        pending = self._pending
        if pending is None or not self._sounding or self._windows > 1 or self._play is not None:
            return []
        self._pending = None
        return [*self._start(pending), *self._end(pending.end_s)]
