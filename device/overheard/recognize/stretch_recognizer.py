"""Search and verify sound when the schedule says so, or in regular windows; report matches to the tracker."""

from __future__ import annotations

import math

import numpy as np

from overheard.events import Event, Match, Play
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.change import ChangeDetector
from overheard.recognize.matching.engine import Engine
from overheard.recognize.opinion import SecondOpinion, Verdict
from overheard.recognize.plays.tracker import PlayTracker
from overheard.recognize.schedule import Action, Schedule, SoundState
from overheard.recognize.speed.clock import MusicClock
from overheard.recognize.speed_follower import SpeedFollower
from overheard.recognize.stages import StageTimes
from overheard.recognize.stretch import Stretch
from overheard.recognize.unknown import UnknownMusic
from overheard.recognize.verify import Verifier
from overheard.recognize.window_match import WindowMatcher, WindowResult
from overheard.recognize.windows import LOOK_BACK_S, Windows

FORGOTTEN_FRAMES = 64  # sound is not forgotten frame by frame
TICK_FRAMES = 8  # 0.25 s between two questions to the schedule
EARLY_S = 16.0  # after an onset, windows are long: the music may have begun softly
NEAR_SEARCH_S = 6.0  # a single search reaches back to the last one if that is near
PROBE_S = 3.2  # window of other single searches of unknown music: short, so that they can be frequent
RARE_SEARCH_S = 5.0  # the same if the second opinion is that there is no music
ASKED_STEP = 48  # frames between segments that are embedded only for an opinion


class StretchRecognizer:
    """Searches and verifies one stretch of sound after the other. Times are seconds of the music's clock.

    Parameters
    ----------
    windows : length and distance of the searched windows; without a schedule, all of them are searched
    spec : parameters of the fingerprints
    times : counts the processor time of network, search and match
    clock : of the music
    tracker : gets the matches
    schedule : decides when to search and verify; None for regular windows
    unknown : identifies and stores unknown music; None if it is not remembered
    opinion : on whether there is music; None if the detector alone decides

    Attributes
    ----------
    best : the best match so far, accepted or not
    music : whether there is music, according to the detector or the second opinion
    """

    def __init__(
        self,
        windows: Windows,
        spec: FingerprintSpec,
        times: StageTimes,
        clock: MusicClock,
        tracker: PlayTracker,
        schedule: Schedule | None,
        unknown: UnknownMusic | None,
        opinion: SecondOpinion | None = None,
    ) -> None:
        self._windows, self._spec, self._tracker = windows, spec, tracker
        self._schedule, self._unknown, self._opinion = schedule, unknown, opinion
        self._matcher = WindowMatcher(windows, spec, times)
        self._speed_follower = SpeedFollower(windows, spec, times, clock, schedule is not None)
        self._verifier = Verifier(spec, times)
        self._changes = ChangeDetector()
        self._step = windows.step_frames if schedule is None else TICK_FRAMES
        self._hop_frames = windows.hop_s * spec.frontend.frames_per_s
        self.best: Match | None = None
        self.begin()

    def begin(self) -> None:
        """Begin with a new stretch of sound."""
        self._stretch: Stretch | None = None  # without the speed of the music
        self._next = 0  # segment that is examined next
        self._matched = -self._step  # last segment of the last window
        self._end_s = 0.0
        self._promising_from_s = math.inf  # where the last match begins, if it is promising
        self._probing = False  # whether the last search was a short one of music that stays unknown
        self._verifier.forget()
        self._changes.reset()
        self._changed = False
        self.music = False
        if self._opinion is not None:
            self._opinion.begin()
        if self._schedule is not None:
            self._schedule.reset()

    def advance(self, stretch: Stretch, engine: Engine, frames: FloatArray, music: bool) -> list[Event]:
        """Add frames ``(n, n_mels)`` in dB, then search and verify what is due; return the events.

        Parameters
        ----------
        stretch : the present sound
        engine : embedder, index and matcher
        frames : the next frames of the stretch
        music : whether the detector finds music in them
        """
        stretch.add(frames)
        stretch = self._present(stretch)
        self._changed |= self._schedule is not None and self._changes.add(frames)
        if self._opinion is None:
            self.music = music  # else it is asked first, when there is a segment to embed
        events: list[Event] = []
        while self._next <= stretch.last_start:
            if self._schedule is not None:
                events += self._ask(self._schedule, stretch, engine, music)
            elif self._next - self._matched >= self._hop_frames:
                events += self._search(stretch, engine)
            stretch = self._present(stretch)
            self._next += self._step
        if self._unknown is not None and self.music:
            self._unknown.learn(stretch, engine)
        self._forget(stretch)
        return events

    def finish(self, stretch: Stretch, engine: Engine, end_s: float) -> list[Event]:
        """Search or verify the rest of a stretch that ends at this second; return the events."""
        stretch = self._present(stretch)
        self._end_s = end_s
        self._next -= self._step
        if self._next <= self._matched:
            return []
        if self._schedule is None or self._schedule.searching:
            return self._search(stretch, engine)
        play = self._tracker.playing
        return [] if play is None else self._verify(stretch, engine, play)[1]

    def forget_candidates(self) -> None:
        """Forget the results of searches, because another catalogue is searched from now on."""
        if self._stretch is not None:
            self._stretch.forget_candidates()

    def _present(self, sound: Stretch) -> Stretch:
        """Return the sound, corrected for the present speed of the music."""
        play = self._tracker.playing
        if self._stretch is None:
            self._stretch = self._speed_follower.begin(sound, play)
        self._follow(self._stretch, self._speed_follower.present(self._stretch, self._next, play))
        return self._stretch

    def _follow(self, before: Stretch, stretch: Stretch) -> None:
        """Continue with the same sound, corrected for another speed."""
        if stretch is before:
            return
        self._next, self._matched = (
            stretch.start_at(before.last_frame(start)) for start in (self._next, self._matched)
        )
        self._stretch = stretch
        self._verifier.forget()
        self._tracker.speed_changed()
        if self._opinion is not None:
            self._opinion.begin()  # the segments have other numbers now

    def _ask(self, schedule: Schedule, stretch: Stretch, engine: Engine, music: bool) -> list[Event]:
        """Perform the action that the schedule chooses at this moment."""
        now_s = stretch.at_s(self._next) + self._spec.segment_s
        play = self._tracker.playing
        self.music = music = self._is_music(stretch, engine, music, now_s)
        state = SoundState(
            now_s,
            music,
            self._changed,
            play is not None,
            self._tracker.settled,
            self._ends_s(play),
            self._verdict is Verdict.NO_MUSIC,
        )
        self._changed = False
        action = schedule.next(state)
        if action is Action.VERIFY and play is not None:
            agrees, events = self._verify(stretch, engine, play)
            schedule.verified(now_s, agrees)
            return events
        if action is Action.SEARCH:
            return self._search(stretch, engine)
        if play is None and not music:
            return self._after_music(self._tracker.silence(now_s))
        return []

    def _is_music(self, stretch: Stretch, engine: Engine, music: bool, now_s: float) -> bool:
        """Return whether there is music; embed the newest segments first if the second opinion needs them."""
        opinion = self._opinion
        if opinion is None or self._tracker.playing is not None:
            return music
        if n := opinion.n_due(now_s, music, self._changed):
            starts = self._next - ASKED_STEP * np.arange(n)[::-1]
            starts = starts[starts >= max(0, stretch.first_start)]
            opinion.add(starts, stretch.embed(starts, engine).embeddings)
            opinion.asked(now_s)
        return opinion.is_music(music)

    @property
    def _verdict(self) -> Verdict:
        return Verdict.UNSURE if self._opinion is None else self._opinion.verdict

    def _ends_s(self, play: Play | None) -> float:
        """Return when the open play's track should be over, in seconds of the source."""
        if play is None or play.track.duration_s <= 0:
            return math.inf
        position_s = self._tracker.position_s(0.0)
        return math.inf if position_s is None else play.track.duration_s - position_s

    def _verify(self, stretch: Stretch, engine: Engine, play: Play) -> tuple[bool, list[Event]]:
        """Compare the newest sound with the track that plays."""
        agrees, match = self._verifier.verify(stretch, engine, play)
        if match is None:
            return agrees, []
        now_s = stretch.at_s(self._next) + self._spec.segment_s
        return agrees, self._tracker.update(match, match.start_s, max(match.end_s, now_s))

    def _search(self, stretch: Stretch, engine: Engine) -> list[Event]:
        """Match the window that ends with the next segment."""
        at_speed = self._speed_follower.recognize(
            *(self._find(stretch, engine), stretch, self._next, engine),
            *(self._tracker.playing is not None, self._onset_s),
        )
        self._follow(stretch, at_speed.stretch)
        found, stretch = at_speed.found, at_speed.stretch
        self._matched = self._next
        if found.match is not None and (self.best is None or found.match.score > self.best.score):
            self.best = found.match
        if self._opinion is not None:
            self._opinion.add(found.starts + self._next - found.starts[-1], found.queries.embeddings)
        events = self._tracker.update(found.match, found.start_s, found.end_s, self._surely_music)
        if self._schedule is not None:
            self._learn(self._schedule, found, stretch)
        if self._unknown is None:
            return events
        return self._unknown.window(events, found.queries, found.starts, found.start_s, found.end_s)

    @property
    def _surely_music(self) -> bool | None:
        """Whether the sound is music; None if the second opinion is unsure."""
        if self._opinion is None or not self.music or self._verdict is Verdict.MUSIC:
            return self.music
        return None

    @property
    def _onset_s(self) -> float | None:
        """When the music began or changed; -inf without a schedule, None if there is no music."""
        if self._schedule is None:
            return -math.inf
        return self._schedule.onset_s if self.music else None

    def _find(self, stretch: Stretch, engine: Engine) -> WindowResult:
        if self._windows.single:
            # Not only the end: a recording shorter than a segment is padded.
            end_s = min(self._end_s, stretch.origin_s + self._windows.length_s)
            return self._matcher.whole(stretch, engine, end_s)
        play, schedule = self._tracker.playing, self._schedule
        length_s = self._windows.length_s
        self._probing = False
        if schedule is not None:
            now_s = stretch.at_s(self._next) + self._spec.segment_s
            since_s = min(schedule.onset_s - LOOK_BACK_S, self._promising_from_s)
            length_s = min(length_s, now_s - since_s)
            if play is not None and not self._tracker.settled:  # all that was heard tells the versions apart
                length_s = min(self._windows.length_s, now_s - play.start_s)
            elif not schedule.searching and now_s > schedule.onset_s + EARLY_S:
                since_s = now_s - stretch.at_s(self._matched)
                is_near = since_s <= NEAR_SEARCH_S + self._spec.segment_s
                self._probing = self.music and not is_near
                longest_s = PROBE_S if self._probing else RARE_SEARCH_S
                length_s = min(length_s, since_s if is_near else longest_s)
        position_s = self._tracker.position_s(0.0)
        return self._matcher.last(stretch, self._next, engine, play, position_s, length_s)

    def _learn(self, schedule: Schedule, found: WindowResult, stretch: Stretch) -> None:
        """Report the result of a search to the schedule, and update the alignment of the play."""
        play, match, position_s = self._tracker.playing, found.match, self._tracker.position_s(0.0)
        agrees = False
        if play is not None and match is not None and position_s is not None:
            agrees = self._verifier.realign(match, play, position_s, stretch)
        promising = match is not None and found.promising
        if match is not None and promising and (self._probing or self._verdict is Verdict.NO_MUSIC):
            promising = found.nearly_accepted or self._tracker.recurs(match)
        self._promising_from_s = match.start_s if match is not None and promising else math.inf
        schedule.searched(found.end_s, promising, agrees, found.nearly_accepted)

    def _forget(self, stretch: Stretch) -> None:
        """Forget the sound that no window needs any more."""
        kept = self._matcher.n_frames + max(self._step, self._hop_frames)
        if self._next - stretch.first_start > kept + FORGOTTEN_FRAMES:
            stretch.forget_before(int(self._next - kept))

    def _after_music(self, events: list[Event]) -> list[Event]:
        return events if self._unknown is None else self._unknown.other(events)
