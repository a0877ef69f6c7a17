"""Verify that the track of the open play still plays, by comparing few segments with it alone."""

from __future__ import annotations

import dataclasses

import numpy as np

from overheard.catalogue.search import IntArray
from overheard.events import Match, Play
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.engine import Engine
from overheard.recognize.stages import StageTimes
from overheard.recognize.stretch import Stretch

# In noise 5 dB louder than the music, 90% of the correct segments have a higher similarity, and less than 1%
# of the segments of other music.
AGREEING_SIMILARITY = 0.25
N_VERIFIED_BACK = 8  # segments that are compared if the last one differs
DRIFTED_SIMILARITY = 0.1  # drop below the usual similarity from which the alignment may have drifted
DRIFT_FRAMES = 4


@dataclasses.dataclass(frozen=True)
class Alignment:
    """How a play lies in the sound: frame `f` of the stretch is at frame ``f + offset`` of the track."""

    track_id: str
    offset: int


class Verifier:
    """Follows the open play through one stretch of sound.

    Parameters
    ----------
    spec : parameters of the fingerprints
    times : counts the processor time of network and match
    """

    def __init__(self, spec: FingerprintSpec, times: StageTimes) -> None:
        self._spec, self._times = spec, times
        self._frames_per_s = spec.frontend.frames_per_s
        self.forget()

    def forget(self) -> None:
        """Forget the play, because another stretch of sound begins."""
        self._alignment: Alignment | None = None
        self._agreed = 0  # end of the last segment that agreed, in frames
        self._usual = 0.0  # similarity
        self._similar = 0.0  # similarity of the last segment that agreed

    def realign(self, match: Match, play: Play, position_s: float, stretch: Stretch) -> bool:
        """Take the alignment of an accepted match of the open play's track; return whether it is one.

        `position_s` is the alignment of the play: the position in its track at second 0.
        """
        if match.track.id != play.track.id or not match.accepted:
            return False
        offset, expected = (
            round((at_0_s + stretch.origin_s) * self._frames_per_s)
            for at_0_s in (match.offset_s - match.start_s, position_s)
        )
        if abs(offset - expected) > self._spec.hop_frames:
            offset = expected  # the match is a repeat
        self._alignment = Alignment(play.track.id, offset)
        self._agreed = round((match.end_s - stretch.origin_s) * self._frames_per_s)
        self._usual = 0.0
        return True

    def verify(self, stretch: Stretch, engine: Engine, play: Play) -> tuple[bool, Match | None]:
        """Compare the newest sound with the play's track.

        Returns
        -------
        agrees : whether the track still plays
        match : for the sound since the last verification that belongs to the track; None if there is none
        """
        alignment = self._alignment
        number = None if alignment is None else engine.matcher.number(alignment.track_id)
        if alignment is None or number is None or alignment.track_id != play.track.id:
            return False, None
        starts = self._starts(stretch, engine, number, alignment.offset)
        if not len(starts):
            return False, None
        self._similar = newest = float(self._similarity(stretch, engine, number, starts[-1:])[0])
        agrees = bool(newest >= AGREEING_SIMILARITY)
        last = int(starts[-1])
        if agrees:
            self._correct_drift(stretch, engine, number, last, newest)
        else:
            similarities = self._similarity(stretch, engine, number, starts)
            agreeing = np.flatnonzero(similarities >= AGREEING_SIMILARITY)
            last = int(starts[agreeing[-1]]) if len(agreeing) else -1
            self._similar = float(similarities[agreeing[-1]]) if len(agreeing) else newest
            agrees = len(agreeing) > max(1, len(starts) / 2) and last in starts[-2:]
        if last < 0:
            return agrees, None
        begin, end = self._agreed, last + self._spec.n_frames
        self._agreed = max(begin, end)
        return agrees, self._match(engine, play, stretch, min(begin, last), end)

    def _starts(self, stretch: Stretch, engine: Engine, number: int, offset: int) -> IntArray:
        """Return the last segments of the sound where the track has segments."""
        hop, first = self._spec.hop_frames, engine.index.first_segment
        n_segments = int(first[number + 1] - first[number])
        possible = max(0, -(-(stretch.first_start + offset) // hop))
        unverified = -(-(self._agreed - self._spec.n_frames // 2 + offset) // hop)
        newest = (stretch.last_start + offset) // hop
        highest = min(n_segments - 1, newest)
        if highest < newest - 1:
            return np.zeros(0, dtype=np.int64)  # the track is over
        lowest = max(possible, min(unverified, highest))
        return np.arange(lowest, highest + 1)[-N_VERIFIED_BACK:] * hop - offset

    def _similarity(self, stretch: Stretch, engine: Engine, number: int, starts: IntArray) -> FloatArray:
        """Return the similarities ``(n,)`` of segments to the track's segments at their positions."""
        queries = stretch.embed(starts, engine)
        alignment = self._alignment
        offset = 0 if alignment is None else alignment.offset
        with self._times.of("match"):
            segments = engine.index.first_segment[number] + np.rint((starts + offset) / self._spec.hop_frames)
            similar: FloatArray = np.diag(
                engine.index.similarities(queries.embeddings, segments.astype(np.int64))
            )
        return similar

    def _correct_drift(
        self, stretch: Stretch, engine: Engine, number: int, start: int, similarity: float
    ) -> None:
        """Shift the alignment if that is more similar: the speed may differ a little."""
        alignment = self._alignment
        if alignment is None or similarity >= self._usual - DRIFTED_SIMILARITY:
            self._usual = max(similarity, 0.8 * self._usual + 0.2 * similarity)
            return
        shifts = [s for s in (-DRIFT_FRAMES, DRIFT_FRAMES) if start + s <= stretch.last_start]
        shifted = np.array([start + shift for shift in shifts if start + shift >= stretch.first_start])
        if len(shifted):
            segments = self._similarity(stretch, engine, number, shifted)
            best = int(np.argmax(segments))
            if segments[best] > similarity:
                moved = alignment.offset - int(shifted[best] - start)
                self._alignment = dataclasses.replace(alignment, offset=moved)
                similarity = float(segments[best])
        self._usual = 0.8 * self._usual + 0.2 * similarity

    def _match(self, engine: Engine, play: Play, stretch: Stretch, begin: int, end: int) -> Match:
        """Return a match for the verified sound, which continues the play but does not settle it."""
        threshold = engine.matcher.scoring.threshold
        offset = 0 if self._alignment is None else self._alignment.offset
        return Match(
            track=play.track,
            start_s=stretch.at_s(begin),
            end_s=stretch.at_s(end),
            offset_s=(begin + offset) / self._frames_per_s,
            score=threshold - 1.0,
            threshold=threshold,
            confidence=0.0,
            margin=0.0,
            similarity=self._similar,
            verification=True,
        )
