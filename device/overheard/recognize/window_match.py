"""Match windows of a stretch of sound with the catalogue."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from overheard.catalogue.search import IntArray
from overheard.events import Match, Play
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.engine import Engine
from overheard.recognize.matching.match import Embed, ExactSegments, Playing
from overheard.recognize.matching.scoring import Scoring
from overheard.recognize.stages import StageTimes
from overheard.recognize.stretch import Stretch
from overheard.recognize.windows import SHORT_WINDOW_S, Windows, single_window

PROMISING_BELOW = 4.0  # a match up to this much below the threshold may be accepted with more sound
NEARLY_BELOW = 1.0  # the same if the second opinion is that there is no music
# Of 720 clips of music, of 2 to 10 s and in noise up to 5 dB above it, one has lower log-odds of music.
NO_MUSIC_BELOW = -2.5
NO_MUSIC_PENALTY = 4.0  # for each unit below it; half of the tones, beeps and noises are one unit below


@dataclasses.dataclass(frozen=True)
class WindowResult:
    """The best match of a window.

    Attributes
    ----------
    match : accepted or not; None if no track has an alignment with the window
    start_s, end_s : the window in seconds of the source
    queries : its segments
    starts : (n,) int64, their first frames in the window
    """

    match: Match | None
    start_s: float
    end_s: float
    queries: Queries
    starts: IntArray

    @property
    def promising(self) -> bool:
        """Whether the match is accepted, or would be with a little more sound or less noise."""
        return self.match is not None and self.match.score > self.match.threshold - PROMISING_BELOW

    @property
    def nearly_accepted(self) -> bool:
        """Whether the match is accepted, or almost."""
        return self.match is not None and self.match.score > self.match.threshold - NEARLY_BELOW


_never_exact = functools.partial(ExactSegments, above=math.inf)


class WindowMatcher:
    """Matches windows that end with given segments.

    Parameters
    ----------
    windows : Windows
    spec : parameters of the fingerprints
    times : counts the processor time of the match
    """

    def __init__(self, windows: Windows, spec: FingerprintSpec, times: StageTimes) -> None:
        self._windows, self._spec, self._times = windows, spec, times
        self._frames_per_s = spec.frontend.frames_per_s
        self.n_frames = self._frames_in(windows.length_s)

    def whole(self, stretch: Stretch, engine: Engine, end_s: float) -> WindowResult:
        """Match all of a stretch, which ends at this second of the source, as one window."""
        starts, searched = single_window(stretch.last_start)
        return self._match(stretch, starts, searched, engine, end_s, None, ExactSegments)

    def last(
        self,
        stretch: Stretch,
        last: int,
        engine: Engine,
        play: Play | None = None,
        position_s: float | None = None,
        length_s: float | None = None,
    ) -> WindowResult:
        """Match the window that ends with a segment; if the match is not accepted, also its last seconds.

        Parameters
        ----------
        last : the segment
        play : the open play
        position_s : its alignment: position in its track at second 0
        length_s : length of the window (default: that of the windows)
        """
        n = self.n_frames if length_s is None else min(self.n_frames, self._frames_in(length_s))
        whole, short = (self._starts(stretch, last, each) for each in (n, self._frames_in(SHORT_WINDOW_S)))
        exact = self._exact(engine)
        open_play = None if play is None else Playing(play.track.id, position_s)
        end_s = stretch.at_s(last) + self._spec.segment_s
        found = self._of(stretch, whole, engine, end_s, open_play, exact)
        if len(short) == len(whole) or (found.match is not None and found.match.accepted):
            return found
        late = self._of(stretch, short, engine, end_s, open_play, exact)
        accepted = late.match is not None and late.match.accepted
        return dataclasses.replace(found, match=late.match) if accepted else found

    def whole_at_speed(self, stretch: Stretch, last: int, engine: Engine, exactly: bool) -> WindowResult:
        """Match a single window that is corrected for another speed and ends with a segment.

        Every second segment is searched: there are several speeds, and the votes of the others are enough.

        Parameters
        ----------
        exactly : whether a promising match gets exact segments
        """
        starts = self._starts(stretch, last, self.n_frames)
        searched = np.arange((len(starts) - 1) % 2, len(starts), 2)
        exact = self._exact(engine) if exactly else _never_exact
        end_s = stretch.at_s(last) + self._spec.segment_s
        return self._match(stretch, starts, searched, engine, end_s, None, exact)

    def _exact(self, engine: Engine) -> Callable[[Embed], ExactSegments]:
        """Return the exact segments of promising matches that are not clear yet."""
        threshold = engine.matcher.scoring.threshold
        above, below = threshold - PROMISING_BELOW, threshold + self._windows.clear_above
        return functools.partial(ExactSegments, n=1, above=above, below=below)

    def _starts(self, stretch: Stretch, last: int, n_frames: int) -> IntArray:
        """Return segments of a window, at most a step apart; those that have been searched if possible."""
        first = max(last - n_frames, stretch.first_start, 0)
        step, starts = self._windows.step_frames, [last]
        known = [start for start in stretch.searched if first <= start < last]
        while starts[-1] - step >= first:
            near = [start for start in known if starts[-1] - step <= start <= starts[-1] - step // 2]
            starts.append(min(near, default=starts[-1] - step))
        starts += [start for start in known if start <= starts[-1] - step // 2][:1]  # where the window begins
        return np.array(starts[::-1])

    def _of(
        self,
        stretch: Stretch,
        starts: IntArray,
        engine: Engine,
        end_s: float,
        playing: Playing | None,
        exact: Callable[[Embed], ExactSegments],
    ) -> WindowResult:
        if playing is not None and playing.position_s is not None:
            position_s = playing.position_s + stretch.at_s(int(starts[0]))
            playing = dataclasses.replace(playing, position_s=position_s)
        return self._match(stretch, starts, np.arange(len(starts)), engine, end_s, playing, exact)

    def _match(
        self,
        stretch: Stretch,
        starts: IntArray,
        searched: IntArray,
        engine: Engine,
        end_s: float,
        playing: Playing | None,
        exact: Callable[[Embed], ExactSegments],
    ) -> WindowResult:
        window = stretch.window(starts, searched, engine, self._windows.search_share)
        start_s = stretch.at_s(int(starts[0]))
        first = starts[0]
        again = exact(lambda wanted: stretch.embed(wanted + first, engine))
        with self._times.of("match"):
            match = engine.matcher.match(window, start_s, end_s, playing, again)
            if match is not None and self._windows.single:
                match = if_music(match, window.queries.embeddings, engine)
        return WindowResult(match, start_s, end_s, window.queries, window.starts)

    def _frames_in(self, length_s: float) -> int:
        """Return how far apart the first and the last segment of a window of this length are."""
        if math.isinf(length_s):
            return 0
        room = max(0, int((length_s - self._spec.segment_s) * self._frames_per_s + 1e-6))
        return room // self._windows.step_frames * self._windows.step_frames


def if_music(match: Match, embeddings: FloatArray, engine: Engine) -> Match:
    """Return a clip's match; with a lower score if the second opinion is sure that the clip is no music.

    Tones and noise resemble the few tracks that sustain a tone or noise.

    Parameters
    ----------
    embeddings : (n, dim) float32, of the clip's segments
    """
    heard = embeddings[np.any(embeddings != 0, axis=1)]
    if engine.music_log_odds is None or not len(heard):
        return match
    below = NO_MUSIC_BELOW - engine.music_log_odds(heard)
    return penalized_match(match, NO_MUSIC_PENALTY * below, engine.matcher.scoring) if below > 0 else match


def penalized_match(match: Match, penalty: float, scoring: Scoring) -> Match:
    """Return a match with its score reduced by some log-odds, and its confidence accordingly."""
    confidence = scoring.confidence.after(match.confidence, -penalty)
    return dataclasses.replace(match, score=match.score - penalty, confidence=confidence)
