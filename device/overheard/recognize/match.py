"""Turn the candidates of a window into a match: the track and offset that most of its embeddings support.

Every candidate votes for an alignment (track and offset). The alignments with the most votes are scored again
with every catalogue segment that the window covers, at offsets finer than the catalogue's hop. The network
then runs where the best few alignments place the catalogue's segments, and all are scored once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

import numpy as np

from overheard.catalogue.search import Candidates, IntArray, SegmentIndex
from overheard.events import Alternative, Match
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.alignments import Hypotheses, Window, exact_starts, score_alignments, vote
from overheard.recognize.copies import (
    MANY_COPIES,
    AlignedTracks,
    SharedPassages,
    find_copies,
    first_of_equals,
)
from overheard.recognize.scoring import Evidence, Scoring

MAX_HYPOTHESES = 48  # alignments that are scored again; bounds the cost of a window
N_EXACT = 2  # alignments at whose segments the network runs
N_BACKGROUND = 4  # most similar segments of other tracks and the cohort, whose mean is the background
MAX_COPY_TRACKS = 128  # whose alignments are scored too if there are many copies; bounds the cost

Embed = Callable[[IntArray], Queries]  # of the segments that start at these frames of a window


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
        window: Window,
        start_s: float,
        end_s: float,
        embed: Embed | None = None,
        playing: str | None = None,
        exact_above: float = -math.inf,
        n_exact: int = N_EXACT,
    ) -> Match | None:
        """Return the best match of one window, accepted or not; None if there are no candidates.

        Parameters
        ----------
        window : Window
        start_s, end_s : the window in seconds of the source
        embed : embeds more segments of the window; None if there are no more
        playing : id of the open play's track, which is preferred over other copies of the same recording
        exact_above : `embed` is called only if the score without it is above this one
        n_exact : alignments at whose segments the network runs
        """
        aligned = self._align(window, playing)
        if aligned is None:
            return None
        length_s = end_s - start_s
        if embed is not None and self.scoring.score(aligned[0], length_s) > exact_above:
            aligned = self._align_exactly(window, aligned[1], embed, playing, n_exact) or aligned
        return self._as_match(*aligned, start_s, end_s)

    def _as_match(
        self, evidence: Evidence, tracks: AlignedTracks, best: int, start_s: float, end_s: float
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
        self, window: Window, embed: Embed | None = None, playing: str | None = None
    ) -> Evidence | None:
        """Return the evidence for the best alignment; parameters as in :meth:`match`."""
        aligned = self._align(window, playing)
        if aligned is not None and embed is not None:
            aligned = self._align_exactly(window, aligned[1], embed, playing) or aligned
        return None if aligned is None else aligned[0]

    def _align_exactly(
        self, window: Window, aligned: AlignedTracks, embed: Embed, playing: str | None, n: int = N_EXACT
    ) -> tuple[Evidence, AlignedTracks, int] | None:
        """Run the network at the segments of the best alignments and align again; None if it ran before."""
        starts = exact_starts(aligned, window, n)
        return self._align(window.with_more(embed(starts), starts), playing) if len(starts) else None

    def _align(self, window: Window, playing: str | None) -> tuple[Evidence, AlignedTracks, int] | None:
        """Return the evidence for the best alignment, all alignments, and the row of the best."""
        ranked = vote(self.index, self.spec, window)
        if not len(ranked.tracks):
            return None
        hypotheses = ranked.chosen(np.arange(len(ranked.tracks)) < MAX_HYPOTHESES)
        scores, best, runner_up, copies = self._compare(window, hypotheses)
        if len(copies) > MANY_COPIES:  # some may have no place among the hypotheses: let each track have one
            hypotheses = ranked.with_each_track(MAX_HYPOTHESES, MAX_COPY_TRACKS)
            scores, best, runner_up, copies = self._compare(window, hypotheses)
        best = first_of_equals(scores, best, copies)
        best = self._prefer(scores, best, copies, playing)
        similarity = float(scores.similarity[best])
        background = self._background(window.candidates, copies)
        evidence = Evidence(
            track=int(scores.tracks[best]),
            offset_frames=int(scores.offsets[best]),
            similarity=similarity,
            background=background,
            margin=similarity - max(runner_up, background),  # so that a track without rivals has no advantage
            n_segments=float(scores.weights[best].sum()),
            expected=float(window.queries.expected.mean()),
            heard_frames=self._matched_frames(scores, best, window.last_frame),
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
