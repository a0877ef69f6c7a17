"""Decide when to search the sound of a microphone, when to verify the open play, and when to rest.

This is a state machine without audio: the owner asks for the next action and reports its result. Times are
seconds on the clock of the music.
"""

from __future__ import annotations

import dataclasses
import enum
import math


class Action(enum.Enum):
    """What to do with the newest sound."""

    REST = "rest"  # only keep its frames
    SEARCH = "search"  # match the last seconds with the whole catalogue
    VERIFY = "verify"  # compare it with the track of the open play only


@dataclasses.dataclass(frozen=True)
class ScheduleRules:
    """Constants of the schedule, in seconds.

    Attributes
    ----------
    onset_s : after an onset or a change, searches follow each other closely for this long
    onset_hop_s, hop_s : between two searches in the first `early_s` after an onset, and later
    promising_s : searches go on for this long after a promising match, see `WindowResult.promising`
    backoff_s : waits between single searches of music that stays unknown; the last one repeats
    no_music_s : waits between single searches while the detector finds no music, because it may be wrong
    confirmed_no_music_s : the same while the second opinion finds no music either
    doubt_s : wait at least, if the second opinion begins to doubt that there is no music; it is asked first
    silence_s : after a longer silence, these waits start again with the first one
    brief_s : music must last this long for that too; talk and noise sound like music for a moment
    verify_s : waits between verifications of a play; the last one repeats
    ending_s : a play is verified every `hop_s` from this long before its expected end
    unsettled_s : an ambiguous play is searched for this long
    """

    onset_s: float = 7.0
    early_s: float = 4.0
    onset_hop_s: float = 0.5
    hop_s: float = 0.75
    promising_s: float = 4.0
    backoff_s: tuple[float, ...] = (2.0, 3.0, 10.0, 20.0)
    no_music_s: tuple[float, ...] = (2.0, 3.0, 5.0, 8.0, 15.0, 30.0, 40.0)
    confirmed_no_music_s: tuple[float, ...] = (2.0, 3.0, 3.0, 3.0, 16.0, 60.0, 120.0)
    doubt_s: float = 2.0
    silence_s: float = 60.0
    brief_s: float = 2.0
    verify_s: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0)
    ending_s: float = 4.0
    unsettled_s: float = 10.0


@dataclasses.dataclass(frozen=True)
class SoundState:
    """The state of the sound at one moment, the input of the schedule.

    Attributes
    ----------
    now_s : the moment
    music : whether there is music, according to the detector or the second opinion
    changed : whether the sound has changed since the last moment, as between two tracks
    playing : whether a play is open
    settled : whether the play is not ambiguous, and started with a strong match
    ends_s : when the track that plays is expected to end
    no_music_confirmed : whether the second opinion is that there is no music
    """

    now_s: float
    music: bool
    changed: bool = False
    playing: bool = False
    settled: bool = True
    ends_s: float = math.inf
    no_music_confirmed: bool = False


class Schedule:
    """Returns the next action; the owner performs it and reports the result.

    Attributes
    ----------
    onset_s : the last onset or change
    next_check_s : when the next search or verification is due; infinite: not before the next onset
    """

    def __init__(self, rules: ScheduleRules | None = None) -> None:
        self._rules = rules or ScheduleRules()
        self._n_rests, self._rested_s = 0, -math.inf  # waits without music, and when the last one began
        self._no_music_confirmed = False
        self._last_s = -math.inf  # last moment
        self._begun_s = -math.inf  # when the last music began
        self.reset()

    def reset(self) -> None:
        """Begin again with new sound."""
        self.onset_s = -math.inf
        self.next_check_s = math.inf
        self._music = self._playing = self._doubted = self._is_over = self._no_music = False
        self._dense_until_s = self._nearly_until_s = -math.inf
        self._played_from_s = -math.inf
        self._n_waits = 0  # since the last onset, or since the play started

    @property
    def searching(self) -> bool:
        """Whether searches follow each other closely at the moment."""
        return self._doubted or self.next_check_s <= self._dense_until_s

    def next(self, state: SoundState) -> Action:
        """Return what to do at this moment. Moments must be in order."""
        self._notice(state)
        now_s = state.now_s
        if now_s < self.next_check_s:
            return Action.REST
        dense = self._doubted or now_s <= self._dense_until_s
        unsettled = not state.settled and now_s < self._played_from_s + self._rules.unsettled_s
        if state.playing and not dense and not unsettled:
            return Action.VERIFY
        return Action.SEARCH

    def searched(
        self, now_s: float, promising: bool, agrees: bool = False, nearly_accepted: bool = False
    ) -> None:
        """Report that a search was made.

        Parameters
        ----------
        promising : whether its best match may be right, accepted or not
        agrees : whether the best match is the open play
        nearly_accepted : whether the promising match is accepted, or almost; then searches go on although
            the music seems to end
        """
        if agrees:
            self._doubted = False
        if promising and not self._playing:
            self._dense_until_s = max(self._dense_until_s, now_s + self._rules.promising_s)
            self._nearly_until_s = now_s + self._rules.promising_s * nearly_accepted
        if self._doubted or now_s < self._dense_until_s:
            early = now_s < self.onset_s + self._rules.early_s
            self.next_check_s = now_s + (self._rules.onset_hop_s if early else self._rules.hop_s)
        elif self._playing:
            self.next_check_s = now_s + self._rules.hop_s
        elif self._music:
            self._wait(now_s, self._rules.backoff_s)
        else:
            self._rest(now_s, searched=True)

    def verified(self, now_s: float, agrees: bool) -> None:
        """Report whether the verified sound agrees with the track of the open play."""
        self._doubted = not agrees
        if agrees:
            self._wait(now_s, self._rules.verify_s)
        else:
            self._n_waits = 0
            self.next_check_s = now_s

    def _notice(self, state: SoundState) -> None:
        """Update the state with what has changed since the last moment."""
        now_s, rules = state.now_s, self._rules
        started, stopped = state.playing and not self._playing, self._playing and not state.playing
        begins, ends = state.music and not self._music, self._music and not state.music
        self._music, self._playing = state.music, state.playing
        was_confirmed, self._no_music_confirmed = self._no_music_confirmed, state.no_music_confirmed
        was_no_music, self._no_music = self._no_music, not state.music and not state.playing
        self._forget_rests(state, begins)
        if started:
            self._doubted = self._is_over = False
            self._dense_until_s, self._played_from_s, self._n_waits = -math.inf, now_s, 0
            if begins:  # after a gap
                self._doubted = True
                self._begin(now_s, rules.onset_s)
            else:
                self._wait(now_s, rules.verify_s)
        elif self._no_music:
            if not was_no_music:
                self._doubted, self._dense_until_s = False, self._nearly_until_s
            if now_s < self._dense_until_s:
                pass  # the music seems to end, but was nearly recognized
            elif not was_no_music:
                self._rest(now_s)
            elif state.no_music_confirmed != was_confirmed:
                soonest_s = now_s + rules.doubt_s * was_confirmed
                self.next_check_s = max(soonest_s, self._rest_ends_s())
        elif stopped:
            self._doubted = False
            self._begin(now_s, rules.onset_s)
        elif state.playing:
            if now_s >= state.ends_s and not self._is_over:
                self._is_over = self._doubted = True
                self._begin(now_s, rules.onset_s)
            elif state.changed or ends or begins:  # ask the track: its parts differ too
                self.next_check_s = now_s
            elif now_s >= state.ends_s - rules.ending_s:
                self.next_check_s = min(self.next_check_s, now_s + rules.hop_s)
        elif begins or (state.music and state.changed):
            self._begin(now_s, rules.onset_s)

    def _forget_rests(self, state: SoundState, begins: bool) -> None:
        """Let the waits without music start again after a long silence, or music of some length."""
        self._begun_s = state.now_s if begins else self._begun_s
        is_long = state.music and state.now_s >= self._begun_s + self._rules.brief_s
        if state.now_s > self._last_s + self._rules.silence_s or is_long:
            self._n_rests = 0
        self._last_s = state.now_s

    def _begin(self, now_s: float, dense_s: float) -> None:
        self.onset_s = self.next_check_s = now_s
        self._dense_until_s = now_s + dense_s
        self._n_waits = 0

    def _rest(self, now_s: float, searched: bool = False) -> None:
        """Wait while there is no music; a pause of the sound does not make the wait shorter."""
        if searched or not self._n_rests:
            self._rested_s = now_s
            self._n_rests += 1
        soonest_s = now_s if searched else now_s + self._rules.no_music_s[0]
        self.next_check_s = max(self._rest_ends_s(), soonest_s)

    def _rest_ends_s(self) -> float:
        waits_s = self._rules.confirmed_no_music_s if self._no_music_confirmed else self._rules.no_music_s
        return self._rested_s + waits_s[min(self._n_rests, len(waits_s)) - 1]

    def _wait(self, now_s: float, waits_s: tuple[float, ...]) -> None:
        self.next_check_s = now_s + waits_s[min(self._n_waits, len(waits_s) - 1)]
        self._n_waits += 1
