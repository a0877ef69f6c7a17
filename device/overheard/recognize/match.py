"""Turn the candidates of a window into a match: the track and offset that most of its embeddings support.

Every candidate votes for an alignment (track and offset). The alignments with the most votes are scored again
with every catalogue segment that the window covers, at offsets finer than the catalogue's hop.

Sources: Wang, An Industrial-Strength Audio Search Algorithm, ISMIR 2003 (histogram of offsets); Chang et al.
(2010.11910), section 2.3 (sequence search). The finer offsets and the score are this project's own.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

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
    fits_as_well,
    matched_frames,
    repeats,
    row_at,
)
from overheard.recognize.hypotheses import Hypotheses, vote
from overheard.recognize.scoring import Evidence, Scoring

MAX_HYPOTHESES = 48  # alignments that are scored again; bounds the cost of a window
REFINE_FRAMES = 16  # an alignment is scored at offsets up to half the catalogue's hop to either side
REFINE_STEP_FRAMES = 4  # the step between embeddings of a clip
MAX_MISALIGNED_FRAMES = 16  # half the catalogue's hop; a query further from a segment does not count
MISALIGNED_HALF_WEIGHT_FRAMES = 14.0  # distance at which a query counts half
MIN_COVERED_SHARE = 0.6  # of a window; if a track covers less, the rest counts as similarity 0
SHRINKAGE = 0.15  # segments of similarity 0 added to every mean, against alignments of very few segments
N_BACKGROUND = 4  # most similar segments of other tracks and the cohort, whose mean is the background
MAX_COPY_TRACKS = 128  # whose alignments are scored too if there are many copies; bounds the cost


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
        position_s: float | None = None,
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
        position_s : position in this track at `start_s` if it plays on, which is preferred over its repeats
        """
        frames_per_s = self.spec.frontend.frames_per_s
        position = None if position_s is None else round(position_s * frames_per_s)
        aligned = self._align(queries, candidates, candidate_rows, step_frames, playing, position)
        return None if aligned is None else self._to_match(*aligned, start_s, end_s)

    def _to_match(
        self,
        evidence: Evidence,
        tracks: AlignedTracks,
        best: int,
        continued: Evidence | None,
        start_s: float,
        end_s: float,
    ) -> Match:
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
            similarity=evidence.similarity,
            alternatives=self._alternatives(tracks, best, first_s) if is_accepted else (),
            repeats=tuple(offset / frames_per_s + first_s for offset in repeats(tracks, best)),
            continued=None if continued is None else self.scoring.score(continued, end_s - start_s),
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
        position: int | None = None,
    ) -> tuple[Evidence, AlignedTracks, int, Evidence | None] | None:
        """Return the evidence for the best alignment, all alignments, the best's row, and the open play's."""
        ranked = vote(self.index, self.spec.hop_frames, candidates, candidate_rows * step_frames)
        if not len(ranked.tracks):
            return None
        number = None if position is None or playing is None else self._number(playing, ranked.tracks)
        chosen = ranked.chosen(np.arange(len(ranked.tracks)) < MAX_HYPOTHESES).also(number, position)
        scores, best, runner_up, copies = self._compare(queries.embeddings, step_frames, chosen)
        if len(copies) > MANY_COPIES:  # some may have no place among the hypotheses: let each track have one
            chosen = ranked.with_each_track(MAX_HYPOTHESES, MAX_COPY_TRACKS).also(number, position)
            scores, best, runner_up, copies = self._compare(queries.embeddings, step_frames, chosen)
        top = float(scores.similarity[best])
        best = first_of_equals(scores, best, copies)
        best = self._prefer(scores, best, copies, playing)
        row = None if number is None or position is None else row_at(scores, number, position)
        if row is not None and scores.tracks[best] == number and fits_as_well(scores, best, row):
            best = row
        background = self._background(candidates, copies)
        levels = (max(runner_up, background), background)  # so that a track without rivals has no advantage
        evidence = self._evidence(scores, best, levels, queries, step_frames)
        if row is None:
            return evidence, scores, best, None
        levels = levels if number in copies else (max(top, background), background)
        return evidence, scores, best, self._evidence(scores, row, levels, queries, step_frames)

    def _evidence(
        self,
        scores: AlignedTracks,
        row: int,
        levels: tuple[float, float],
        queries: Queries,
        step_frames: int,
    ) -> Evidence:
        """Return the evidence for a row; `levels` are the similarities of rivals and of the background."""
        similarity = float(scores.similarity[row])
        last_frame = (len(queries.expected) - 1) * step_frames
        return Evidence(
            track=int(scores.tracks[row]),
            offset_frames=int(scores.offsets[row]),
            similarity=similarity,
            background=levels[1],
            margin=similarity - levels[0],
            n_segments=float(scores.weights[row].sum()),
            expected=float(queries.expected.mean()),
            heard_frames=matched_frames(scores, row, last_frame, self.spec.n_frames),
        )

    def _number(self, track_id: str, tracks: IntArray) -> int | None:
        """Return the number of a track if it is among these."""
        return next((n for n in np.unique(tracks).tolist() if self.index.track(n).id == track_id), None)

    def _prefer(self, scores: AlignedTracks, best: int, copies: Collection[int], playing: str | None) -> int:
        """Return the row of the open play's track if it is a copy of the best one or fits as well."""
        numbers = [number for number in copies if self.index.track(number).id == playing]
        if not numbers or int(scores.tracks[best]) in numbers:
            return best
        row = int(np.argmax(np.where(np.isin(scores.tracks, numbers), scores.similarity, -np.inf)))
        fits = self._passages.same_recording(scores, best, row) or self._passages.fits(scores, best, row)
        return row if fits else best

    def _compare(
        self, embeddings: FloatArray, step_frames: int, hypotheses: Hypotheses
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

    def _rescore(self, embeddings: FloatArray, step_frames: int, hypotheses: Hypotheses) -> AlignedTracks:
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
