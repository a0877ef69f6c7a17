"""Candidates to a match: the track, and the place in it, that all embeddings of a window agree on.

Every candidate votes for an alignment (track, offset); the best-voted are scored again with every catalogue
segment that the window covers, at offsets finer than the catalogue's hop. Source: the idea is Wang's (2003)
histogram of offsets and Chang et al.'s (2010.11910, section 2.3) sequence search; the finer offsets and the
score are ours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from overheard.catalogue.search import Candidates, IntArray, SegmentIndex
from overheard.events import Match
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.scoring import Evidence, Scoring

VOTE_BIN_FRAMES = 8
MAX_HYPOTHESES = 48
REFINE_FRAMES = 16  # a hypothesis is scored at offsets this far to either side
REFINE_STEP_FRAMES = 4
MAX_MISALIGNED_FRAMES = 16  # half the catalogue's hop
MISALIGNED_HALF_WEIGHT_FRAMES = 14.0
MIN_COVERED = (
    0.6  # a window may overlap a track's end by this much before the uncovered part counts against it
)
SHRINKAGE = 0.15  # segments of similarity 0 that every mean includes: an alignment must rest on something
N_BACKGROUND = 4  # nearest segments of other tracks and of the cohort: their mean is the background
COPY_COSINE = 0.6  # a runner-up this alike is another copy of the same recording, no rival
MAX_COPIES = 4


@dataclasses.dataclass(frozen=True)
class _Hypotheses:
    tracks: IntArray  # (h,)
    offsets: IntArray  # (h,) frames from the window's start to its place in the track


@dataclasses.dataclass(frozen=True)
class _Scores:
    similarity: FloatArray  # (h,) mean over the segments that the window covers
    offsets: IntArray  # (h,)
    similarities: FloatArray  # (h, slots) of each catalogue segment
    weights: FloatArray  # (h, slots) by how well a query embedding lies on it
    starts: IntArray  # (h, slots) frames in the window


class Matcher:
    """Aligns windows of query embeddings with the catalogue.

    Parameters
    ----------
    index : the catalogue
    spec : the model's
    scoring : calibrated weights and thresholds
    """

    def __init__(self, index: SegmentIndex, spec: FingerprintSpec, scoring: Scoring) -> None:
        self.index, self.spec, self.scoring = index, spec, scoring

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
        """Return the best match of one window, accepted or not; None where nothing lines up.

        Parameters
        ----------
        queries : of the whole window, ``step_frames`` apart
        candidates : proposals for some of them
        candidate_rows : (m,) which queries the candidates belong to
        start_s, end_s : the window on the source's clock
        playing : id of the track that plays already; it is matched where it holds the best one's recording
        """
        evidence = self.weigh(queries, candidates, candidate_rows, step_frames, playing)
        if evidence is None:
            return None
        frames_per_s = self.spec.frontend.frames_per_s
        first_s, last_s = (frame / frames_per_s for frame in evidence.heard_frames)
        return Match(
            track=self.index.track(evidence.track),
            start_s=min(start_s + first_s, end_s),
            end_s=min(start_s + last_s, end_s),
            offset_s=evidence.offset_frames / frames_per_s + first_s,
            score=self.scoring.score(evidence, end_s - start_s),
            threshold=self.scoring.threshold,
            confidence=float(1 / (1 + np.exp(-self.scoring.log_odds(evidence)))),
            margin=evidence.margin,
        )

    def weigh(
        self,
        queries: Queries,
        candidates: Candidates,
        candidate_rows: IntArray,
        step_frames: int,
        playing: str | None = None,
    ) -> Evidence | None:
        """Return the evidence for the best alignment, or for that of a copy which plays already."""
        hypotheses = self._vote(candidates, candidate_rows * step_frames)
        if not len(hypotheses.tracks):
            return None
        scores = self._rescore(queries.embeddings, step_frames, hypotheses)
        best = int(np.argmax(scores.similarity))
        last_frame = (len(queries.expected) - 1) * step_frames
        runner_up, copies = self._runner_up(hypotheses.tracks, scores, best, last_frame)
        kept = [number for number in copies if self.index.track(number).id == playing]
        if kept:
            best = int(np.argmax(np.where(np.isin(hypotheses.tracks, kept), scores.similarity, -np.inf)))
        similarity = float(scores.similarity[best])
        background = self._background(candidates, copies)
        return Evidence(
            track=int(hypotheses.tracks[best]),
            offset_frames=int(scores.offsets[best]),
            similarity=similarity,
            background=background,
            margin=similarity - max(runner_up, background),  # without rivals it takes more than to be alone
            n_segments=float(scores.weights[best].sum()),
            expected=float(queries.expected.mean()),
            heard_frames=self._heard(scores, best, last_frame),
        )

    def _background(self, candidates: Candidates, copies: Collection[int]) -> float:
        """Return how near the nearest segments of anything else are, on average over the embeddings.

        Where music is much alike, or an embedding says little, all is near, and a similarity proves less. The
        model's cohort speaks too, so that this holds in a catalogue of one track.

        Parameters
        ----------
        copies : tracks that hold the best alignment's recording
        """
        tracks = np.searchsorted(self.index.first_segment, candidates.segments, side="right") - 1
        others = (candidates.segments >= 0) & ~np.isin(tracks, list(copies))
        rivals = np.concatenate([np.where(others, candidates.similarities, 0), candidates.impostors], axis=1)
        return float(np.mean(-np.sort(-rivals, axis=1)[:, :N_BACKGROUND]))

    def _heard(self, scores: _Scores, best: int, last_frame: int) -> tuple[int, int]:
        """Return the stretch of the window in which the best alignment's segments are similar."""
        end_frame = last_frame + self.spec.n_frames
        used = scores.weights[best] > 0
        similarities, starts = scores.similarities[best][used], scores.starts[best][used]
        if not len(starts):
            return 0, end_frame
        loud = np.sort(similarities)[len(similarities) // 2 :]
        # The contiguous run with the largest sum over half of what the better half reaches.
        sums = np.concatenate([[0.0], np.cumsum(similarities - 0.5 * loud.mean())])
        last = int(np.argmax(sums[1:] - np.minimum.accumulate(sums)[:-1]))
        first = int(np.argmin(sums[: last + 1]))
        begin = 0 if first == 0 else int(starts[first])
        end = end_frame if last == len(starts) - 1 else int(starts[last]) + self.spec.n_frames
        return max(0, min(begin, end_frame)), max(0, min(end, end_frame))

    def _runner_up(
        self, tracks: IntArray, scores: _Scores, best: int, last_frame: int
    ) -> tuple[float, set[int]]:
        """Return the similarity of the best track of another recording, and the tracks of the same."""
        hypotheses = _Hypotheses(tracks, scores.offsets)
        seen, copies = {int(tracks[best])}, {int(tracks[best])}
        for place in np.argsort(-scores.similarity, kind="stable"):
            track = int(tracks[place])
            if track in seen:
                continue
            seen.add(track)
            if len(seen) > MAX_COPIES + 1 or not self._alike(hypotheses, best, int(place), last_frame):
                return float(scores.similarity[place]), copies
            copies.add(track)
        return 0.0, copies

    def _alike(self, hypotheses: _Hypotheses, one: int, other: int, last_frame: int) -> bool:
        """Whether two aligned tracks hold the same sound over the window, however their grids lie."""
        hop, first = self.spec.hop_frames, self.index.first_segment
        start, track = int(hypotheses.offsets[one]), int(hypotheses.tracks[one])
        ours = np.arange(max(0, -(-start // hop)), (start + last_frame) // hop + 1)
        places = ours + (int(hypotheses.offsets[other]) - start) / hop  # in segments of the other track
        theirs = np.floor(places).astype(np.int64)
        rival = int(hypotheses.tracks[other])
        length, rival_length = int(np.diff(first)[track]), int(np.diff(first)[rival])
        both = (ours < length) & (theirs >= 0) & (theirs + 1 < rival_length)
        if not both.any():
            return False
        ours, theirs, fraction = ours[both], theirs[both], (places - theirs)[both, None]
        left, right = (self.index.vectors(theirs + step + first[rival]) for step in (0, 1))
        between, exact = left * (1 - fraction) + right * fraction, self.index.vectors(ours + first[track])
        lengths = np.linalg.norm(between, axis=1) * np.linalg.norm(exact, axis=1)
        return bool(np.mean(np.sum(between * exact, axis=1) / lengths) > COPY_COSINE)

    def _vote(self, candidates: Candidates, query_frames: IntArray) -> _Hypotheses:
        """Sum the candidates' similarities over alignments; return the best-voted."""
        segments = candidates.segments.ravel()
        known = segments >= 0
        segments = segments[known]
        times = np.repeat(query_frames, candidates.segments.shape[1])[known]
        similarities = candidates.similarities.ravel()[known]
        tracks = np.searchsorted(self.index.first_segment, segments, side="right") - 1
        if not len(segments):
            return _Hypotheses(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
        offsets = (segments - self.index.first_segment[tracks]) * self.spec.hop_frames - times
        bins = np.floor_divide(offsets + VOTE_BIN_FRAMES // 2, VOTE_BIN_FRAMES)
        keys, inverse = np.unique(tracks * 2**32 + (bins + 2**31), return_inverse=True)
        strengths = np.maximum(similarities, 0.0) ** 2
        votes = np.asarray(np.bincount(inverse, weights=strengths), dtype=np.float64)
        # Neighbouring bins hear the same alignment: a true one is spread over a few by the catalogue's hop.
        smooth = votes.copy()
        adjacent = np.flatnonzero(np.diff(keys) == 1)
        smooth[adjacent] += 0.5 * votes[adjacent + 1]
        smooth[adjacent + 1] += 0.5 * votes[adjacent]
        chosen = keys[np.argsort(-smooth, kind="stable")[:MAX_HYPOTHESES]]
        return _Hypotheses(chosen // 2**32, (chosen % 2**32 - 2**31) * VOTE_BIN_FRAMES)

    def _rescore(self, embeddings: FloatArray, step_frames: int, hypotheses: _Hypotheses) -> _Scores:
        """Score each hypothesis at finer offsets and keep its best."""
        hop, first = self.spec.hop_frames, self.index.first_segment
        last_frame = (len(embeddings) - 1) * step_frames
        shifts = np.arange(-REFINE_FRAMES, REFINE_FRAMES + 1, REFINE_STEP_FRAMES)
        reach = REFINE_FRAMES + MAX_MISALIGNED_FRAMES
        lowest = -(-(hypotheses.offsets - reach) // hop)  # first catalogue segment that any shift can use
        n_slots = (last_frame + 2 * reach) // hop + 1
        slots = lowest[:, None] + np.arange(n_slots)  # (h, slots), segment numbers within the track
        base, lengths = first[hypotheses.tracks], np.diff(first)[hypotheses.tracks]
        inside = (slots >= 0) & (slots < lengths[:, None])
        numbers = np.where(inside, slots + base[:, None], 0)
        used, column = np.unique(numbers, return_inverse=True)
        table = self.index.similarities(embeddings, used)  # (n, used)
        offsets = hypotheses.offsets[:, None] + shifts  # (h, shifts)
        wanted = slots[:, None, :] * hop - offsets[:, :, None]  # (h, shifts, slots) frames in the query
        rows = np.clip(np.rint(wanted / step_frames).astype(np.int64), 0, len(embeddings) - 1)
        misaligned = np.abs(wanted - rows * step_frames)
        weights = 0.5 ** ((misaligned / MISALIGNED_HALF_WEIGHT_FRAMES) ** 2)
        weights[misaligned > MAX_MISALIGNED_FRAMES] = 0
        covered = weights * inside[:, None, :]
        similarities = table[rows, column.reshape(slots.shape)[:, None, :]]
        total = covered.sum(axis=2)
        least = MIN_COVERED * weights.sum(axis=2)
        mean = (covered * similarities).sum(axis=2) / (np.maximum(total, least) + SHRINKAGE)
        best = np.argmax(mean, axis=1)
        each = np.arange(len(best))
        return _Scores(
            mean[each, best],
            offsets[each, best],
            similarities[each, best],
            covered[each, best],
            wanted[each, best],
        )
