"""Decide whether matches of different windows agree on a track and its alignment."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterable, Sequence

from overheard.events import Alternative, Match, Track


@dataclasses.dataclass(frozen=True)
class TrackRules:
    """Constants of the play tracker, tuned together with the matcher. What users set is in `TrackSettings`.

    The threshold of a match is made for one query. A day of listening consists of thousands, so one match
    that barely reaches the threshold does not start a play. The values were chosen by trials: see
    docs/experiments.md.

    Attributes
    ----------
    strong_above : score over the threshold, in log-odds, from which a single match always starts a play
    onset_above : the same just after an onset, when there were few chances of a false positive
    onset_s : the chances double for the first time after this long
    kept_below : score under the threshold, in log-odds, down to which a match still continues a play
    drift_s : alignments that differ by at most this much are the same
    confirm_above, confirm_below : a second match, at least this much over the threshold, confirms a first one
        that is at most this much below, if the match just before it agrees too and is accepted
    apart_below : if the two share no sound, it is enough that the first is at most this much below, and the
        second is accepted
    confirm_s : a second match confirms a first only if it ends at least this much later, because overlapping
        windows have the same errors
    onset_confirm_s : the same just after an onset
    confirm_drift_s : alignments of the two differ by at most this much: a recording keeps its alignment,
        similar music fits here and there
    both_above : score over the threshold of the second match and the one just before it together, if that one
        is not accepted
    repeat_s : alignments that fit as well as the best one, but are nearer to it, are no repeats of the music
    confirm_share : of the matches from the first to the second, at least this share agrees with the second
    best_share : of the recent matches with the second one's track, at least this share has its alignment as
        the best one
    return_above, return_below : a match that is at least this much over the threshold confirms one that
        shares no sound with it and is at most this much below, even if other tracks matched between the two
    return_share : if the track has this alignment in at least this share of its recent matches
    agree_s : a second match confirms a first only if it ends at most this much later
    promising_s : extra time before music is reported as unknown, while weak matches agree with each other
    recent_s : how far back matches confirm later ones
    recall_s : how far back the start of a play can be moved to earlier matches that agree with it
    restart_s : a track that begins again at most this much before or after its end is a new play
    shortest_s : a play starts when this much of it was heard; a shorter one was a mistake
    distinguishing_s : a shorter match cannot distinguish tracks that share its passage
    resume_s : a play that ended goes on if its track goes on within this time, as after a pause
    rewind_s : the position in the track may differ by this much after a pause
    jump_s : a start that differs by more is corrected, when an alignment explains the play better
    """

    strong_above: float = 5.0
    onset_above: float = 2.5
    onset_s: float = 3.0
    kept_below: float = 4.0
    drift_s: float = 1.0
    confirm_above: float = 1.25
    confirm_below: float = 2.0
    apart_below: float = 0.5
    confirm_s: float = 6.0
    onset_confirm_s: float = 2.0
    confirm_drift_s: float = 0.3
    both_above: float = 2.5
    repeat_s: float = 4.0
    confirm_share: float = 0.5
    best_share: float = 0.25
    return_above: float = 0.5
    return_below: float = 1.0
    return_share: float = 0.75
    agree_s: float = 10.0
    promising_s: float = 10.0
    recent_s: float = 20.0
    recall_s: float = 60.0
    restart_s: float = 10.0
    shortest_s: float = 2.0
    distinguishing_s: float = 2.5
    resume_s: float = 60.0
    rewind_s: float = 10.0
    jump_s: float = 2.0

    def strong_after(self, searched_s: float) -> float:
        """Return from which score over the threshold a single match starts a play.

        Parameters
        ----------
        searched_s : seconds of sound since the onset. Each window is another chance of a false positive, so
            the score grows with the logarithm of their number (Bonferroni).
        """
        return min(self.strong_above, self.onset_above + math.log1p(searched_s / self.onset_s))

    def confirm_after(self, searched_s: float, lead: float) -> float:
        """Return how much later a second match must end to confirm a first one: the stronger, the sooner.

        Parameters
        ----------
        searched_s : see :meth:`strong_after`
        lead : score of the second match over the threshold
        """
        longest_s = min(self.confirm_s, max(self.onset_confirm_s, searched_s / 4))
        strong = self.strong_after(searched_s)
        if strong <= self.confirm_above:
            return longest_s
        return longest_s * min(1.0, max(0.0, (strong - lead) / (strong - self.confirm_above)))

    def confirms(self, second: Match, first: Match, wait_s: float, caution: float) -> bool:
        """Return whether a second match confirms a first one, with which it agrees.

        Parameters
        ----------
        wait_s : see :meth:`confirm_after`; two matches that share no sound are independent, and may be weaker
        caution : score that each needs in addition
        """
        lead, first_lead = (each.score - each.threshold - caution for each in (second, first))
        if first.end_s <= second.start_s and second.end_s - second.start_s >= self.confirm_s:
            return lead >= 0 and first_lead >= -self.apart_below
        is_strong = lead >= self.confirm_above and first_lead >= -self.confirm_below
        return is_strong and wait_s <= second.end_s - first.end_s <= self.agree_s


@dataclasses.dataclass(frozen=True)
class Reading:
    """One possible interpretation of a match: a track and its alignment.

    Attributes
    ----------
    alignment_s : position in the track at second 0 of the source; it is constant while the track plays on
    odds : that it is this track, relative to the one that fits best
    """

    track: Track
    alignment_s: float
    odds: float = 1.0

    def clip(self, end_s: float) -> float:
        """Limit a second of the source to the end of the track."""
        return min(end_s, self.track.duration_s - self.alignment_s) if self.track.duration_s > 0 else end_s


class Fit(enum.Enum):
    """How an earlier match fits the alignment of a later one."""

    NONE = "none"
    REPEAT = "repeat"  # a distant repeat of the music; nearer alignments are those of steady sound
    BEST = "best"  # its best alignment


Readings = dict[str, Reading]  # by the track's id; the preferred one first


def alignment_s(match: Match) -> float:
    """Return the position in the match's track at second 0 of the source."""
    return match.offset_s - match.start_s


def alignments_of(match: Match) -> tuple[float, ...]:
    """Return the alignments of the match's track that fit: its own, and those of repeats of the music."""
    return tuple(position_s - match.start_s for position_s in (match.offset_s, *match.repeats))


def realigned(match: Match, track_id: str, alignment: float, drift_s: float) -> Match:
    """Return the match at an alignment of a track if this is one of those that fit; else as it is."""
    if match.track.id != track_id:
        return match
    near = min(alignments_of(match), key=lambda one: abs(one - alignment))
    if abs(near - alignment) > drift_s:
        return match
    offset_s = near + match.start_s
    repeats = tuple(one for one in (match.offset_s, *match.repeats) if one != offset_s)
    return dataclasses.replace(match, offset_s=offset_s, repeats=repeats)


def readings_of(match: Match) -> Readings:
    """Return the track of a match and its alternatives."""
    rows = [Alternative(match.track, match.offset_s), *match.alternatives]
    return {row.track.id: Reading(row.track, row.offset_s - match.start_s, row.odds) for row in rows}


def first_share(readings: Readings) -> float:
    """Return how much of the confidence in one of these tracks, 0-1, belongs to the first."""
    odds = [reading.odds for reading in readings.values()]
    return odds[0] / sum(odds)


def common(readings: Readings, others: Readings, drift_s: float) -> Readings:
    """Return the readings, in their order, that are among the others too, with about the same alignment."""
    return {
        name: reading
        for name, reading in readings.items()
        if name in others and abs(others[name].alignment_s - reading.alignment_s) <= drift_s
    }


def agree(first: Match, second: Match, drift_s: float) -> bool:
    """Return whether one track explains both matches, at one of the alignments that fit."""
    if common(readings_of(first), readings_of(second), drift_s):
        return True
    if first.track.id != second.track.id:
        return False
    others = alignments_of(second)
    return any(abs(one - other) <= drift_s for one in alignments_of(first) for other in others)


def fit_of(match: Match, earlier: Match, rules: TrackRules) -> Fit:
    """Return how an earlier match fits a match's own alignment."""
    readings, alignment = readings_of(earlier), alignment_s(match)
    if match.track.id not in readings:  # one of the match's alternatives may explain both
        return Fit.BEST if common(readings, readings_of(match), rules.confirm_drift_s) else Fit.NONE
    best = readings[match.track.id].alignment_s
    if abs(best - alignment) <= rules.confirm_drift_s:
        return Fit.BEST
    repeats = alignments_of(earlier)[1:] if match.track.id == earlier.track.id else ()
    is_repeat = any(
        abs(one - alignment) <= rules.confirm_drift_s and abs(one - best) >= rules.repeat_s for one in repeats
    )
    return Fit.REPEAT if is_repeat else Fit.NONE


def agreeing_since(match: Match, earlier: Sequence[Match], rules: TrackRules) -> list[Match]:
    """Return the earlier matches, in order, that agree exactly with a match, and since which most others do.

    There are none unless the last of them is one, and both are good enough: a single window may match by
    accident.
    """
    fits = [fit_of(match, one, rules) for one in earlier]
    if not earlier or fits[-1] is Fit.NONE:
        return []
    both = sum(one.score - one.threshold for one in (earlier[-1], match))
    if not earlier[-1].accepted and both < rules.both_above:
        return []
    if not is_steady(match, earlier, fits, rules, rules.best_share):
        return []
    agreeing = [fit is not Fit.NONE for fit in fits]
    return [
        one
        for i, one in enumerate(earlier)
        if agreeing[i] and sum(agreeing[i:]) >= rules.confirm_share * len(agreeing[i:])
    ]


def is_steady(
    match: Match, earlier: Sequence[Match], fits: Sequence[Fit], rules: TrackRules, share: float
) -> bool:
    """Return whether a share of the earlier matches with a match's track has its alignment as the best one.

    Drones and noise are similar to a stretch of a track at any position, so their best alignment wanders.
    """
    with_track = [
        fit
        for fit, one in zip(fits, earlier, strict=True)
        if match.track.id in readings_of(one) and one.score >= one.threshold - rules.kept_below
    ]
    return with_track.count(Fit.BEST) >= share * len(with_track)


def returns(match: Match, earlier: Sequence[Match], caution: float, rules: TrackRules) -> bool:
    """Return whether a track is where it would be if it had gone on since an earlier match of other sound.

    Other tracks may have matched between the two, as in a quiet passage that noise covers.

    Parameters
    ----------
    caution : score that each match needs in addition
    """
    if not earlier or match.end_s - match.start_s < rules.confirm_s:
        return False
    leads = [one.score - one.threshold - caution for one in (*earlier, match)]
    fits = [fit_of(match, one, rules) for one in earlier]
    if leads[-1] < rules.return_above or leads[-2] < 0 or fits[-1] is not Fit.BEST:
        return False
    return is_steady(match, earlier, fits, rules, rules.return_share) and any(
        fit is Fit.BEST and one.end_s <= match.start_s and lead >= -rules.return_below
        for fit, one, lead in zip(fits, earlier, leads, strict=False)
    )


def recurs(match: Match, earlier: Iterable[Match], rules: TrackRules) -> bool:
    """Return whether an earlier match, of mostly other sound, has the same track at the same alignment.

    Unrelated music rarely fits twice, however weak the matches are.
    """
    latest_s = match.end_s - rules.onset_confirm_s
    return any(one.end_s <= latest_s and agree(one, match, rules.confirm_drift_s) for one in earlier)


def narrowed(readings: Readings, matches: Iterable[Match], rules: TrackRules) -> Readings:
    """Return the readings that explain all matches that are long enough; others are ignored."""
    for match in matches:
        if match.accepted and match.end_s - match.start_s >= rules.distinguishing_s:
            readings = common(readings, readings_of(match), rules.drift_s) or readings
    return readings
