"""Degraded pairs of a fixed set of moments whose embeddings by the shipped model, the teacher, are cached.

A student is trained to embed a moment and its degraded views where the teacher embeds the moment. The teacher
costs more than all other work of a step, so it embeds each moment once, into a memory-mapped file. A moment's
number determines its music, with all variations; only the degradation is new each time.

Sources: Beyer et al., Knowledge Distillation: A Good Teacher Is Patient and Consistent (2106.05237), for
targets of the very same varied input; Xiong et al., ANCE (2007.00808), for the nearest as negatives.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from overheard.errors import OverheardError
from overheard.files import atomic_write
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import FloatArray, log_mel
from overheard.fingerprint.model import Model, default_model
from overheard.process import STOP_SIGNALS
from overheard_train.pairs import degraded
from overheard_train.pairs.degraded import CONTEXT_S, DegradedPairs
from overheard_train.pairs.labels import Batch, draw_tracks
from overheard_train.pairs.responses import RATE
from overheard_train.pairs.rivals import N_RIVALS, NO_RIVAL, nearest_of_others

if TYPE_CHECKING:
    from overheard.fingerprint.spec import FingerprintSpec
    from overheard_train.data import Data

log = logging.getLogger(__name__)

IntArray = npt.NDArray[np.int64]

N_MOMENTS = 65_536  # with 16,384, a student memorizes them: docs/experiments.md
AT_ONCE = 256  # moments that a process embeds before it reports
N_PROCESSES = 2


@dataclasses.dataclass(frozen=True)
class Moments:
    """A fixed set of moments of a collection, each with its own variation.

    Attributes
    ----------
    pairs : finds, varies and degrades the music
    seed : determines the moments
    tracks : (n,) track of each
    """

    pairs: DegradedPairs
    seed: int
    tracks: npt.NDArray[np.int32]

    @classmethod
    def draw(cls, pairs: DegradedPairs, seed: int, n: int) -> Moments:
        """Draw `n` moments, equally many of each track."""
        return cls(pairs, seed, draw_tracks(np.random.default_rng([seed, 31]), len(pairs.music), n))

    def window(self, number: int) -> tuple[FloatArray, int]:
        """Return a moment's window of music, ``(window_samples,)``, and its first sample in it."""
        rng = np.random.default_rng([self.seed, 32, number])
        music = self.pairs.varied_window(rng, int(self.tracks[number]))
        max_shift = int(self.pairs.degradation.max_shift_s * RATE)
        end = self.pairs.window - self.pairs.spec.segment_samples - max_shift
        return music, int(rng.integers(int(CONTEXT_S * RATE) + max_shift, end))

    def clean(self, number: int) -> FloatArray:
        """Return a moment as the catalogue holds it, ``(segment_samples,)``."""
        music, start = self.window(number)
        return music[start : start + self.pairs.spec.segment_samples]

    def key(self, model: Model) -> str:
        """Return a hash of all that determines the moments and their embeddings."""
        pairs = self.pairs
        facts = [model.digest, self.seed, pairs.spec, pairs.variation, pairs.window, *pairs.music.paths]
        facts += [pairs.degradation.max_shift_s, self.tracks.tolist()]
        digest = hashlib.sha256("\n".join(map(str, facts)).encode())
        digest.update(pairs.music.starts.tobytes() + pairs.groups.tobytes())
        return digest.hexdigest()[:16]


class TaughtPairs:
    """Make degraded pairs of moments, a share of them together with one of their rivals.

    Parameters
    ----------
    moments : to draw from
    embeddings : (n, dim) the teacher's of each moment
    rivals : (n, N_RIVALS) numbers of the nearest moments of other music
    share : of a batch's pairs that are moments or their rivals, from 0 to 1
    n_others : other moments per pair whose embeddings are negatives; up to :data:`N_RIVALS` of them, and at
        most half, are rivals of the pair's
    """

    def __init__(
        self, moments: Moments, embeddings: FloatArray, rivals: IntArray, share: float, n_others: int = 0
    ) -> None:
        self.moments, self.embeddings, self.rivals = moments, embeddings, rivals
        self.share, self.n_others = share, n_others
        order = np.argsort(moments.tracks, kind="stable")
        bounds = np.flatnonzero(np.diff(moments.tracks[order])) + 1
        self._of_track = np.split(order, bounds)

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return the segments and labels of a batch; see :mod:`overheard_train.pairs`.

        Returns
        -------
        The labels are float32 and have the teacher's columns, see :mod:`overheard_train.losses`.
        """
        n_rivals = int(n_pairs * self.share / 2)
        drawn = draw_tracks(rng, len(self._of_track), n_pairs - n_rivals)
        numbers = np.array([rng.choice(self._of_track[track]) for track in drawn], dtype=np.int64)
        partners = self.rivals[numbers[:n_rivals], rng.integers(N_RIVALS, size=n_rivals)]
        numbers = np.concatenate([numbers, partners])
        pairs = self.moments.pairs

        def views() -> Iterator[tuple[FloatArray, ...]]:
            for number in numbers:
                music, start = self.moments.window(int(number))
                yield pairs.views_at(rng, music, start, pairs.spec.segment_samples)

        segments, labels = pairs.assemble(rng, self.moments.tracks[numbers], views())
        columns = np.concatenate([self.embeddings[numbers], self._others(rng, numbers)], axis=1)
        taught = np.tile(columns, (pairs.views, 1))
        return segments, np.concatenate([labels.astype(np.float32), taught], axis=1)

    def _others(self, rng: np.random.Generator, numbers: IntArray) -> FloatArray:
        """Return group and embedding of other moments, ``(n, n_others * (1 + dim))`` float32."""
        n_near = min(self.n_others // 2, N_RIVALS)
        near = rng.permuted(self.rivals[numbers], axis=1)[:, :n_near]
        any_other = rng.integers(len(self.embeddings), size=(len(numbers), self.n_others - n_near))
        drawn = np.concatenate([near, any_other], axis=1)
        groups = self.moments.pairs.groups[self.moments.tracks[drawn]].astype(np.float32)
        others = np.concatenate([groups[..., None], self.embeddings[drawn]], axis=2)
        return others.reshape(len(numbers), -1)


def make(
    spec: FingerprintSpec,
    data: Data,
    split: str,
    seed: int,
    share: float = 0.5,
    n_others: int = 0,
    n_moments: int = N_MOMENTS,
    **options: Any,
) -> TaughtPairs:
    """Create the pair maker for one split of the data. The embeddings of the shipped model stay in the cache.

    Parameters
    ----------
    seed : determines rooms; the moments are the same for all trainings, so that these share the cache
    options : of :func:`overheard_train.pairs.degraded.make`

    Raises
    ------
    OverheardError
        The cached embeddings are damaged, or the data have too little music.
    """
    moments = Moments.draw(degraded.make(spec, data, split, seed, **options), 0, n_moments)
    base = f"teacher-{split}-{moments.key(default_model())}"
    path, rivals_path = data.cache_path(f"{base}.npy"), data.cache_path(f"{base}-rivals.npy")
    if not path.exists():
        log.info("the teacher embeds %d moments; this takes some minutes, once", n_moments)
        _save(path, embed_moments(moments))
    embeddings = _load(path, (n_moments, spec.dim), np.float32)
    if not rivals_path.exists():
        log.info("searching for the rivals of %d moments", n_moments)
        _save(rivals_path, _rivals_of(np.asarray(embeddings), moments.pairs.groups[moments.tracks]))
    return TaughtPairs(
        moments, embeddings, _load(rivals_path, (n_moments, N_RIVALS), np.int64), share, n_others
    )


def embed_moments(moments: Moments, n_processes: int = N_PROCESSES) -> FloatArray:
    """Return the shipped model's embeddings of the clean moments, ``(n, dim)`` float32.

    Raises
    ------
    OverheardError
        A process died, or the network cannot be loaded.
    """
    model = default_model()
    Embedder(model)  # an error here is one line; one in the pool's processes is a traceback of each
    n = len(moments.tracks)
    spans = [(first, min(n, first + AT_ONCE)) for first in range(0, n, AT_ONCE)]
    parts = []
    fork = multiprocessing.get_context("fork")  # shares the arrays of `moments`
    pool = ProcessPoolExecutor(n_processes, fork, _prepare, (moments, model))
    try:
        for part in pool.map(_embed_span, spans):
            parts.append(part)
            if not len(parts) % 32:
                log.info("%d of %d", min(n, len(parts) * AT_ONCE), n)
    except BrokenProcessPool as error:
        problem = "a process that embeds moments died, perhaps for lack of memory"
        raise OverheardError(problem, "free some memory, and begin again") from error
    finally:
        pool.shutdown(cancel_futures=True)
    return np.concatenate(parts)


_worker: tuple[Moments, Embedder] | None = None  # of a process of the pool


def _prepare(moments: Moments, model: Model) -> None:
    for (
        number
    ) in STOP_SIGNALS:  # a terminal sends them to all processes of the group; the parent ends the pool
        signal.signal(number, signal.SIG_IGN)
    global _worker  # a pool has no other place for what its processes keep
    _worker = moments, Embedder(model)


def _embed_span(span: tuple[int, int]) -> FloatArray:
    if _worker is None:
        raise RuntimeError("the process was not prepared")
    moments, embedder = _worker
    frontend = moments.pairs.spec.frontend
    return embedder.embed(np.stack([log_mel(moments.clean(number), frontend) for number in range(*span)]))


def _rivals_of(embeddings: FloatArray, groups: npt.NDArray[np.int32]) -> IntArray:
    if len(embeddings) > N_RIVALS:
        nearest, cosines = nearest_of_others(embeddings, groups)
        if np.any(cosines > NO_RIVAL):
            return nearest
    raise OverheardError("there is too little music to find rivals in", "add more with --data music=FOLDER")


def _save(path: Path, table: npt.NDArray[Any]) -> None:
    with atomic_write(path) as file:
        np.save(file, table, allow_pickle=False)


def _load(path: Path, shape: tuple[int, int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Map a cached table. Raises OverheardError if it is damaged."""
    try:
        table: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        if table.shape != shape or table.dtype != dtype:
            raise ValueError(f"its shape is {table.shape}")
    except (OSError, ValueError, EOFError) as error:
        remedy = "delete it; the next training makes it again"
        raise OverheardError(f"{path} is damaged ({error})", remedy) from error
    return table
