"""Keep the frames of sound without a gap, and embed and search its segments, each at most once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overheard.catalogue.search import Candidates, IntArray
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.alignments import Window
from overheard.recognize.engine import Engine
from overheard.recognize.stages import StageTimes

MAX_EMBEDDED_AT_ONCE = 256  # bounds memory


class Stretch:
    """Sound without a gap. A segment's number is that of its first frame, counted from the stretch's start.

    Parameters
    ----------
    spec : parameters of the fingerprints
    times : counts the processor time of network and search
    origin_s : where it begins, in seconds of the source
    """

    def __init__(self, spec: FingerprintSpec, times: StageTimes, origin_s: float = 0.0) -> None:
        self._spec, self._times, self.origin_s = spec, times, origin_s
        self._frames: FloatArray = np.zeros((0, spec.frontend.n_mels), dtype=np.float32)
        self._first_frame = 0  # of those that are kept
        self._queries: dict[int, Queries] = {}
        self._candidates: dict[int, Candidates] = {}

    @property
    def first_start(self) -> int:
        """First segment whose frames are kept."""
        return self._first_frame

    @property
    def last_start(self) -> int:
        """Last segment that is complete; negative if there is none."""
        return self._first_frame + len(self._frames) - self._spec.n_frames

    @property
    def searched(self) -> list[int]:
        """The segments that have been searched, in order."""
        return sorted(self._candidates)

    def at_s(self, frame: int) -> float:
        """Return when a frame begins, in seconds of the source."""
        return self.origin_s + frame / self._spec.frontend.frames_per_s

    def add(self, frames: FloatArray) -> None:
        """Add the next frames ``(n, n_mels)``."""
        self._frames = np.concatenate([self._frames, frames])

    def forget_before(self, start: int) -> None:
        """Forget the segments before this one."""
        if start <= self._first_frame:
            return
        self._frames = self._frames[start - self._first_frame :]
        self._first_frame = start
        self._queries = {number: each for number, each in self._queries.items() if number >= start}
        self._candidates = {number: each for number, each in self._candidates.items() if number >= start}

    def forget_candidates(self) -> None:
        """Forget the results of searches, because another catalogue is searched from now on."""
        self._candidates = {}

    def embed(self, starts: Sequence[int] | IntArray, engine: Engine) -> Queries:
        """Return the queries of segments whose frames are kept; each is embedded once."""
        wanted = [int(start) for start in starts]
        missing = sorted({start for start in wanted if start not in self._queries})
        for first in range(0, len(missing), MAX_EMBEDDED_AT_ONCE):
            some = missing[first : first + MAX_EMBEDDED_AT_ONCE]
            with self._times.of("network"):
                rows = np.array(some)[:, None] - self._first_frame + np.arange(self._spec.n_frames)
                queries = engine.embedder.query(self._frames[rows])
            for i, start in enumerate(some):
                self._queries[start] = queries.rows(slice(i, i + 1))
        return Queries.join([self._queries[start] for start in wanted])

    def search(self, starts: Sequence[int] | IntArray, engine: Engine, share: float = 1.0) -> Candidates:
        """Return the candidates of segments; each is searched once, see `SegmentIndex` for the share."""
        wanted = [int(start) for start in starts]
        missing = sorted({start for start in wanted if start not in self._candidates})
        if missing:
            queries = self.embed(missing, engine)
            with self._times.of("search"):
                candidates = engine.index.candidates(queries.embeddings, share=share)
            for i, start in enumerate(missing):
                self._candidates[start] = candidates.rows(slice(i, i + 1))
        return Candidates.join([self._candidates[start] for start in wanted])

    def window(self, starts: IntArray, searched: IntArray, engine: Engine, share: float = 1.0) -> Window:
        """Return a window that begins with the first of some segments and ends with the last.

        Parameters
        ----------
        starts : (n,) int64, increasing; its segments
        searched : (m,) int64, rows of those that are searched
        share : see :meth:`search`
        """
        queries = self.embed(starts, engine)
        candidates = self.search(starts[searched], engine, share)
        return Window(queries, starts - starts[0], candidates, searched, int(starts[-1] - starts[0]))
