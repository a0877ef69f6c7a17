"""Degraded pairs, some of them of moments that the shipped network takes for each other most.

Within a random batch hardly any two moments are alike, and what is named falsely is alike. Source: Xiong et
al., ANCE (2007.00808), whose negatives are the nearest of the whole collection.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from overheard.errors import OverheardError
from overheard.files import atomic_write
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.fingerprint.tables import TablesError, read_tables
from overheard_train.evaluate import Embed, embed_tracks
from overheard_train.pairs import Batch, degraded, draw_tracks
from overheard_train.pairs.degraded import CONTEXT_S, RATE, SILENT_RMS, DegradedPairs, rms

if TYPE_CHECKING:
    from overheard.fingerprint.spec import FingerprintSpec
    from overheard_train.data import Clips, Data

log = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]

HOP_FRAMES = 32
MAX_HOURS = 60.0  # of more music, rivals of some tracks are found
N_RIVALS = 4  # nearest of other music, of which one is drawn
MAX_COSINE = 0.85  # what is nearer may be the same recording, unlisted
HARDEST = 0.5  # share of a track's moments that are drawn: those whose rival is nearest
COMPARED_AT_ONCE = 2**25  # pairs of moments
NO_RIVAL = -1.0  # a cosine


@dataclasses.dataclass(frozen=True)
class Rivals:
    """Moments of a collection, and for each those of other music that are nearest.

    Attributes
    ----------
    tracks, starts : (n,) of each moment, its track and first sample
    nearest : (n, N_RIVALS) numbers of moments; where there are fewer, the nearest comes again
    cosines : (n,) to the nearest, NO_RIVAL where there is none
    """

    tracks: IntArray
    starts: IntArray
    nearest: IntArray
    cosines: FloatArray


def find_rivals(clips: Clips, groups: npt.NDArray[np.int32], embed: Embed, spec: FingerprintSpec) -> Rivals:
    """Find each moment's rivals.

    Parameters
    ----------
    groups : (n_clips,), equal for tracks that share music: these are no rivals
    embed : log-mel segments of ``spec`` to embeddings

    Raises
    ------
    OverheardError
        There are too few moments.
    """
    vectors, track_of = embed_tracks(embed, spec, clips, HOP_FRAMES, hours=MAX_HOURS)
    hop = HOP_FRAMES * spec.frontend.hop_length
    starts = (np.arange(len(vectors)) - np.searchsorted(track_of, track_of)) * hop
    loud = [
        rms(clips.clip(track)[start : start + hop] / np.float32(32768)) > SILENT_RMS
        for track, start in zip(track_of, starts, strict=True)
    ]
    vectors, track_of, starts = vectors[loud], track_of[loud], starts[loud]
    too_little = "there is too little music to find rivals in: name more with --data music=FOLDER"
    if len(vectors) <= N_RIVALS:
        raise OverheardError(too_little)
    group_of = groups[track_of]
    nearest = np.empty((len(vectors), N_RIVALS), dtype=np.int64)
    best = np.empty(len(vectors), dtype=np.float32)
    n_rows = max(1, COMPARED_AT_ONCE // len(vectors))
    for first in range(0, len(vectors), n_rows):
        rows = slice(first, first + n_rows)
        cosines = vectors[rows] @ vectors.T
        cosines[(group_of[rows, None] == group_of) | (cosines > MAX_COSINE)] = NO_RIVAL
        found = np.argpartition(-cosines, N_RIVALS, axis=1)[:, :N_RIVALS]
        cosines = np.take_along_axis(cosines, found, axis=1)
        again = np.take_along_axis(found, cosines.argmax(axis=1)[:, None], axis=1)
        nearest[rows] = np.where(cosines > NO_RIVAL, found, again)
        best[rows] = cosines.max(axis=1)
    if not np.any(best > NO_RIVAL):
        raise OverheardError(too_little)
    return Rivals(track_of, starts, nearest, best)


class RivalPairs:
    """Makes degraded pairs, a share of them of moments and one of their rivals.

    Parameters
    ----------
    pairs : makes the others, and degrades
    rivals : of ``pairs.music``
    share : of a batch's pairs
    """

    def __init__(self, pairs: DegradedPairs, rivals: Rivals, share: float) -> None:
        self.pairs, self.rivals, self.share = pairs, rivals, share
        self._moments = _hardest(rivals)
        # Where in its window a segment begins on average.
        self._lead = (int(CONTEXT_S * RATE) + pairs.window - pairs.spec.segment_samples) // 2

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return segments and labels; see :mod:`overheard_train.pairs`."""
        rivals, vary = self.rivals, self.pairs.variation
        n_rivals = int(n_pairs * self.share / 2)
        drawn = draw_tracks(rng, len(self._moments), n_rivals)
        moments = np.array([rng.choice(self._moments[number]) for number in drawn], dtype=np.int64)
        partners = rivals.nearest[moments, rng.integers(N_RIVALS, size=n_rivals)]
        chosen = np.concatenate([moments, partners])
        varied = rng.random(n_rivals) < vary.resample
        factors = np.where(varied, rng.uniform(*vary.resample_range, n_rivals), 1.0)
        others = draw_tracks(rng, len(self.pairs.music), n_pairs - 2 * n_rivals)

        def views() -> Iterator[tuple[FloatArray, ...]]:
            for moment, factor in zip(chosen, np.tile(factors, 2), strict=True):
                yield self._views(rng, int(moment), float(factor))
            for track in others:
                yield self.pairs.waveforms(rng, int(track))

        tracks = np.concatenate([rivals.tracks[chosen], others]).astype(np.int32)
        return self.pairs.assemble(rng, tracks, views())

    def _views(self, rng: np.random.Generator, moment: int, factor: float) -> tuple[FloatArray, ...]:
        clip = self.pairs.music.clip(int(self.rivals.tracks[moment]))
        start = max(0, int(self.rivals.starts[moment] - self._lead * factor))
        music = self.pairs.window_at(clip, start, factor)
        return self.pairs.hear(rng, music, self.pairs.spec.segment_samples)[0]


def _hardest(rivals: Rivals) -> list[IntArray]:
    """Return, for each track, the moments whose rivals are nearest."""
    moments = np.flatnonzero(rivals.cosines > NO_RIVAL)
    of_tracks = np.split(moments, np.flatnonzero(np.diff(rivals.tracks[moments])) + 1)
    ranked = (some[np.argsort(-rivals.cosines[some], kind="stable")] for some in of_tracks)
    return [some[: max(1, int(len(some) * HARDEST))] for some in ranked]


def make(
    spec: FingerprintSpec, data: Data, split: str, seed: int, share: float = 0.5, **options: Any
) -> RivalPairs:
    """Make the maker from one split of the data; the rivals are found once by the shipped model, and kept.

    Parameters
    ----------
    options : of :func:`overheard_train.pairs.degraded.make`
    """
    pairs = degraded.make(spec, data, split, seed, **options)
    path = data.cache_path(f"rivals-{split}-{_digest(pairs)}.npz")
    if not path.exists():
        log.info("looking for rivals: some minutes, once")
        embedder = Embedder(default_model())
        found = find_rivals(pairs.music, pairs.groups, embedder.embed, embedder.spec)
        with atomic_write(path) as file:
            np.savez(file, **dataclasses.asdict(found))
    try:
        tables = read_tables(path.read_bytes())
        if tables.keys() != {field.name for field in dataclasses.fields(Rivals)}:
            raise TablesError("it holds other tables")
        rivals = Rivals(**tables)
    except (TablesError, OSError) as error:
        raise OverheardError(f"{path} is damaged ({error}): delete it, and it is made anew") from error
    return RivalPairs(pairs, rivals, share)


def _digest(pairs: DegradedPairs) -> str:
    """Return what tells these recordings, their groups and the model from others."""
    parts = (default_model().digest, *pairs.music.paths, pairs.music.starts.tobytes(), pairs.groups.tobytes())
    text = b"\n".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    return hashlib.sha256(text).hexdigest()[:16]
