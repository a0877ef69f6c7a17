"""Turn the candidates of a window into a match: the track and offset that most of its embeddings support.

Every candidate votes for an alignment (track and offset). The alignments with the most votes are scored again
with every catalogue segment that the window covers, at offsets finer than the catalogue's hop.

Sources: Wang, An Industrial-Strength Audio Search Algorithm, ISMIR 2003 (histogram of offsets); Chang et al.
(2010.11910), section 2.3 (sequence search). The finer offsets and the score are this project's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from overheard.catalogue.search import Candidates, IntArray, SegmentIndex
from overheard.events import Alternative, Match
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.copies import (
    MANY_COPIES,
    AlignedTracks,
    SharedPassages,
    find_copies,
    first_of_equals,
)
from overheard.recognize.scoring import Evidence, Scoring

VOTE_BIN_FRAMES = 8  # a quarter of the catalogue's hop
MAX_HYPOTHESES = 48  # alignments that are scored again; bounds the cost of a window
REFINE_FRAMES = 16  # an alignment is scored at offsets up to half the catalogue's hop to either side
REFINE_STEP_FRAMES = 4  # the step between embeddings of a clip
MAX_MISALIGNED_FRAMES = 16  # half the catalogue's hop; a query further from a segment does not count
MISALIGNED_HALF_WEIGHT_FRAMES = 14.0  # distance at which a query counts half
MIN_COVERED_SHARE = 0.6  # of a window; if a track covers less, the rest counts as similarity 0
SHRINKAGE = 0.15  # segments of similarity 0 added to every mean, against alignments of very few segments
N_BACKGROUND = 4  # most similar segments of other tracks and the cohort, whose mean is the background
MAX_COPY_TRACKS = 128  # whose alignments are scored too if there are many copies; bounds the cost


@dataclasses.dataclass(frozen=True)
class _Hypotheses:
    tracks: IntArray  # (h,)
    offsets: IntArray  # (h,) position in the track at the window's start, in frames

    def chosen(self, rows: npt.NDArray[np.bool_]) -> _Hypotheses:
        """Return the rows where the mask ``(h,)`` is true."""
        return _Hypotheses(self.tracks[rows], self.offsets[rows])

    def with_each_track(self, n_first: int, n_tracks: int) -> _Hypotheses:
        """Return the first rows, and the first row of each of the first tracks."""
        _, first_rows = np.unique(self.tracks, return_index=True)
        rows = np.arange(len(self.tracks)) < n_first
        rows[np.sort(first_rows)[:n_tracks]] = True
        return self.chosen(rows)


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

    def match(
        self,
        queries: Queries,
        candidates: Candidates,
        candidate_rows: IntArray,
        step_frames: int,
        start_s: float,
        end_s: float,
        playing: str | None = None,
    ) -> Match | None:
        """Return the best match of one window, accepted or not; None if there are no candidates.

        Parameters
        ----------
        queries : all queries of the window
        candidates : candidates of some of the queries
        candidate_rows : (m,) int64, the row in `queries` of each row in `candidates`
        step_frames : frames between the starts of consecutive queries
        start_s, end_s : the window in seconds of the source
        playing : id of the open play's track, which is preferred over other copies of the same recording
        """
        aligned = self._align(queries, candidates, candidate_rows, step_frames, playing)
        if aligned is None:
            return None
        evidence, tracks, best = aligned
        frames_per_s = self.spec.frontend.frames_per_s
        first_s, last_s = (frame / frames_per_s for frame in evidence.heard_frames)
        score = self.scoring.score(evidence, end_s - start_s)
        is_accepted = score >= self.scoring.threshold
        return Match(
            track=self.index.track(evidence.track),
            start_s=min(start_s + first_s, end_s),
            end_s=min(start_s + last_s, end_s),
            offset_s=evidence.offset_frames / frames_per_s + first_s,
            score=score,
            threshold=self.scoring.threshold,
            confidence=float(1 / (1 + np.exp(-self.scoring.log_odds(evidence)))),
            margin=evidence.margin,
            alternatives=self._alternatives(tracks, best, first_s) if is_accepted else (),
        )

    def _alternatives(self, tracks: AlignedTracks, best: int, first_s: float) -> tuple[Alternative, ...]:
        """Return the alternatives to the best row; `first_s` is where the match starts in the window."""
        found = self._passages.alternatives(tracks, best)
        frames_per_s = self.spec.frontend.frames_per_s
        return tuple(
            Alternative(self.index.track(number), offset / frames_per_s + first_s) for number, offset in found
        )

    def weigh(
        self,
        queries: Queries,
        candidates: Candidates,
        candidate_rows: IntArray,
        step_frames: int,
        playing: str | None = None,
    ) -> Evidence | None:
        """Return the evidence for the best alignment; parameters as in :meth:`match`."""
        aligned = self._align(queries, candidates, candidate_rows, step_frames, playing)
        return None if aligned is None else aligned[0]

    def _align(
        self,
        queries: Queries,
        candidates: Candidates,
        candidate_rows: IntArray,
        step_frames: int,
        playing: str | None,
    ) -> tuple[Evidence, AlignedTracks, int] | None:
        """Return the evidence for the best alignment, all alignments, and the row of the best."""
        ranked = self._vote(candidates, candidate_rows * step_frames)
        if not len(ranked.tracks):
            return None
        hypotheses = ranked.chosen(np.arange(len(ranked.tracks)) < MAX_HYPOTHESES)
        last_frame = (len(queries.expected) - 1) * step_frames
        scores, best, runner_up, copies = self._compare(queries.embeddings, step_frames, hypotheses)
        if len(copies) > MANY_COPIES:  # some may have no place among the hypotheses: let each track have one
            hypotheses = ranked.with_each_track(MAX_HYPOTHESES, MAX_COPY_TRACKS)
            scores, best, runner_up, copies = self._compare(queries.embeddings, step_frames, hypotheses)
        best = first_of_equals(scores, best, copies)
        best = self._prefer(scores, best, copies, playing)
        similarity = float(scores.similarity[best])
        background = self._background(candidates, copies)
        evidence = Evidence(
            track=int(scores.tracks[best]),
            offset_frames=int(scores.offsets[best]),
            similarity=similarity,
            background=background,
            margin=similarity - max(runner_up, background),  # so that a track without rivals has no advantage
            n_segments=float(scores.weights[best].sum()),
            expected=float(queries.expected.mean()),
            heard_frames=self._matched_frames(scores, best, last_frame),
        )
        return evidence, scores, best

    def _prefer(self, scores: AlignedTracks, best: int, copies: Collection[int], playing: str | None) -> int:
        """Return the row of the open play's track if it is a copy of the best one or fits as well."""
        numbers = [number for number in copies if self.index.track(number).id == playing]
        if not numbers or int(scores.tracks[best]) in numbers:
            return best
        row = int(np.argmax(np.where(np.isin(scores.tracks, numbers), scores.similarity, -np.inf)))
        fits = self._passages.same_recording(scores, best, row) or self._passages.fits(scores, best, row)
        return row if fits else best

    def _compare(
        self, embeddings: FloatArray, step_frames: int, hypotheses: _Hypotheses
    ) -> tuple[AlignedTracks, int, float, set[int]]:
        """Return scores, the row of the best, the similarity of its best rival, and its copies' tracks."""
        scores = self._rescore(embeddings, step_frames, hypotheses)
        best = int(np.argmax(scores.similarity))
        last_frame = (len(embeddings) - 1) * step_frames
        return scores, best, *find_copies(self.index, self.spec, scores, best, last_frame)

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
        rivals = np.concatenate([np.where(others, candidates.similarities, 0), candidates.impostors], axis=1)
        return float(np.mean(-np.sort(-rivals, axis=1)[:, :N_BACKGROUND]))

    def _matched_frames(self, scores: AlignedTracks, best: int, last_frame: int) -> tuple[int, int]:
        """Return first frame and end of the part of the window in which the best alignment is similar."""
        end_frame = last_frame + self.spec.n_frames
        used = scores.weights[best] > 0
        similarities, starts = scores.similarities[best][used], scores.starts[best][used]
        if not len(starts):
            return 0, end_frame
        better_half = np.sort(similarities)[len(similarities) // 2 :]
        # The run of segments with the largest sum of similarities above half the level of the better half.
        sums = np.concatenate([[0.0], np.cumsum(similarities - 0.5 * better_half.mean())])
        last = int(np.argmax(sums[1:] - np.minimum.accumulate(sums)[:-1]))
        first = int(np.argmin(sums[: last + 1]))
        begin = 0 if first == 0 else int(starts[first])
        end = end_frame if last == len(starts) - 1 else int(starts[last]) + self.spec.n_frames
        return max(0, min(begin, end_frame)), max(0, min(end, end_frame))

    def _vote(self, candidates: Candidates, query_frames: IntArray) -> _Hypotheses:
        """Return the alignments, those with most votes first; a vote counts by its squared similarity."""
        segments = candidates.segments.ravel()
        valid = segments >= 0
        segments = segments[valid]
        times = np.repeat(query_frames, candidates.segments.shape[1])[valid]
        similarities = candidates.similarities.ravel()[valid]
        tracks = np.searchsorted(self.index.first_segment, segments, side="right") - 1
        if not len(segments):
            return _Hypotheses(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        offsets = (segments - self.index.first_segment[tracks]) * self.spec.hop_frames - times
        bins = np.floor_divide(offsets + VOTE_BIN_FRAMES // 2, VOTE_BIN_FRAMES)
        keys, inverse = np.unique(tracks * 2**32 + (bins + 2**31), return_inverse=True)
        strengths = np.maximum(similarities, 0.0) ** 2
        votes = np.asarray(np.bincount(inverse, weights=strengths), dtype=np.float64)
        # Add half the votes of adjacent bins: the catalogue's hop spreads a true alignment over a few bins.
        smooth = votes.copy()
        adjacent = np.flatnonzero(np.diff(keys) == 1)
        smooth[adjacent] += 0.5 * votes[adjacent + 1]
        smooth[adjacent + 1] += 0.5 * votes[adjacent]
        chosen = keys[np.argsort(-smooth, kind="stable")]
        return _Hypotheses(chosen // 2**32, (chosen % 2**32 - 2**31) * VOTE_BIN_FRAMES)

    def _rescore(self, embeddings: FloatArray, step_frames: int, hypotheses: _Hypotheses) -> AlignedTracks:
        """Score each hypothesis at several offsets and return the best offset of each."""
        hop, first = self.spec.hop_frames, self.index.first_segment
        last_frame = (len(embeddings) - 1) * step_frames
        reach = REFINE_FRAMES + MAX_MISALIGNED_FRAMES
        lowest = -(-(hypotheses.offsets - reach) // hop)  # first catalogue segment that any offset uses
        n_slots = (last_frame + 2 * reach) // hop + 1
        slots = lowest[:, None] + np.arange(n_slots)  # (h, slots), segment numbers within the track
        base = first[hypotheses.tracks]
        lengths = first[hypotheses.tracks + 1] - base
        inside = (slots >= 0) & (slots < lengths[:, None])
        used, columns = np.unique(np.where(inside, slots + base[:, None], 0), return_inverse=True)
        table = self.index.similarities(embeddings, used)  # (n, used)
        shifts = np.arange(-REFINE_FRAMES, REFINE_FRAMES + 1, REFINE_STEP_FRAMES)
        offsets = hypotheses.offsets[:, None] + shifts  # (h, shifts)
        starts = slots[:, None, :] * hop - offsets[:, :, None]  # (h, shifts, slots) frames in the window
        rows, weights = _nearest_queries(starts, step_frames, len(embeddings))
        covered = weights * inside[:, None, :]
        similarities = table[rows, columns.reshape(slots.shape)[:, None, :]]
        total = np.maximum(covered.sum(axis=2), MIN_COVERED_SHARE * weights.sum(axis=2)) + SHRINKAGE
        mean = (covered * similarities).sum(axis=2) / total
        best = np.argmax(mean, axis=1)
        each = np.arange(len(best))
        return AlignedTracks(
            hypotheses.tracks,
            offsets[each, best],
            mean[each, best],
            similarities[each, best],
            covered[each, best],
            starts[each, best],
        )


def _nearest_queries(starts: IntArray, step_frames: int, n_queries: int) -> tuple[IntArray, FloatArray]:
    """Return the row and weight of the query nearest in time to each catalogue segment.

    Parameters
    ----------
    starts : (...) int64
        Start of each catalogue segment in the window, in frames.
    step_frames : frames between the starts of consecutive queries
    n_queries : number of queries in the window

    Returns
    -------
    rows : (...) int64
    weights : (...) float64, 0-1; 0 if the query is too far away
    """
    rows = np.clip(np.rint(starts / step_frames).astype(np.int64), 0, n_queries - 1)
    misaligned = np.abs(starts - rows * step_frames)
    weights = 0.5 ** ((misaligned / MISALIGNED_HALF_WEIGHT_FRAMES) ** 2)
    weights[misaligned > MAX_MISALIGNED_FRAMES] = 0
    return rows, weights
