"""Distinguish copies of one recording from other tracks, by comparing tracks of the catalogue.

Copies contain the sound of the window. Some of them may be other recordings that share only this passage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np

from overheard.catalogue.search import IntArray, SegmentIndex
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec

COPY_COSINE = 0.6  # tracks with a higher mean cosine are copies of one recording; see docs/experiments.md
MANY_COPIES = 5  # the best track included; with more, copies that rank below a rival are searched too
SAME_COSINE = 0.5  # of segments at one place of two encodings
SAME_SHARE = 0.75  # of the shorter track; tracks that have less in common share a passage
N_COMPARED = 64  # segments of the shorter track; bounds the cost
DECIDING_SIMILARITY = 0.5  # lead, summed over the segments, from which one alignment fits better
UNCERTAIN_SIMILARITY = 0.1  # random difference between two tracks in a segment that they share
HEARD_SHARE = 0.5  # of the mean similarity of the better half; segments below it are not in the window
EQUAL_SIMILARITY = 1e-5  # differences below this are rounding
NEAR_FRAMES = 24  # offsets that differ by at most this much, 0.75 s, are one alignment
MAX_REPEATS = 16
_MAX_REMEMBERED = 10_000  # pairs of tracks


@dataclasses.dataclass(frozen=True)
class AlignedTracks:
    """Tracks aligned with a window, and how similar they are to it.

    Attributes
    ----------
    tracks : (h,) int64
    offsets : (h,) int64
        Position in the track at the window's start, in frames.
    similarity : (h,) float64
        Mean over the catalogue segments that the window covers.
    similarities : (h, slots) float
        Of each catalogue segment to the nearest query in time.
    weights : (h, slots) float
        0-1, by the distance in time to that query.
    starts : (h, slots) int64
        Start of each catalogue segment in the window, in frames.
    """

    tracks: IntArray
    offsets: IntArray
    similarity: FloatArray
    similarities: FloatArray
    weights: FloatArray
    starts: IntArray


def matched_frames(aligned: AlignedTracks, row: int, last_frame: int, n_frames: int) -> tuple[int, int]:
    """Return first frame and end of the part of the window in which an alignment is similar.

    Parameters
    ----------
    aligned, row : the alignment
    last_frame : start of the window's last segment, in frames
    n_frames : length of a segment
    """
    end_frame = last_frame + n_frames
    used = aligned.weights[row] > 0
    similarities, starts = aligned.similarities[row][used], aligned.starts[row][used]
    if not len(starts):
        return 0, end_frame
    better_half = np.sort(similarities)[len(similarities) // 2 :]
    # The run of segments with the largest sum of similarities above half the level of the better half.
    sums = np.concatenate([[0.0], np.cumsum(similarities - 0.5 * better_half.mean())])
    last = int(np.argmax(sums[1:] - np.minimum.accumulate(sums)[:-1]))
    first = int(np.argmin(sums[: last + 1]))
    begin = 0 if first == 0 else int(starts[first])
    end = end_frame if last == len(starts) - 1 else int(starts[last]) + n_frames
    return max(0, min(begin, end_frame)), max(0, min(end, end_frame))


def fits_as_well(aligned: AlignedTracks, best: int, row: int) -> bool:
    """Return whether the lead of the best alignment over another one is small enough to be noise."""
    lead = float(aligned.similarity[best] - aligned.similarity[row])
    return lead * float(aligned.weights[best].sum()) <= DECIDING_SIMILARITY


def row_at(aligned: AlignedTracks, track: int, offset: int) -> int | None:
    """Return the most similar row of a track near an offset in frames; None if there is none."""
    near = (aligned.tracks == track) & (np.abs(aligned.offsets - offset) <= NEAR_FRAMES)
    rows = np.flatnonzero(near & (aligned.weights.sum(axis=1) > 0))
    return int(rows[np.argmax(aligned.similarity[rows])]) if len(rows) else None


def repeats(aligned: AlignedTracks, best: int) -> list[int]:
    """Return other offsets in the best track, in frames, that fit as well, the most similar first."""
    found = [int(aligned.offsets[best])]
    rows = np.flatnonzero(aligned.tracks == aligned.tracks[best])
    for row in rows[np.argsort(-aligned.similarity[rows], kind="stable")]:
        offset = int(aligned.offsets[row])
        if fits_as_well(aligned, best, int(row)) and min(abs(offset - one) for one in found) > NEAR_FRAMES:
            found.append(offset)
    return found[1 : 1 + MAX_REPEATS]


def find_copies(
    index: SegmentIndex, spec: FingerprintSpec, aligned: AlignedTracks, best: int, last_frame: int
) -> tuple[float, set[int]]:
    """Find the copies of the best track and its best rival. Each track is compared once.

    Parameters
    ----------
    index, spec : the catalogue, and the parameters of its fingerprints
    aligned : AlignedTracks
    best : int
        Row of the best track.
    last_frame : int
        Start of the window's last segment, in frames.

    Returns
    -------
    similarity : float
        Of the best track of another recording; 0 if all tracks are copies.
    copies : set of int
        Numbers of the tracks that contain the best track's recording, the best track included.
    """
    copies, rivals = {int(aligned.tracks[best])}, set[int]()
    similarity = 0.0
    for row in np.argsort(-aligned.similarity, kind="stable"):
        track = int(aligned.tracks[row])
        if track in copies or track in rivals:
            continue
        if are_copies(index, spec, aligned, best, int(row), last_frame):
            copies.add(track)
            continue
        if not rivals:
            similarity = float(aligned.similarity[row])
        rivals.add(track)
        if len(copies) <= MANY_COPIES:
            break
    return similarity, copies


def first_of_equals(aligned: AlignedTracks, best: int, copies: Collection[int]) -> int:
    """Return, of the copies that are as similar as the best, the one with the lowest track number and offset.

    The similarities of equal fingerprints, as in two packs with the same recording, differ only by rounding.
    This choice makes the result independent of it.
    """
    similar = aligned.similarity >= aligned.similarity[best] - EQUAL_SIMILARITY
    rows = np.flatnonzero(similar & np.isin(aligned.tracks, list(copies)))
    return int(rows[np.lexsort((aligned.offsets[rows], aligned.tracks[rows]))[0]])


def are_copies(
    index: SegmentIndex, spec: FingerprintSpec, aligned: AlignedTracks, one: int, other: int, last_frame: int
) -> bool:
    """Return whether two aligned tracks contain the same sound over the window.

    Segments of one track are compared with vectors interpolated between segments of the other, because
    the segments of the two may start at different times.
    """
    hop, start = spec.hop_frames, int(aligned.offsets[one])
    segments = np.arange(max(0, -(-start // hop)), (start + last_frame) // hop + 1)
    tracks = (int(aligned.tracks[one]), int(aligned.tracks[other]))
    cosines = aligned_cosines(index, segments, *tracks, (int(aligned.offsets[other]) - start) / hop)
    known = cosines[~np.isnan(cosines)]
    return bool(len(known) and np.mean(known) > COPY_COSINE)


def aligned_cosines(
    index: SegmentIndex, segments: IntArray, track: int, other: int, shift: float
) -> FloatArray:
    """Compare segments of a track with another track at the aligned positions.

    Parameters
    ----------
    segments : (n,) int64, numbers within the track
    track, other : numbers of the tracks
    shift : position in the other track minus the position in the track, in segments

    Returns
    -------
    (n,) cosines; NaN at positions outside one of the tracks
    """
    first = index.first_segment
    positions = segments + shift  # in the other track's segments
    left = np.floor(positions).astype(np.int64)
    length, other_length = (int(first[number + 1] - first[number]) for number in (track, other))
    in_both = (segments >= 0) & (segments < length) & (left >= 0) & (left + 1 < other_length)
    cosines = np.full(len(segments), np.nan)
    if not in_both.any():
        return cosines
    left, fraction = left[in_both], (positions - left)[in_both, None]
    compared = np.concatenate(
        [left + first[other], left + 1 + first[other], segments[in_both] + first[track]]
    )
    lower, upper, exact = np.split(index.vectors(compared), 3)
    interpolated = lower * (1 - fraction) + upper * fraction
    lengths = np.linalg.norm(interpolated, axis=1) * np.linalg.norm(exact, axis=1)
    cosines[in_both] = np.sum(interpolated * exact, axis=1) / lengths
    return cosines


class SharedPassages:
    """Find the other recordings that share the passage of a window with its best track.

    Parameters
    ----------
    index, spec : the catalogue, and the parameters of its fingerprints
    """

    def __init__(self, index: SegmentIndex, spec: FingerprintSpec) -> None:
        self._index, self._hop = index, spec.hop_frames
        self._same: dict[tuple[int, int, int], bool] = {}

    def alternatives(self, aligned: AlignedTracks, best: int) -> list[tuple[int, int, float]]:
        """Return the other recordings that fit the window as well as the best row.

        Returns
        -------
        list of (number, offset, difference)
            Number of the track, offset in frames, and the difference of its similarity to the best one.
        """
        # A track that fits as well has about the same similarity: the others need not be compared.
        n_segments = float(aligned.weights[best].sum())
        lead = (aligned.similarity[best] - aligned.similarity) * n_segments
        near = np.flatnonzero(lead <= DECIDING_SIMILARITY + UNCERTAIN_SIMILARITY * n_segments)
        seen, found = {int(aligned.tracks[best])}, []
        for row in near[np.argsort(-aligned.similarity[near], kind="stable")]:
            track = int(aligned.tracks[row])
            if track in seen:
                continue
            seen.add(track)
            if self.fits(aligned, best, row) and not self.same_recording(aligned, best, row):
                less = float(aligned.similarity[best] - aligned.similarity[row])
                found.append((track, int(aligned.offsets[row]), max(0.0, less)))
        return found

    def same_recording(self, aligned: AlignedTracks, one: int, other: int) -> bool:
        """Return whether two aligned tracks are similar throughout, not only in the window."""
        tracks = (int(aligned.tracks[one]), int(aligned.tracks[other]))
        shift = int(aligned.offsets[other] - aligned.offsets[one]) / self._hop
        key = (*tracks, round(4 * shift))  # the alignment varies a little
        if key not in self._same:
            if len(self._same) >= _MAX_REMEMBERED:
                self._same.clear()
            self._same[key] = self._alike_throughout(*tracks, shift)
        return self._same[key]

    def _alike_throughout(self, track: int, other: int, shift: float) -> bool:
        first = self._index.first_segment
        if first[other + 1] - first[other] < first[track + 1] - first[track]:
            track, other, shift = other, track, -shift
        length = int(first[track + 1] - first[track])
        segments = np.unique(np.linspace(0, length - 1, min(length, N_COMPARED)).astype(np.int64))
        cosines = aligned_cosines(self._index, segments, track, other, shift)
        return float(np.mean(np.nan_to_num(cosines) > SAME_COSINE)) >= SAME_SHARE

    def fits(self, aligned: AlignedTracks, best: int, other: int) -> bool:
        """Return whether another track contains the same passage as the best one in this window.

        Sound that is in neither of the tracks, such as the talk after a jingle, is ignored.
        """
        start, other_start = int(aligned.offsets[best]), int(aligned.offsets[other])
        used = aligned.weights[best] > 0
        starts, weights = aligned.starts[best][used], aligned.weights[best][used]
        similarities = aligned.similarities[best][used]
        nearest = np.abs(aligned.starts[other] - starts[:, None]).argmin(axis=1)
        others = aligned.similarities[other][nearest]
        better_half = np.sort(similarities)[len(similarities) // 2 :]
        weights = weights * (np.maximum(similarities, others) > HEARD_SHARE * better_half.mean())
        tracks = (int(aligned.tracks[best]), int(aligned.tracks[other]))
        shift = (other_start - start) / self._hop
        cosines = aligned_cosines(self._index, (starts + start) // self._hop, *tracks, shift)
        shared = cosines > COPY_COSINE
        lead = float(np.sum((weights * (similarities - others))[~shared]))
        return float(weights[shared].sum()) >= 0.5 * float(weights.sum()) and lead <= DECIDING_SIMILARITY
