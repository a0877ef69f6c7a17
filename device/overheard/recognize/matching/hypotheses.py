"""Let the candidates of a window vote for alignments: pairs of a track and an offset in it."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from overheard.catalogue.search import Candidates, IntArray, SegmentIndex

VOTE_BIN_FRAMES = 8  # a quarter of the catalogue's hop


@dataclasses.dataclass(frozen=True)
class Hypotheses:
    """Possible alignments of a window: tracks, and offsets in them.

    Attributes
    ----------
    tracks : (h,) int64, numbers of the tracks
    offsets : (h,) int64, position in the track at the window's start, in frames
    """

    tracks: IntArray
    offsets: IntArray

    def chosen(self, rows: npt.NDArray[np.bool_]) -> Hypotheses:
        """Return the rows for which the mask ``(h,)`` is true."""
        return Hypotheses(self.tracks[rows], self.offsets[rows])

    def also(self, track: int | None, offset: int | None) -> Hypotheses:
        """Add an alignment, unless it is None."""
        if track is None or offset is None:
            return self
        return Hypotheses(np.append(self.tracks, track), np.append(self.offsets, offset))

    def with_each_track(self, n_first: int, n_tracks: int) -> Hypotheses:
        """Return the first `n_first` rows, and the first row of each of the first `n_tracks` tracks."""
        _, first_rows = np.unique(self.tracks, return_index=True)
        rows = np.arange(len(self.tracks)) < n_first
        rows[np.sort(first_rows)[:n_tracks]] = True
        return self.chosen(rows)


def vote(index: SegmentIndex, hop_frames: int, candidates: Candidates, query_frames: IntArray) -> Hypotheses:
    """Return all alignments with votes, most votes first; each vote is weighted by its squared similarity.

    Parameters
    ----------
    index : the catalogue
    hop_frames : frames between two segments of the catalogue
    candidates : of m query segments
    query_frames : (m,) int64, first frame of each query segment in the window
    """
    segments = candidates.segments.ravel()
    valid = segments >= 0
    segments = segments[valid]
    times = np.repeat(query_frames, candidates.segments.shape[1])[valid]
    similarities = candidates.similarities.ravel()[valid]
    tracks = np.searchsorted(index.first_segment, segments, side="right") - 1
    if not len(segments):
        return Hypotheses(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    offsets = (segments - index.first_segment[tracks]) * hop_frames - times
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
    return Hypotheses(chosen // 2**32, (chosen % 2**32 - 2**31) * VOTE_BIN_FRAMES)
