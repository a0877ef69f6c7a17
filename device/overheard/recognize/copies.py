"""Tell the copies of one recording from its rivals, by comparing the catalogue's tracks with each other."""

from __future__ import annotations

import dataclasses

import numpy as np

from overheard.catalogue.search import IntArray, SegmentIndex
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec

COPY_COSINE = 0.6  # tracks that are more similar are copies of one recording; 0.72: docs/experiments.md
MANY_COPIES = 5  # the best track included; with more, copies that are less similar than a rival are found too


@dataclasses.dataclass(frozen=True)
class AlignedTracks:
    """Tracks aligned with a window, and how similar they are to it.

    Attributes
    ----------
    tracks : (h,) int64
    offsets : (h,) int64
        Position in the track at the window's start, in frames.
    similarity : (h,) float64
    """

    tracks: IntArray
    offsets: IntArray
    similarity: FloatArray


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


def are_copies(
    index: SegmentIndex, spec: FingerprintSpec, aligned: AlignedTracks, one: int, other: int, last_frame: int
) -> bool:
    """Return whether two aligned tracks contain the same sound over the window.

    Segments of one track are compared with vectors interpolated between segments of the other, because
    the segments of the two may start at different times.
    """
    hop, first = spec.hop_frames, index.first_segment
    start, track = int(aligned.offsets[one]), int(aligned.tracks[one])
    segments = np.arange(max(0, -(-start // hop)), (start + last_frame) // hop + 1)
    positions = segments + (int(aligned.offsets[other]) - start) / hop  # in the other track's segments
    left = np.floor(positions).astype(np.int64)
    other_track = int(aligned.tracks[other])
    length, other_length = (int(first[number + 1] - first[number]) for number in (track, other_track))
    in_both = (segments < length) & (left >= 0) & (left + 1 < other_length)
    if not in_both.any():
        return False
    segments, left, fraction = segments[in_both], left[in_both], (positions - left)[in_both, None]
    lower, upper = (index.vectors(left + step + first[other_track]) for step in (0, 1))
    interpolated = lower * (1 - fraction) + upper * fraction
    exact = index.vectors(segments + first[track])
    lengths = np.linalg.norm(interpolated, axis=1) * np.linalg.norm(exact, axis=1)
    return bool(np.mean(np.sum(interpolated * exact, axis=1) / lengths) > COPY_COSINE)
