"""Score alignments of a window with tracks, using all catalogue segments that the window covers.

Source: Chang et al. (2010.11910), section 2.3 (sequence search). The finer offsets and the segments at which
the network runs once more are this project's own.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from overheard.catalogue.search import Candidates, IntArray, SegmentIndex
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.copies import AlignedTracks
from overheard.recognize.matching.hypotheses import Hypotheses

REFINE_FRAMES = 16  # an alignment is scored at offsets up to half the catalogue's hop to either side
REFINE_STEP_FRAMES = 4
MAX_MISALIGNED_FRAMES = 16  # half the catalogue's hop; a query further from a segment does not count
MISALIGNED_HALF_WEIGHT_FRAMES = 14.0  # distance at which a query counts half
MIN_COVERED_SHARE = 0.6  # of a window; if a track covers less, the rest counts as similarity 0
SHRINKAGE = 0.15  # segments of similarity 0 added to every mean, against alignments of very few segments


@dataclasses.dataclass(frozen=True)
class Window:
    """The query segments of one window of sound, and the candidates of some of them.

    Attributes
    ----------
    queries : n query segments
    starts : (n,) int64, increasing; frames from the window's start to each segment's
    candidates : of m of the queries
    rows : (m,) int64, rows of these queries
    last_frame : start of the last segment that the window has room for, in frames
    """

    queries: Queries
    starts: IntArray
    candidates: Candidates
    rows: IntArray
    last_frame: int

    @classmethod
    def regular(cls, queries: Queries, candidates: Candidates, rows: IntArray, step_frames: int) -> Window:
        """Return a window with a segment every `step_frames`; `rows` ``(m,)`` of them have candidates."""
        starts = np.arange(len(queries.expected)) * step_frames
        return cls(queries, starts, candidates, rows, int(starts[-1]))

    def audible(self) -> Window:
        """Return the window without its silent segments, which are no evidence."""
        heard = np.any(self.queries.embeddings != 0, axis=1)
        if heard.all():
            return self
        searched = heard[self.rows]
        return Window(
            self.queries.rows(np.flatnonzero(heard)),
            self.starts[heard],
            self.candidates.rows(np.flatnonzero(searched)),
            (np.cumsum(heard) - 1)[self.rows[searched]],
            self.last_frame,
        )

    def self_similarity(self, n_frames: int) -> float:
        """Return the mean cosine between segments of `n_frames` that do not overlap; 0 if all overlap."""
        apart = np.abs(self.starts[:, None] - self.starts) >= n_frames
        if not apart.any():
            return 0.0
        return float(np.mean((self.queries.embeddings @ self.queries.embeddings.T)[apart]))

    def with_more(self, queries: Queries, starts: IntArray) -> Window:
        """Return the window with k more queries, which start at frames ``(k,)`` and have no candidates."""
        order = np.argsort(np.concatenate([self.starts, starts]), kind="stable")
        new_rows = np.argsort(order)[self.rows]
        joined = Queries.join([self.queries, queries]).rows(order)
        return Window(
            joined, np.concatenate([self.starts, starts])[order], self.candidates, new_rows, self.last_frame
        )


def score_alignments(
    index: SegmentIndex, spec: FingerprintSpec, window: Window, hypotheses: Hypotheses
) -> AlignedTracks:
    """Score each hypothesis at several offsets and return the best offset of each."""
    hop, first = spec.hop_frames, index.first_segment
    reach = REFINE_FRAMES + MAX_MISALIGNED_FRAMES
    lowest = -(-(hypotheses.offsets - reach) // hop)  # first catalogue segment that any offset uses
    n_slots = (window.last_frame + 2 * reach) // hop + 1
    slots = lowest[:, None] + np.arange(n_slots)  # (h, slots), segment numbers within the track
    base = first[hypotheses.tracks]
    lengths = first[hypotheses.tracks + 1] - base
    inside = (slots >= 0) & (slots < lengths[:, None])
    used, columns = np.unique(np.where(inside, slots + base[:, None], 0), return_inverse=True)
    table = index.similarities(window.queries.embeddings, used)  # (n, used)
    shifts = np.arange(-REFINE_FRAMES, REFINE_FRAMES + 1, REFINE_STEP_FRAMES)
    offsets = hypotheses.offsets[:, None] + shifts  # (h, shifts)
    starts = slots[:, None, :] * hop - offsets[:, :, None]  # (h, shifts, slots) frames in the window
    frames = np.arange(starts.min(), starts.max() + 1)  # far fewer than there are starts
    rows, weights = (each[starts - frames[0]] for each in nearest_queries(frames, window.starts))
    covered = weights * inside[:, None, :]
    similarities = table.take(rows * len(used) + columns.reshape(slots.shape)[:, None, :])
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


def exact_starts(aligned: AlignedTracks, window: Window, n_alignments: int) -> IntArray:
    """Return the frames ``(k,)`` at which segments of the best alignments begin, but no query segment does.

    Parameters
    ----------
    aligned : scored alignments of the window
    window : the window
    n_alignments : number of best alignments
    """
    best = np.argsort(-aligned.similarity, kind="stable")
    _, first = np.unique(np.stack([aligned.tracks, aligned.offsets])[:, best], axis=1, return_index=True)
    rows = best[np.sort(first)[:n_alignments]]
    starts = aligned.starts[rows][aligned.weights[rows] > 0]
    inside = (starts >= 0) & (starts <= window.last_frame)
    return np.setdiff1d(starts[inside], window.starts)


def nearest_queries(starts: IntArray, query_starts: IntArray) -> tuple[IntArray, FloatArray]:
    """Return the row and weight of the query nearest in time to each catalogue segment.

    Parameters
    ----------
    starts : (...) int64
        Start of each catalogue segment in the window, in frames.
    query_starts : (n,) int64, increasing
        Starts of the queries in the window.

    Returns
    -------
    rows : (...) int64
    weights : (...) float64, 0-1; 0 if the query is too far away
    """
    rows = np.searchsorted((query_starts[1:] + query_starts[:-1]) / 2, starts)
    misaligned = np.abs(starts - query_starts[rows])
    weights = 0.5 ** ((misaligned / MISALIGNED_HALF_WEIGHT_FRAMES) ** 2)
    weights[misaligned > MAX_MISALIGNED_FRAMES] = 0
    return rows, weights
