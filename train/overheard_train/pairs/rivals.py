"""Degraded pairs, half of them of moments that the shipped model confuses most easily: rivals.

Few moments of a random batch are similar, but most false positives are. Source: Xiong et al., ANCE
(2007.00808), which takes the nearest of the entire collection as negatives.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from overheard.errors import OverheardError
from overheard.files import atomic_write
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.fingerprint.tables import TablesError, read_tables
from overheard.hear.resampler import to_float
from overheard_train.evaluate import Embed, embed_tracks
from overheard_train.pairs import degraded
from overheard_train.pairs.degraded import CONTEXT_S, SILENT_RMS, DegradedPairs
from overheard_train.pairs.labels import Batch, draw_tracks
from overheard_train.pairs.responses import RATE
from overheard_train.pairs.waveforms import rms, window_at

if TYPE_CHECKING:
    from overheard.fingerprint.spec import FingerprintSpec
    from overheard_train.data import Clips, Data

log = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]

HOP_FRAMES = 32  # between moments: one second
MAX_HOURS = 60.0  # of music to search; tracks are drawn from larger collections
N_RIVALS = 4  # nearest moments to keep for each moment; one of them is drawn
MAX_COSINE = 0.85  # nearer moments can be unlisted copies of the same recording
HARDEST = 0.5  # share of a track's moments to draw from: those with the nearest rivals
COMPARED_AT_ONCE = 2**25  # pairs of moments: 128 MB of cosines
NO_RIVAL = -1.0  # the cosine of a moment without rivals


@dataclasses.dataclass(frozen=True)
class Rivals:
    """The moments of a collection, and the nearest moments of other music for each.

    Attributes
    ----------
    tracks, starts : (n,) track and first sample of each moment
    nearest : (n, N_RIVALS) numbers of moments; the nearest one repeats if there are fewer
    cosines : (n,) similarity to the nearest, NO_RIVAL if there is none
    """

    tracks: IntArray
    starts: IntArray
    nearest: IntArray
    cosines: FloatArray

    def hardest(self) -> list[IntArray]:
        """Return, for each track that has rivals, its moments with the nearest rivals, nearest first."""
        moments = np.flatnonzero(self.cosines > NO_RIVAL)
        by_track = np.split(moments, np.flatnonzero(np.diff(self.tracks[moments])) + 1)
        ranked = (some[np.argsort(-self.cosines[some], kind="stable")] for some in by_track)
        return [some[: max(1, int(len(some) * HARDEST))] for some in ranked]


def find_rivals(clips: Clips, groups: npt.NDArray[np.int32], embed: Embed, spec: FingerprintSpec) -> Rivals:
    """Find the rivals of each moment.

    Parameters
    ----------
    groups : (n_clips,), equal for tracks that share music, which are not rivals
    embed : from log-mel segments of ``spec`` to embeddings

    Raises
    ------
    OverheardError
        The collection has too few moments, or all are of the same music.
    """
    vectors, track_of = embed_tracks(embed, spec, clips, HOP_FRAMES, hours=MAX_HOURS)
    hop = HOP_FRAMES * spec.frontend.hop_length
    starts = (np.arange(len(vectors)) - np.searchsorted(track_of, track_of)) * hop
    loud = [
        rms(to_float(clips.clip(track)[start : start + hop])) > SILENT_RMS
        for track, start in zip(track_of, starts, strict=True)
    ]
    vectors, track_of, starts = vectors[loud], track_of[loud], starts[loud]
    if len(vectors) > N_RIVALS:
        nearest, cosines = nearest_of_others(vectors, groups[track_of])
        if np.any(cosines > NO_RIVAL):
            return Rivals(track_of, starts, nearest, cosines)
    raise OverheardError("there is too little music to find rivals in", "add more with --data music=FOLDER")


def nearest_of_others(vectors: FloatArray, group_of: npt.NDArray[np.int32]) -> tuple[IntArray, FloatArray]:
    """Return the nearest vectors of other groups ``(n, N_RIVALS)``, and the best cosine of each ``(n,)``."""
    nearest = np.empty((len(vectors), N_RIVALS), dtype=np.int64)
    best = np.empty(len(vectors), dtype=np.float32)
    n_rows = max(1, COMPARED_AT_ONCE // len(vectors))
    for first in range(0, len(vectors), n_rows):
        rows = slice(first, first + n_rows)
        cosines = vectors[rows] @ vectors.T
        cosines[(group_of[rows, None] == group_of) | (cosines > MAX_COSINE)] = NO_RIVAL
        candidates = np.argpartition(-cosines, N_RIVALS, axis=1)[:, :N_RIVALS]
        cosines = np.take_along_axis(cosines, candidates, axis=1)
        first_choice = np.take_along_axis(candidates, cosines.argmax(axis=1)[:, None], axis=1)
        nearest[rows] = np.where(cosines > NO_RIVAL, candidates, first_choice)
        best[rows] = cosines.max(axis=1)
    return nearest, best


class RivalPairs:
    """Make degraded pairs, a share of which are moments together with one of their rivals.

    Parameters
    ----------
    pairs : makes the other pairs, and degrades all of them
    rivals : of ``pairs.music``
    share : of a batch's pairs that are moments or their rivals, from 0 to 1
    """

    def __init__(self, pairs: DegradedPairs, rivals: Rivals, share: float) -> None:
        self.pairs, self.rivals, self.share = pairs, rivals, share
        self._moments = rivals.hardest()
        # The mean position of a segment in its window, in samples.
        self._lead = (int(CONTEXT_S * RATE) + pairs.window - pairs.spec.segment_samples) // 2

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return the segments and labels of a batch; see :mod:`overheard_train.pairs`."""
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
                yield self.waveforms(rng, int(moment), float(factor))
            for track in others:
                yield self.pairs.waveforms(rng, int(track))

        tracks = np.concatenate([rivals.tracks[chosen], others]).astype(np.int32)
        return self.pairs.assemble(rng, tracks, views())

    def waveforms(self, rng: np.random.Generator, moment: int, factor: float) -> tuple[FloatArray, ...]:
        """Return a moment at a given speed: one clean waveform and the degraded ones.

        Parameters
        ----------
        moment : its number in ``rivals``
        factor : speed; 1 is the original

        Returns
        -------
        Each is ``(segment_samples,)`` float32.
        """
        clip = self.pairs.music.clip(int(self.rivals.tracks[moment]))
        start = max(0, int(self.rivals.starts[moment] - self._lead * factor))
        music = window_at(clip, start, factor, self.pairs.window)
        return self.pairs.views_of(rng, music, self.pairs.spec.segment_samples)[0]


def make(
    spec: FingerprintSpec, data: Data, split: str, seed: int, share: float = 0.5, **options: Any
) -> RivalPairs:
    """Create the pair maker for one split of the data.

    The shipped model finds the rivals once; they stay in the cache.

    Parameters
    ----------
    options : of :func:`overheard_train.pairs.degraded.make`

    Raises
    ------
    OverheardError
        The cached rivals are damaged, or the data have too little music.
    """
    pairs = degraded.make(spec, data, split, seed, **options)
    path = data.cache_path(f"rivals-{split}-{_cache_key(pairs)}.npz")
    if not path.exists():
        log.info("searching for rivals; this takes some minutes, once")
        embedder = Embedder(default_model())
        rivals = find_rivals(pairs.music, pairs.groups, embedder.embed, embedder.spec)
        with atomic_write(path) as file:
            np.savez(file, **dataclasses.asdict(rivals))
    return RivalPairs(pairs, _load_rivals(path), share)


def _load_rivals(path: Path) -> Rivals:
    try:
        tables = read_tables(path.read_bytes())
        if tables.keys() != {field.name for field in dataclasses.fields(Rivals)}:
            raise TablesError("it holds other tables")
    except (TablesError, OSError) as error:
        remedy = "delete it; the next training finds the rivals again"
        raise OverheardError(f"{path} is damaged ({error})", remedy) from error
    return Rivals(**tables)


def _cache_key(pairs: DegradedPairs) -> str:
    """Return a hash of the recordings, their groups and the model."""
    digest = hashlib.sha256("\n".join([default_model().digest, *pairs.music.paths, ""]).encode())
    digest.update(pairs.music.starts.tobytes() + b"\n" + pairs.groups.tobytes())
    return digest.hexdigest()[:16]
