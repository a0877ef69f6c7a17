"""Hold the log-mel frames of a stretch of sound without gaps; embed and search each segment at most once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from overheard.catalogue.search import Candidates, IntArray
from overheard.fingerprint.embedder import Queries
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.spec import FingerprintSpec
from overheard.recognize.matching.alignments import Window
from overheard.recognize.matching.engine import Engine
from overheard.recognize.speed.warp import NORMAL, Speed, corrected
from overheard.recognize.stages import StageTimes

MAX_EMBEDDED_AT_ONCE = 256  # bounds memory


class _Frames:
    """Log-mel frames ``(n, n_mels)`` in dB; the number of the first one that is kept is `first`."""

    def __init__(self, n_mels: int) -> None:
        self.kept: FloatArray = np.zeros((0, n_mels), dtype=np.float32)
        self.first = 0

    def add(self, frames: FloatArray) -> None:
        self.kept = np.concatenate([self.kept, frames])

    def forget_before(self, number: int) -> None:
        if number > self.first:
            self.kept = self.kept[number - self.first :]
            self.first = number


class Stretch:
    """Sound without gaps. A segment's number is that of its first frame, counted from the stretch's start.

    Parameters
    ----------
    spec : parameters of the fingerprints
    times : counts the processor time of network and search
    origin_s : where it begins, in seconds of the music's clock
    """

    def __init__(self, spec: FingerprintSpec, times: StageTimes, origin_s: float = 0.0) -> None:
        self._spec, self._times, self.origin_s = spec, times, origin_s
        self.speed = NORMAL
        self._frames = _Frames(spec.frontend.n_mels)
        self._queries: dict[int, Queries] = {}
        self._candidates: dict[int, Candidates] = {}

    def at(self, speed: Speed, frame: float) -> Stretch:
        """Return a view of the same sound that is corrected for a speed; both share their frames.

        Parameters
        ----------
        speed : of the music
        frame : of the sound, at the same second of the music's clock in both
        """
        other = Stretch(self._spec, self._times, self.origin_s)
        shift = frame * (self.speed.tempo - speed.tempo)
        other.origin_s += shift / self._spec.frontend.frames_per_s
        other.speed, other._frames = speed, self._frames
        return other

    def second_of(self, frame: float) -> float:
        """Return when a frame of the sound begins, in seconds of the music's clock."""
        return self.origin_s + frame * self.speed.tempo / self._spec.frontend.frames_per_s

    def last_frame(self, start: int) -> float:
        """Return the number of the last frame of a segment, in frames of the uncorrected sound."""
        return (start + self._spec.n_frames - 1) / self.speed.tempo

    def start_at(self, frame: float) -> int:
        """Return the last segment that ends at or before a frame of the uncorrected sound."""
        return math.floor(frame * self.speed.tempo + 1e-6) - self._spec.n_frames + 1

    @property
    def first_start(self) -> int:
        """First segment whose frames are kept."""
        return math.ceil(self._frames.first * self.speed.tempo - 1e-6)

    @property
    def last_start(self) -> int:
        """Last segment that is complete; negative if there is none."""
        return self.start_at(self._frames.first + len(self._frames.kept) - 1)

    @property
    def searched(self) -> list[int]:
        """The segments that have been searched, in order."""
        return sorted(self._candidates)

    def at_s(self, frame: int) -> float:
        """Return when a frame begins, in seconds of the music's clock."""
        return self.origin_s + frame / self._spec.frontend.frames_per_s

    def add(self, frames: FloatArray) -> None:
        """Add the next frames ``(n, n_mels)``."""
        self._frames.add(frames)

    def forget_before(self, start: int) -> None:
        """Forget the segments before this one."""
        if start <= self.first_start:
            return
        self._frames.forget_before(math.floor(start / self.speed.tempo + 1e-6))
        self._queries = {number: each for number, each in self._queries.items() if number >= start}
        self._candidates = {number: each for number, each in self._candidates.items() if number >= start}

    def forget_candidates(self) -> None:
        """Forget the results of searches, because another catalogue is searched from now on."""
        self._candidates = {}

    def embed(self, starts: Sequence[int] | IntArray, engine: Engine) -> Queries:
        """Return the queries of segments ``(n,)``, whose frames must be in memory; each is embedded once."""
        wanted = [int(start) for start in starts]
        missing = sorted({start for start in wanted if start not in self._queries})
        for first in range(0, len(missing), MAX_EMBEDDED_AT_ONCE):
            some = missing[first : first + MAX_EMBEDDED_AT_ONCE]
            with self._times.of("network"):
                queries = engine.embedder.query(self._segments(np.array(some)))
            for i, start in enumerate(some):
                self._queries[start] = queries.rows(slice(i, i + 1))
        return Queries.join([self._queries[start] for start in wanted])

    def _segments(self, starts: IntArray) -> FloatArray:
        """Return segments, ``(n, n_frames, n_mels)`` in dB."""
        numbers = starts[:, None] + np.arange(self._spec.n_frames)
        if self.speed == NORMAL:
            segments: FloatArray = self._frames.kept[numbers - self._frames.first]
            return segments
        positions = numbers / self.speed.tempo - self._frames.first
        return corrected(self._frames.kept, positions, self.speed.pitch, self._spec.frontend)

    def search(self, starts: Sequence[int] | IntArray, engine: Engine, share: float = 1.0) -> Candidates:
        """Return the candidates of segments ``(n,)``, each searched once. For `share`, see `SegmentIndex`."""
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
