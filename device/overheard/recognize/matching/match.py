"""Turn the candidates of a window into a match: the track and offset that most of its embeddings support.

Every candidate votes for an alignment (track and offset). The alignments with the most votes are scored again
with every catalogue segment that the window covers, at offsets finer than the catalogue's hop. The network
then runs at the positions of the catalogue's segments in the best few alignments, and all are scored again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection

import numpy as np

from overheard.catalogue.search import Candidates, IntArray, SegmentIndex
from overheard.events import Alternative, Match
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.alignments import Window, exact_starts, score_alignments
from overheard.recognize.matching.copies import (
    MANY_COPIES,
    AlignedTracks,
    SharedPassages,
    find_copies,
    first_of_equals,
    fits_as_well,
    matched_frames,
    repeats,
    row_at,
)
from overheard.recognize.matching.hypotheses import Hypotheses, vote
from overheard.recognize.matching.scoring import Evidence, Scoring

MAX_HYPOTHESES = 48  # alignments that are scored again; bounds the cost of a window
N_EXACT = 2  # best alignments for which the network runs at the positions of their segments
N_BACKGROUND = 4  # most similar segments of other tracks and the cohort, whose mean is the background
MAX_COPY_TRACKS = 128  # whose alignments are scored too if there are many copies; bounds the cost

MAX_MATCHED = 16  # tracks whose numbers are remembered

Embed = Callable[[IntArray], Queries]  # of the segments that start at these frames of a window


@dataclasses.dataclass(frozen=True)
class Playing:
    """The open play.

    Attributes
    ----------
    track_id : of its track, which is preferred over other copies of the same recording
    position_s : position in it at the window's start if it plays on; preferred over repeats of it
    """

    track_id: str
    position_s: float | None = None


@dataclasses.dataclass(frozen=True)
class ExactSegments:
    """How to run the network at the positions of the catalogue's segments in an alignment.

    Attributes
    ----------
    embed : see :data:`Embed`
    n : number of alignments, the best ones, for which the network runs
    above, below : the network runs only if the score without it is between these values
    """

    embed: Embed
    n: int = N_EXACT
    above: float = -math.inf
    below: float = math.inf


@dataclasses.dataclass(frozen=True)
class _BestAlignment:
    """The best of all alignments of a window, and the evidence for it and for that of the open play."""

    evidence: Evidence
    among: AlignedTracks
    row: int
    playing: Evidence | None


class Matcher:
    """Align windows of query embeddings with the catalogue.

    Parameters
    ----------
    index : the catalogue
    spec : parameters of the fingerprints
    scoring : calibrated weights and threshold
    """

    def __init__(self, index: SegmentIndex, spec: FingerprintSpec, scoring: Scoring) -> None:
        self.index, self.spec, self.scoring = index, spec, scoring
        self._passages = SharedPassages(index, spec)
        self._matched: dict[str, int] = {}  # numbers of tracks that were matched lately, by their ids

    def match(
        self,
        window: Window,
        start_s: float,
        end_s: float,
        playing: Playing | None = None,
        exact: ExactSegments | None = None,
    ) -> Match | None:
        """Return the best match of one window, accepted or not; None if there are no candidates.

        Parameters
        ----------
        window : Window
        start_s, end_s : the window in seconds of the source
        playing : the open play
        exact : how to run the network at more positions; None not to run it
        """
        window, ranked = self._vote(window)
        if not len(ranked.tracks):
            return None
        best = self._align(window, ranked, playing)
        score = self.scoring.score(best.evidence, end_s - start_s)
        if exact is not None and exact.above < score < exact.below:
            best = self._align_exactly(window, ranked, best, playing, exact)
        return self._to_match(best, start_s, end_s)

    def _to_match(self, best: _BestAlignment, start_s: float, end_s: float) -> Match:
        evidence, frames_per_s = best.evidence, self.spec.frontend.frames_per_s
        first_s, last_s = (frame / frames_per_s for frame in evidence.matched_frames)
        score = self.scoring.score(evidence, end_s - start_s)
        is_accepted = score >= self.scoring.threshold
        track = self.index.track(evidence.track)
        if is_accepted:
            self._matched = dict([*self._matched.items(), (track.id, evidence.track)][-MAX_MATCHED:])
        return Match(
            track=track,
            start_s=min(start_s + first_s, end_s),
            end_s=min(start_s + last_s, end_s),
            offset_s=evidence.offset_frames / frames_per_s + first_s,
            score=score,
            threshold=self.scoring.threshold,
            confidence=self.scoring.probability(evidence),
            margin=evidence.margin,
            similarity=evidence.similarity,
            alternatives=self._alternatives(best, first_s) if is_accepted else (),
            repeats=tuple(offset / frames_per_s + first_s for offset in repeats(best.among, best.row)),
            continued=None if best.playing is None else self.scoring.score(best.playing, end_s - start_s),
        )

    def _alternatives(self, best: _BestAlignment, first_s: float) -> tuple[Alternative, ...]:
        """Return the alternatives to the best track; `first_s` is where the match starts in the window."""
        found = self._passages.alternatives(best.among, best.row)
        frames_per_s = self.spec.frontend.frames_per_s
        return tuple(
            Alternative(
                self.index.track(number), offset / frames_per_s + first_s, self.scoring.relative_odds(less)
            )
            for number, offset, less in found
        )

    def weigh(
        self, window: Window, exact: ExactSegments | None = None, playing: Playing | None = None
    ) -> Evidence | None:
        """Return the evidence for the best alignment; parameters as in :meth:`match`."""
        window, ranked = self._vote(window)
        if not len(ranked.tracks):
            return None
        best = self._align(window, ranked, playing)
        if exact is not None:
            best = self._align_exactly(window, ranked, best, playing, exact)
        return best.evidence

    def number(self, track_id: str) -> int | None:
        """Return the number of a track that has been matched lately; None if it has not."""
        return self._matched.get(track_id)

    def _vote(self, window: Window) -> tuple[Window, Hypotheses]:
        """Return the audible part of a window, and the alignments that its candidates vote for."""
        window = window.audible()
        starts = window.starts[window.rows]
        return window, vote(self.index, self.spec.hop_frames, window.candidates, starts)

    def _align_exactly(
        self,
        window: Window,
        ranked: Hypotheses,
        best: _BestAlignment,
        playing: Playing | None,
        exact: ExactSegments,
    ) -> _BestAlignment:
        """Run the network at the segments of the best alignments, unless it ran there, and align again."""
        starts = exact_starts(best.among, window, exact.n)
        if not len(starts):
            return best
        return self._align(window.with_more(exact.embed(starts), starts).audible(), ranked, playing)

    def _align(self, window: Window, ranked: Hypotheses, playing: Playing | None) -> _BestAlignment:
        """Score the alignments of a window, with that of the open play, and return the best."""
        number = position = None
        if playing is not None and playing.position_s is not None:
            number = self.number_among(playing.track_id, ranked.tracks)
            position = round(playing.position_s * self.spec.frontend.frames_per_s)
        chosen = ranked.chosen(np.arange(len(ranked.tracks)) < MAX_HYPOTHESES).also(number, position)
        scores, best, runner_up, copies = self._compare(window, chosen)
        if len(copies) > MANY_COPIES:  # some may have no place among the hypotheses: let each track have one
            chosen = ranked.with_each_track(MAX_HYPOTHESES, MAX_COPY_TRACKS).also(number, position)
            scores, best, runner_up, copies = self._compare(window, chosen)
        top = float(scores.similarity[best])
        best = first_of_equals(scores, best, copies)
        best = self._prefer(scores, best, copies, None if playing is None else playing.track_id)
        row = None if number is None or position is None else row_at(scores, number, position)
        if row is not None and scores.tracks[best] == number and fits_as_well(scores, best, row):
            best = row
        background = self._background(window.candidates, copies)
        levels = (max(runner_up, background), background)  # so that a track without rivals has no advantage
        evidence = self._evidence(scores, best, levels, window)
        if row is None:
            return _BestAlignment(evidence, scores, best, None)
        levels = levels if number in copies else (max(top, background), background)
        return _BestAlignment(evidence, scores, best, self._evidence(scores, row, levels, window))

    def _evidence(
        self,
        scores: AlignedTracks,
        row: int,
        levels: tuple[float, float],
        window: Window,
    ) -> Evidence:
        """Return the evidence for a row; `levels` are the similarities of rivals and of the background."""
        similarity = float(scores.similarity[row])
        return Evidence(
            track=int(scores.tracks[row]),
            offset_frames=int(scores.offsets[row]),
            similarity=similarity,
            background=levels[1],
            margin=similarity - levels[0],
            n_segments=float(scores.weights[row].sum()),
            expected_similarity=float(window.queries.expected.mean()),
            matched_frames=matched_frames(scores, row, window.last_frame, self.spec.n_frames),
            self_similarity=window.self_similarity(self.spec.n_frames),
        )

    def number_among(self, track_id: str, tracks: IntArray) -> int | None:
        """Return the number of a track if it is among these ``(n,)``."""
        known = self.number(track_id)
        if known is not None and known in tracks:  # saves the metadata of all of them
            return known
        return next((n for n in np.unique(tracks).tolist() if self.index.track(n).id == track_id), None)

    def _prefer(self, scores: AlignedTracks, best: int, copies: Collection[int], playing: str | None) -> int:
        """Return the row of the open play's track if it is a copy of the best one or fits as well."""
        numbers = [number for number in copies if self.index.track(number).id == playing]
        if not numbers or int(scores.tracks[best]) in numbers:
            return best
        row = int(np.argmax(np.where(np.isin(scores.tracks, numbers), scores.similarity, -np.inf)))
        fits = self._passages.same_recording(scores, best, row) or self._passages.fits(scores, best, row)
        return row if fits else best

    def _compare(self, window: Window, hypotheses: Hypotheses) -> tuple[AlignedTracks, int, float, set[int]]:
        """Return scores, the row of the best, the similarity of its best rival, and its copies' tracks."""
        scores = score_alignments(self.index, self.spec, window, hypotheses)
        best = int(np.argmax(scores.similarity))
        return scores, best, *find_copies(self.index, self.spec, scores, best, window.last_frame)

    def _background(self, candidates: Candidates, copies: Collection[int]) -> float:
        """Return the mean similarity of the queries to the most similar segments of other recordings.

        If other recordings are similar too, a match proves less. The model's cohort is included, so that the
        background is meaningful in a catalogue of one track.

        Parameters
        ----------
        candidates : Candidates
        copies : collection of int
            Numbers of the tracks that contain the best alignment's recording.
        """
        tracks = np.searchsorted(self.index.first_segment, candidates.segments, side="right") - 1
        others = (candidates.segments >= 0) & ~np.isin(tracks, list(copies))
        rivals = np.concatenate([np.where(others, candidates.similarities, 0), candidates.cohort], axis=1)
        return float(np.mean(-np.sort(-rivals, axis=1)[:, :N_BACKGROUND]))
