"""Follow the speed of the music: try other speeds for unknown music, and keep the one of the open play."""

from __future__ import annotations

import math

from overheard.events import Play
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.engine import Engine
from overheard.recognize.speed.clock import MusicClock
from overheard.recognize.speed.speed_plan import RECORDING_SPEED_RULES, SPEEDS, SpeedPlan
from overheard.recognize.speed.warp import NORMAL, Speed
from overheard.recognize.speed_search import SPEED_PENALTY, AtSpeed, SpeedSearch, penalized
from overheard.recognize.stages import StageTimes
from overheard.recognize.stretch import Stretch
from overheard.recognize.window_match import WindowResult
from overheard.recognize.windows import LOOK_BACK_S, Windows

SHORTEST_S = 4.0  # of a recording that is compared at other speeds


class SpeedFollower:
    """The present speed of the music: normal, until unknown music is recognized at another speed.

    Parameters
    ----------
    windows : of searches
    spec : parameters of the fingerprints
    times : counts the processor time of the matches
    clock : of the music
    scheduled : whether a schedule says when to search
    """

    def __init__(
        self,
        windows: Windows,
        spec: FingerprintSpec,
        times: StageTimes,
        clock: MusicClock,
        scheduled: bool,
    ) -> None:
        self._single, self._clock, self._scheduled = windows.single, clock, scheduled
        self._plan = SpeedPlan(None if scheduled else RECORDING_SPEED_RULES)
        self._search = SpeedSearch(windows, spec, times, self._plan.rules.refined_below)
        self._until_s = -math.inf  # the speed is kept until then, unless a play starts
        self._open_s = -math.inf  # no play at this speed reaches beyond this second
        self._was_playing = False
        self._left_s: float | None = None  # start of the last play at another speed

    def begin(self, stretch: Stretch, play: Play | None) -> Stretch:
        """Return a new stretch of sound, corrected for the speed of the open play."""
        if not self._scheduled:
            self._plan.onset(stretch.origin_s)
        speed = self._clock.speed
        if speed == NORMAL:
            return stretch
        if play is not None:
            return stretch.at(speed, 0.0)
        self._clock.change(stretch.origin_s, NORMAL, self._open_s)
        return stretch

    def present(self, stretch: Stretch, last: int, play: Play | None) -> Stretch:
        """Return the stretch, corrected for the speed of the music at its segment `last`.

        The correction ends with the play, or if no play starts in time.
        """
        if stretch.speed == NORMAL:
            if self._left_s is not None and play is not None and play.start_s > self._left_s:
                self._clock.since(play.start_s)  # this play replaced one at another speed
                self._left_s = None
            return stretch
        if play is not None:
            self._left_s = play.start_s
            self._plan.recognized_at(stretch.speed)
            self._until_s, self._open_s = -math.inf, play.end_s + 0.01
        elif stretch.at_s(last) > self._until_s:
            self._left_s = None
            frame = stretch.last_frame(last)
            normal = stretch.at(NORMAL, frame)
            self._clock.change(normal.second_of(frame), NORMAL, self._open_s)
            return normal
        return stretch

    def recognize(
        self,
        found: WindowResult,
        stretch: Stretch,
        last: int,
        engine: Engine,
        playing: bool,
        onset_s: float | None,
    ) -> AtSpeed:
        """Return the match of a window, or one at another speed if the music is unknown.

        Parameters
        ----------
        found : result for the window that ends with segment `last` of the stretch, at the present speed
        playing : whether a play is open
        onset_s : when the music began or changed; None if it is not music, -inf if that is not known
        """
        here = AtSpeed(stretch, found)
        was_playing, self._was_playing = self._was_playing, playing
        if playing and stretch.speed != NORMAL and not here.accepted:
            return self._normal(here, last, engine)
        if playing or (onset_s is None and not found.promising):
            return here
        onset_s = -math.inf if onset_s is None else onset_s
        if stretch.speed != NORMAL:
            return AtSpeed(stretch, penalized(found, engine.matcher.scoring))
        speeds = self._due(found, found.end_s if was_playing else onset_s)
        if here.accepted or not speeds:
            return here
        before_s = LOOK_BACK_S + found.end_s - onset_s  # what was before the onset is other music
        other = self._search.best(stretch, last, engine, speeds, before_s)
        if other is None or not other.accepted:
            return here
        self._follow(other.stretch, stretch.last_frame(last))
        return other

    def _normal(self, here: AtSpeed, last: int, engine: Engine) -> AtSpeed:
        """Return the match at normal speed, if it is certain that the next track plays at that speed."""
        stretch = here.stretch
        other = self._search.at(stretch, last, engine, NORMAL, math.inf)
        if other.lead < SPEED_PENALTY:
            return here
        self._clock.change(other.stretch.second_of(stretch.last_frame(last)), NORMAL, self._open_s)
        return other

    def _due(self, found: WindowResult, onset_s: float) -> tuple[Speed, ...]:
        """Return the speeds at which to compare a window."""
        if self._single:
            is_long = found.end_s - found.start_s >= SHORTEST_S
            return tuple(Speed.of(speed) for speed in SPEEDS) if is_long else ()
        if math.isfinite(onset_s):
            self._plan.onset(onset_s)
        if found.match is not None and found.match.accepted:
            return ()
        speed = self._plan.due(found.end_s)
        return () if speed is None else (speed,)

    def _follow(self, view: Stretch, frame: float) -> None:
        second, self._open_s = view.second_of(frame), view.at_s(view.first_start)
        self._clock.change(second, view.speed, self._open_s)
        self._until_s = second + self._plan.rules.follow_s
