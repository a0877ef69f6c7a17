"""Follow the open play: its alignment, its ambiguity, and whether a match continues or repeats it."""

from __future__ import annotations

import dataclasses
import math

from overheard.events import Alternative, EvidencePoint, Match, Play, PlayEnded
from overheard.recognize.plays.agreement import (
    Reading,
    Readings,
    TrackRules,
    alignment_s,
    alignments_of,
    common,
    first_share,
    readings_of,
    realigned,
)
from overheard.recognize.speed.drift import Drift

_MAX_POINTS = 24


class OpenPlay:
    """The open play, followed from match to match along one alignment.

    Music repeats itself, so several alignments of a track may fit a window. The play keeps its alignment as
    long as that fits, and only then moves to another one.

    Parameters
    ----------
    match : the match that starts the play
    readings : the tracks that explain the sound so far
    start_s : start of the play in seconds of the source
    """

    def __init__(self, match: Match, readings: Readings, start_s: float, rules: TrackRules) -> None:
        self._rules = rules
        self.readings = readings
        self.heard_s = match.end_s  # end of the last window with the track
        self.agreed_s = match.end_s  # end of the last one at the play's alignment
        self.confidence = match.confidence  # that one of the tracks is right
        self._fitting = alignments_of(match)  # explain all that was heard
        self._over_s = self._end_of_track_s()
        self._evidence: list[EvidencePoint] = []
        self._lead = -math.inf  # of the best match over the threshold
        self._drift = Drift()
        self._note(match)
        first, *others = [
            Alternative(each.track, max(0.0, start_s + each.alignment_s)) for each in readings.values()
        ]
        self.play = Play(
            track=first.track,
            start_s=start_s,
            end_s=max(start_s, self._reading.clip(match.end_s)),
            offset_s=first.offset_s,
            score=match.score,
            confidence=match.confidence * first_share(readings),
            alternatives=tuple(others),
        )

    @property
    def _reading(self) -> Reading:
        return next(iter(self.readings.values()))

    @property
    def alignment_s(self) -> float:
        """The position in the play's track at second 0 of the source."""
        return self._reading.alignment_s

    @property
    def is_strong(self) -> bool:
        """Whether a match could have started the play at any time. If not, another version may play."""
        return self._lead >= self._rules.strong_above

    @property
    def length_s(self) -> float:
        """Length of the play so far."""
        return self.play.end_s - self.play.start_s

    @property
    def over_s(self) -> float:
        """The second of the source at which the track is over; infinite if its length is unknown."""
        return self._over_s

    def _end_of_track_s(self) -> float:
        duration_s = self._reading.track.duration_s
        return duration_s - self.alignment_s if duration_s > 0 else math.inf

    def explains(self, match: Match) -> bool:
        """Return whether a match is at the play's alignment and not too weak."""
        is_kept = match.score >= match.threshold - self._rules.kept_below
        return is_kept and bool(common(readings_of(match), self.readings, self._rules.drift_s))

    def own_alignment_fits(self, match: Match, below: float) -> bool:
        """Return whether the play's own alignment fits too, at most `below` under the threshold."""
        return match.continued is not None and match.continued >= match.threshold - below

    def at_own_alignment(self, match: Match) -> Match:
        """Return the match at the play's alignment, if the music repeats itself and this one fits too."""
        return realigned(match, self.play.track.id, self.alignment_s, self._rules.drift_s)

    def extend(self, match: Match) -> None:
        """Continue to this match's end at its alignment: the speed is slightly off, or the player jumped."""
        found = readings_of(match)
        agreeing = common(self.readings, found, self._rules.drift_s) or self.readings.keys() & found.keys()
        followed = {name: found[name] for name in self.readings if name in agreeing}
        self.readings = followed if match.accepted else self.readings | followed
        # Later than the end, it stays: what comes after it may be the track's next play.
        if match.end_s < self._over_s or self._always_fitted((self.alignment_s,)):
            self._over_s = self._end_of_track_s()
        self._settle()
        self._fit(match)
        self.add(match)
        self.agreed_s = self.heard_s
        self._drift.add(match.end_s, self.alignment_s)
        self.play = dataclasses.replace(self.play, speed=self._drift.speed)

    def add(self, match: Match) -> None:
        """Add the time of a match to the play."""
        self._note(match)
        self.heard_s = max(self.heard_s, match.end_s)
        self.confidence = max(self.confidence, match.confidence)
        name, known = next(iter(self.readings.items()))
        reading = readings_of(match).get(name, known)
        self.play = dataclasses.replace(
            self.play,
            end_s=max(self.play.end_s, reading.clip(self.heard_s)),
            score=max(self.play.score, match.score),
            confidence=self.confidence * first_share(self.readings),
        )

    def add_at_own_alignment(self, match: Match) -> None:
        """Add the time of a match to the play, whose alignment fits too, although another one fits better."""
        self.heard_s = self.agreed_s = max(self.heard_s, match.end_s)
        self.play = dataclasses.replace(
            self.play, end_s=max(self.play.end_s, self._reading.clip(self.heard_s))
        )

    def _settle(self) -> None:
        """Keep the tracks that still explain the play, its own first if possible."""
        tracks = [Alternative(self.play.track, self.play.offset_s), *self.play.alternatives]
        first, *others = [each for each in tracks if each.track.id in self.readings]
        self.play = dataclasses.replace(
            self.play, track=first.track, offset_s=first.offset_s, alternatives=tuple(others)
        )

    def _fit(self, match: Match) -> None:
        """Keep the alignments that explain all that was heard; correct the start if that is another one."""
        if not match.accepted or match.track.id != self.play.track.id:
            return
        drift_s, now = self._rules.drift_s, alignments_of(match)
        left = tuple(one for one in now if any(abs(one - other) <= drift_s for other in self._fitting))
        self._fitting = left or self._fitting
        if left and abs(left[0] - self.alignment_s) <= drift_s:
            offset_s = max(0.0, self.play.start_s + left[0])
            if abs(offset_s - self.play.offset_s) > self._rules.jump_s:
                self.play = dataclasses.replace(self.play, offset_s=offset_s)

    def started_again(self, match: Match) -> float | None:
        """Return the alignment at which the track begins again at about its end; None if it does not."""
        if self._always_fitted(alignments_of(match)):
            return None  # the play was on another repeat
        begins = [
            -one
            for one in alignments_of(match)
            if abs(-one - self._over_s) <= self._rules.restart_s and -one <= match.end_s
        ]
        return -min(begins, key=lambda begin_s: abs(begin_s - self._over_s)) if begins else None

    def _always_fitted(self, alignments: tuple[float, ...]) -> bool:
        """Return whether one of these alignments explains all that was heard so far."""
        drift_s = self._rules.drift_s
        return any(abs(one - other) <= drift_s for one in alignments for other in self._fitting)

    def resuming(self, match: Match) -> Match | None:
        """Return the match where this play, which had ended, goes on with it: unnoticed, or after a pause.

        It is None if the play does not go on. If the music repeats itself, the match may fit another repeat
        as well as the position where the play stopped; but a track that was heard to its end has not paused.
        """
        reading = readings_of(match).get(self.play.track.id)
        if reading is None:
            return None
        was_over = self.heard_s >= self._over_s - self._rules.restart_s
        repeats = () if was_over or match.track.id != self.play.track.id else alignments_of(match)[1:]
        for alignment in (reading.alignment_s, *repeats):
            if self._goes_on(alignment, match):
                return realigned(match, self.play.track.id, alignment, self._rules.drift_s)
        return None

    def _goes_on(self, alignment: float, match: Match) -> bool:
        """Return whether the play goes on with a match at this alignment of its track.

        The track is where it would be without a pause; or, for some time, it goes on where it stopped, or at
        most as far as the time since then, or is a little behind. It was not over, and does not begin again.
        """
        if -alignment >= self._over_s - self._rules.restart_s:
            return False
        if abs(alignment - self.alignment_s) <= 2 * self._rules.drift_s:
            return True
        if match.end_s - self.heard_s > self._rules.resume_s:
            return False
        stopped_s = self.heard_s + self.alignment_s  # position in the track
        ahead_s = alignment + match.start_s - stopped_s
        return -self._rules.rewind_s <= ahead_s <= match.start_s - self.heard_s + self._rules.rewind_s

    def resume(self, match: Match) -> None:
        """Go on with this match, see :meth:`resuming`."""
        found = readings_of(match)
        self.readings = {name: found[name] for name in self.readings if name in found}
        self._over_s = self._end_of_track_s()
        self._settle()
        self.add(match)

    def corrected(self, match: Match) -> tuple[Play, OpenPlay]:
        """Return this play with the match's track as an alternative, and as a play of that track."""
        start_s = self.play.start_s
        other = OpenPlay(match, readings_of(match), start_s, self._rules)
        one = Alternative(other.play.track, other.play.offset_s)
        return dataclasses.replace(self.play, alternatives=(*self.play.alternatives, one)), other

    def end(self, end_s: float) -> PlayEnded:
        """End the play at this second."""
        end_s = max(self.play.start_s, min(self.play.end_s, end_s))
        self.play = dataclasses.replace(self.play, end_s=end_s)
        return PlayEnded(self.play, tuple(self._evidence))

    def _note(self, match: Match) -> None:
        """Store the match as evidence for an explanation; if there are many, keep every second one."""
        self._lead = max(self._lead, match.score - match.threshold)
        position_s = match.offset_s + match.end_s - match.start_s
        values = (match.score, match.threshold, match.similarity, match.margin)
        self._evidence.append(
            EvidencePoint(match.end_s, position_s, *values, verification=match.verification)
        )
        if len(self._evidence) > _MAX_POINTS:
            del self._evidence[1::2]


def first_heard_s(match: Match, recent: list[Match], rules: TrackRules) -> float:
    """Return the start of the earliest recent match that agrees with this one and is not too weak."""
    first_s, alignment = match.start_s, alignment_s(match)
    for earlier in recent:
        earlier = realigned(earlier, match.track.id, alignment, rules.drift_s)
        is_kept = earlier.score >= earlier.threshold - rules.kept_below
        if is_kept and common(readings_of(earlier), readings_of(match), rules.drift_s):
            first_s = min(first_s, earlier.start_s)
    return first_s
