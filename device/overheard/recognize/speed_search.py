"""Find the speed at which unknown music is recognized."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from overheard.catalogue.search import IntArray
from overheard.events import Match
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.engine import Engine
from overheard.recognize.matching.scoring import Scoring
from overheard.recognize.speed.warp import Speed
from overheard.recognize.stages import StageTimes
from overheard.recognize.stretch import Stretch
from overheard.recognize.window_match import WindowMatcher, WindowResult, penalized_match
from overheard.recognize.windows import (
    CLIP_STEP_FRAMES,
    OTHER_SPEED_SEARCH_SHARE,
    RECORDING_STEP_FRAMES,
    Windows,
)

# Subtracted from the score of a match at another speed: each speed is another chance of a false positive.
SPEED_PENALTY = 3.0
FASTEST = 1.085  # speed that is found
CERTAIN_ABOVE = 5.0  # score over the threshold from which no more speeds are tried
FINE_STEPS = (0.01, 0.005, 0.0025)  # of the speed, one after the other
MAX_COMPARED = 6  # segments for which the network runs at each speed


@dataclasses.dataclass(frozen=True)
class AtSpeed:
    """A stretch that is corrected for a speed, and the best match in it, with the reduced score."""

    stretch: Stretch
    found: WindowResult

    @property
    def lead(self) -> float:
        """Score of the match over the threshold."""
        match = self.found.match
        return -math.inf if match is None else match.score - match.threshold

    @property
    def accepted(self) -> bool:
        """Whether the music is recognized at this speed."""
        return self.found.match is not None and self.found.match.accepted


class SpeedSearch:
    """Matches sound at speeds other than the present one.

    Parameters
    ----------
    windows : of the searches; their length in seconds of sound is the same at every speed
    spec : parameters of the fingerprints
    times : counts the processor time of the matches
    refined_below : score under the threshold from which the speed is estimated
    """

    def __init__(
        self, windows: Windows, spec: FingerprintSpec, times: StageTimes, refined_below: float
    ) -> None:
        step = CLIP_STEP_FRAMES if windows.single else RECORDING_STEP_FRAMES
        longer = dataclasses.replace(
            windows,
            length_s=windows.length_s * FASTEST,
            step_frames=step,
            search_share=min(windows.search_share, OTHER_SPEED_SEARCH_SHARE),
        )
        self._matcher, self._spec = WindowMatcher(longer, spec, times), spec
        self._refined_below, self._single = refined_below, windows.single

    def best(
        self, stretch: Stretch, last: int, engine: Engine, speeds: Iterable[Speed], length_s: float
    ) -> AtSpeed | None:
        """Return the best match of a window over several speeds, or None.

        The best speed is then estimated more precisely. The cost is one window for each speed, and one more
        for the estimate. A single window is compared at all speeds, and gets exact segments only at the best.

        Parameters
        ----------
        last : segment with which the window ends
        speeds : to try, one after the other
        length_s : largest length of the window; may be infinite
        """
        best: AtSpeed | None = None
        for speed in speeds:
            found = self.at(stretch, last, engine, speed, length_s, exactly=not self._single)
            if best is None or found.lead > best.lead:
                best = found
            if best.lead >= CERTAIN_ABOVE:
                break
        match = None if best is None else best.found.match
        if best is None or match is None or best.lead < -self._refined_below:
            return None
        speed = self._refined(best, match, engine)
        if self._single or speed != best.stretch.speed:
            again = self.at(stretch, last, engine, speed, length_s)
            best = max(best, again, key=lambda each: each.lead)
        return AtSpeed(best.stretch, penalized(best.found, engine.matcher.scoring))

    def at(
        self,
        stretch: Stretch,
        last: int,
        engine: Engine,
        speed: Speed,
        length_s: float,
        exactly: bool = True,
    ) -> AtSpeed:
        """Return the best match at a speed, with its score as it is; parameters as of :meth:`best`.

        `exactly` is whether a promising match of a single window gets exact segments.
        """
        frame = stretch.last_frame(last)
        view = stretch.at(speed, frame)
        if self._single:
            found = self._matcher.whole_at_speed(view, view.start_at(frame), engine, exactly)
        else:
            limit_s = length_s if math.isfinite(length_s) else None
            found = self._matcher.last(view, view.start_at(frame), engine, length_s=limit_s)
        return AtSpeed(view, found)

    def _refined(self, near: AtSpeed, match: Match, engine: Engine) -> Speed:
        """Return the speed at which the segments of a match are most similar to those of its track."""
        speed, number = near.stretch.speed, self._number(near, match, engine)
        if number is None:
            return speed
        compare = _Comparison(near.stretch, match, number, engine, self._spec)
        best = compare.similarity(speed)
        for step in FINE_STEPS:
            for factor in (1 + step, 1 - step):
                other = Speed(speed.tempo * factor, speed.pitch * factor)
                similarity = compare.similarity(other)
                if similarity > best:
                    best, speed = similarity, other
                    break
        return speed

    def _number(self, near: AtSpeed, match: Match, engine: Engine) -> int | None:
        """Return the number of a match's track, which is among those of the window's candidates."""
        segments = near.stretch.search(near.stretch.searched, engine).segments.ravel()
        first = engine.index.first_segment
        tracks = np.searchsorted(first, segments[segments >= 0], side="right") - 1
        return engine.matcher.number_among(match.track.id, tracks)


class _Comparison:
    """Compares a window with the matched part of one track, at different speeds."""

    def __init__(
        self, stretch: Stretch, match: Match, number: int, engine: Engine, spec: FingerprintSpec
    ) -> None:
        self._stretch, self._engine, self._spec = stretch, engine, spec
        rate = spec.frontend.frames_per_s
        begin, end = ((second - stretch.origin_s) * rate for second in (match.start_s, match.end_s))
        middle = (begin + end) / 2
        self._frame = middle / stretch.speed.tempo  # of the sound, at any speed
        self._position = match.offset_s * rate + middle - begin  # in the track, there
        self._span = end - begin  # frames of the track
        self._first, self._end = engine.index.first_segment[number : number + 2]

    def similarity(self, speed: Speed) -> float:
        """Return the mean similarity of the window's segments to the track's at a speed."""
        view = self._stretch.at(speed, self._frame)
        offset = self._position - self._frame * speed.tempo
        slots = self._slots(view, offset)
        if not len(slots):
            return 0.0
        starts = np.rint(slots * self._spec.hop_frames - offset).astype(np.int64)
        embeddings = view.embed(starts, self._engine).embeddings
        similar = np.diag(self._engine.index.similarities(embeddings, self._first + slots))
        return float(similar.mean())

    def _slots(self, view: Stretch, offset: float) -> IntArray:
        """Return the track's segments in the window."""
        hop, n = self._spec.hop_frames, self._spec.n_frames
        low = max(view.first_start, self._position - offset - self._span / 2)
        high = min(view.last_start, self._position - offset + self._span / 2 - n)
        first, last = int(np.ceil((low + offset) / hop)), int(np.floor((high + offset) / hop))
        slots = np.arange(max(0, first), min(int(self._end - self._first) - 1, last) + 1)
        if len(slots) <= MAX_COMPARED:
            return slots
        return slots[np.rint(np.linspace(0, len(slots) - 1, MAX_COMPARED)).astype(np.int64)]


def penalized(found: WindowResult, scoring: Scoring) -> WindowResult:
    """Return a match at another speed with reduced score and confidence, see `SPEED_PENALTY`."""
    match = found.match
    if match is None:
        return found
    return dataclasses.replace(found, match=penalized_match(match, SPEED_PENALTY, scoring))
