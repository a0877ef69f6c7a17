"""Match windows of a stretch of sound with the catalogue."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from overheard.catalogue.search import IntArray
from overheard.events import Match
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.engine import Engine
from overheard.recognize.match import N_EXACT
from overheard.recognize.stages import StageTimes
from overheard.recognize.sound import Stretch
from overheard.recognize.windows import SHORT_WINDOW_S, Windows, single_window

PROMISING_BELOW = 4.0  # score under the threshold from which the network runs where an alignment wants it


@dataclasses.dataclass(frozen=True)
class Found:
    """The best match of a window, or None, and the window in seconds of the source."""

    match: Match | None
    start_s: float
    end_s: float


class WindowMatcher:
    """Matches windows that end with given segments.

    Parameters
    ----------
    windows : Windows
    spec : parameters of the fingerprints
    times : counts the processor time of network, search and match
    """

    def __init__(self, windows: Windows, spec: FingerprintSpec, times: StageTimes) -> None:
        self._windows, self._spec, self._times = windows, spec, times
        self._frames_per_s = spec.frontend.frames_per_s
        self.n_frames = self._frames_in(windows.length_s)

    def whole(self, stretch: Stretch, engine: Engine, origin_s: float, end_s: float) -> Found:
        """Match all of a stretch that begins and ends at these seconds of the source, as one window."""
        starts, searched = single_window(stretch.last_start)
        found = Found(None, origin_s, end_s)
        return self._match(found, stretch, starts, searched, engine, None, -math.inf)

    def last(
        self,
        stretch: Stretch,
        last: int,
        engine: Engine,
        origin_s: float,
        playing: str | None,
        from_start: int = 0,
    ) -> Found:
        """Match the window that ends with a segment; if it is not accepted, its last seconds.

        Parameters
        ----------
        last : the segment, a multiple of the step
        origin_s : where the stretch begins, in seconds of the source
        playing : id of the open play's track
        from_start : the window begins with this segment or a later one
        """
        from_start = max(from_start, stretch.first_start)
        step = self._windows.step_frames
        lengths = (self.n_frames, self._frames_in(SHORT_WINDOW_S))
        firsts = [max(last - n, -(-from_start // step) * step) for n in lengths]
        whole = self._of(stretch, firsts[0], last, engine, origin_s, playing)
        if firsts[1] == firsts[0] or (whole.match is not None and whole.match.accepted):
            return whole
        short = self._of(stretch, firsts[1], last, engine, origin_s, playing)
        accepted = short.match is not None and short.match.accepted
        return dataclasses.replace(whole, match=short.match) if accepted else whole

    def _of(
        self, stretch: Stretch, first: int, last: int, engine: Engine, origin_s: float, playing: str | None
    ) -> Found:
        starts = np.arange(first, last + 1, self._windows.step_frames)
        searched = np.arange(len(starts))
        end_s = origin_s + last / self._frames_per_s + self._spec.segment_s
        found = Found(None, origin_s + first / self._frames_per_s, end_s)
        above = engine.matcher.scoring.threshold - PROMISING_BELOW
        return self._match(found, stretch, starts, searched, engine, playing, above)

    def _match(
        self,
        found: Found,
        stretch: Stretch,
        starts: IntArray,
        searched: IntArray,
        engine: Engine,
        playing: str | None,
        exact_above: float,
    ) -> Found:
        window = stretch.window(starts, searched, max(int(starts[-1]), 0), engine)
        with self._times.of("match"):
            match = engine.matcher.match(
                window,
                found.start_s,
                found.end_s,
                lambda wanted: stretch.embed(wanted + starts[0], engine),
                playing,
                exact_above,
                n_exact=N_EXACT if self._windows.single else 1,
            )
        return dataclasses.replace(found, match=match)

    def _frames_in(self, length_s: float) -> int:
        """Return how far apart the first and the last segment of a window of this length are."""
        room = max(0, int((length_s - self._spec.segment_s) * self._frames_per_s + 1e-6))
        return room // self._windows.step_frames * self._windows.step_frames
