"""Turn the matches of consecutive windows into plays: decide when a play starts, continues and ends."""

from __future__ import annotations

import dataclasses
from collections import deque

from overheard.events import (
    Alternative,
    Event,
    Match,
    MusicUnknown,
    Play,
    PlayEnded,
    PlayStarted,
    PlayUpdated,
    Silence,
)
from overheard.recognize.agreement import (
    Readings,
    TrackRules,
    agree,
    alignment_s,
    common,
    narrowed,
    readings_of,
)
from overheard.settings import TrackSettings

__all__ = ["PlayTracker", "TrackRules", "alignment_s"]

_LONG_AGO_S = -1e9


class PlayTracker:
    """Turn the matches of overlapping windows into plays, with hysteresis.

    A play starts with one strong accepted match, or with two accepted matches that agree in track and
    alignment. Weaker matches that agree with it continue it. It survives `settings.gap_s` seconds without
    such a match, and then ends at the last one. Another track replaces it if that track's matches would start
    a play. A play is ambiguous while several recordings explain all its accepted matches. The owner calls
    `update` for each window of sound, `quiet` for each silent block, `gap` for lost audio, and `finish` at
    the end.
    """

    def __init__(self, settings: TrackSettings | None = None, rules: TrackRules | None = None) -> None:
        self._settings = settings or TrackSettings()
        self._rules = rules or TrackRules()
        self._play: Play | None = None
        self._readings: Readings = {}  # of the open play: its track and its alternatives
        self._confidence = 0.0  # that one of them is right
        self._heard_s = 0.0  # end of the last window that agreed with the play
        self._floor_s = 0.0  # end of the previous play; the next one does not start earlier
        self._pending: Match | None = None  # accepted, waits for a second match that agrees
        self._recent: deque[Match] = deque()
        self._unknown_reported = False  # for the present stretch of sound
        self._sounding = False
        self._n_windows = 0  # windows of sound since the last silence
        self._sound_end_s = _LONG_AGO_S
        self._unmatched_s = 0.0  # duration of sound without a play
        self._unmatched_from_s = 0.0

    @property
    def playing(self) -> Play | None:
        """The open play."""
        return self._play

    def update(self, match: Match | None, window_start_s: float, window_end_s: float) -> list[Event]:
        """Add the best match of one window of sound and return the resulting events.

        Parameters
        ----------
        match : Match or None
            The best match, accepted or not; None if there is none.
        window_start_s, window_end_s : float
            The window in seconds of the source. Windows must be in the order of their ends. A play goes on
            through sound between them, at which nobody looked, if the window after it agrees.
        """
        goes_on = match is not None and self._continues(match)
        events = [] if goes_on else self._expire(window_start_s)
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
        """Record silence at this second of the source; report `Silence` once and end a play after the gap."""
        events = self._close_short_stretch()
        events += self._expire(now_s)
        if self._sounding:
            self._sounding = False
            events.append(Silence(self._sound_end_s))
        if now_s - self._sound_end_s >= self._settings.unknown_s:
            self._forget_stretch()
        return events

    def skip(self, now_s: float) -> list[Event]:
        """Record that nobody looked at the sound until this second, to save power; a play goes on."""
        return []

    def gap(self, now_s: float) -> list[Event]:
        """Record that the audio until this second of the source was lost; end a play after the gap."""
        if self._sounding:
            self._n_windows += 1  # the sound may have been long, so it is not treated as short
        return self._expire(now_s)

    def finish(self, end_s: float) -> list[Event]:
        """Record that the source ended at this second; end the open play."""
        events = self._close_short_stretch()
        if self._play is not None:
            events += self._end(min(self._heard_s, end_s))
        self._pending = None
        self._recent.clear()
        self._forget_stretch()
        return events

    # The open play

    def _continues(self, match: Match) -> bool:
        explained = common(readings_of(match), self._readings, self._rules.drift_s)
        return self._play is not None and bool(explained) and self._kept(match)

    def _kept(self, match: Match) -> bool:
        return match.score >= match.threshold - self._rules.kept_below

    def _extend(self, match: Match) -> list[Event]:
        """Continue the play to this match's end; follow its alignment, in case the speed is slightly off."""
        found = readings_of(match)
        agreeing = common(self._readings, found, self._rules.drift_s) or self._readings.keys() & found.keys()
        followed = {name: found[name] for name in self._readings if name in agreeing}
        self._readings = followed if match.accepted else self._readings | followed
        return self._hear(match)

    def _hear(self, match: Match) -> list[Event]:
        play = self._play
        if play is None:
            return []
        self._heard_s = max(self._heard_s, match.end_s)
        self._confidence = max(self._confidence, match.confidence)
        name, known = next(iter(self._readings.items()))
        reading = readings_of(match).get(name, known)
        play = dataclasses.replace(
            play,
            end_s=max(play.end_s, reading.clip(self._heard_s)),
            score=max(play.score, match.score),
            confidence=self._confidence / len(self._readings),
        )
        self._play = self._settled(play)
        return [PlayUpdated(self._play)]

    def _settled(self, play: Play) -> Play:
        """Return the play with the tracks that still explain it, its own track first if possible."""
        tracks = [Alternative(play.track, play.offset_s), *play.alternatives]
        first, *others = [each for each in tracks if each.track.id in self._readings]
        return dataclasses.replace(
            play, track=first.track, offset_s=first.offset_s, alternatives=tuple(others)
        )

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
        self._unknown_reported = False
        return [PlayEnded(play)]

    # A new play

    def _propose(self, match: Match) -> list[Event]:
        """Start a play if this accepted match is strong, or confirms an earlier one."""
        first, rules = self._pending, self._rules
        agrees = first is not None and self._agree(first, match)
        if first is None or not agrees:
            first = self._pending = match
        later_s = match.end_s - first.end_s
        confirmed = match.score >= match.threshold + rules.strong_above or later_s >= rules.confirm_s
        play = self._play
        same_track = play is not None and play.track.id in readings_of(match)
        if not confirmed:
            return self._hear(match) if same_track else []
        self._pending = None
        if same_track and not self._started_again(match):
            return self._extend(match)  # the player jumped, or the music repeats itself
        return self._start(match)

    def _agree(self, first: Match, second: Match) -> bool:
        return agree(first, second, self._rules.drift_s)

    @property
    def _alignment_s(self) -> float:
        """The alignment of the play's track in the last match that agreed with the play."""
        return next(iter(self._readings.values())).alignment_s

    def _started_again(self, match: Match) -> bool:
        """Return whether the track played to its end and now plays again from an earlier position."""
        duration_s = match.track.duration_s
        position_s = alignment_s(match) + match.end_s
        expected_s = self._alignment_s + match.end_s
        is_over = duration_s > 0 and expected_s > duration_s - self._rules.restart_s
        return is_over and position_s < expected_s - self._rules.drift_s

    def _start(self, match: Match) -> list[Event]:
        """Start a play where the track was first heard, and end the previous play there."""
        first_s = self._first_heard_s(match)
        begin_s = -alignment_s(match)  # the track's own beginning, on the source's clock
        events: list[Event] = []
        if self._play is not None:
            if not first_s <= begin_s <= match.end_s and first_s < self._heard_s:
                first_s = (first_s + self._heard_s) / 2  # the change is somewhere in the overlap of both
            events = self._end(min(self._heard_s, max(first_s, begin_s)))
        start_s = min(max(first_s, begin_s, self._floor_s), match.end_s)
        self._readings = narrowed(readings_of(match), self._recent, self._rules.drift_s)
        self._heard_s, self._confidence = match.end_s, match.confidence
        first, *others = [
            Alternative(each.track, max(0.0, start_s + each.alignment_s)) for each in self._readings.values()
        ]
        self._play = Play(
            track=first.track,
            start_s=start_s,
            end_s=max(start_s, next(iter(self._readings.values())).clip(match.end_s)),
            offset_s=first.offset_s,
            score=match.score,
            confidence=match.confidence / len(self._readings),
            alternatives=tuple(others),
        )
        self._recent.clear()
        return [*events, PlayStarted(self._play)]

    def _first_heard_s(self, match: Match) -> float:
        """Return the start of the earliest recent match that agrees with this one."""
        first_s = match.start_s
        for earlier in self._recent:
            if self._agree(earlier, match) and self._kept(earlier):
                first_s = min(first_s, earlier.start_s)
        return first_s

    def _remember(self, match: Match | None, now_s: float) -> None:
        while self._recent and now_s - self._recent[0].end_s > self._rules.recall_s:
            self._recent.popleft()
        if match is not None:
            self._recent.append(match)
        if self._pending is not None and now_s - self._pending.end_s > self._rules.agree_s:
            self._pending = None

    # Unknown music

    def _forget_stretch(self) -> None:
        self._unknown_reported = self._sounding = False
        self._n_windows = 0
        self._sound_end_s = _LONG_AGO_S
        self._unmatched_s = 0.0

    def _count_sound(self, start_s: float, end_s: float) -> None:
        if start_s - self._sound_end_s >= self._settings.unknown_s:
            self._forget_stretch()
        self._n_windows = self._n_windows + 1 if self._sounding else 1
        self._sounding = True
        if self._unmatched_s <= 0:
            self._unmatched_from_s = max(start_s, self._sound_end_s)
        self._unmatched_s += end_s - max(start_s, self._sound_end_s)
        self._sound_end_s = max(self._sound_end_s, end_s)

    def _unknown(self, now_s: float) -> list[Event]:
        """Report unknown music once per stretch of sound."""
        if self._play is not None:
            self._unmatched_s = 0.0
            self._unknown_reported = False
        elif not self._unknown_reported and self._unmatched_s >= self._patience_s():
            self._unknown_reported = True
            return [MusicUnknown(self._unmatched_from_s, now_s)]
        return []

    def _patience_s(self) -> float:
        """Return the time before music is unknown; longer if the last two matches agree, as before a play."""
        if len(self._recent) < 2 or not self._agree(self._recent[-2], self._recent[-1]):
            return self._settings.unknown_s
        hopeful = self._kept(self._recent[-2]) and self._kept(self._recent[-1])
        return self._settings.unknown_s + (self._rules.hope_s if hopeful else 0.0)

    def _close_short_stretch(self) -> list[Event]:
        """Report a play for a sound of one window, which allows no second match, if its match is accepted."""
        pending = self._pending
        if pending is None or not self._sounding or self._n_windows > 1 or self._play is not None:
            return []
        self._pending = None
        return [*self._start(pending), *self._end(pending.end_s)]
