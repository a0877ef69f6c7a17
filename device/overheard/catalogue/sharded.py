"""Search a catalogue whose packs are spread over the workers of executors, with the result of one catalogue.

Each shard holds some of the packs. Their short lists are merged before candidates are chosen, and vectors are
compared with the queries here, so that nothing depends on how the packs are divided.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from overheard.catalogue.decoded import DecodedSegments
from overheard.catalogue.scan import best_rows, top
from overheard.catalogue.search import (
    N_CANDIDATES,
    N_DECODED,
    SHORT_LIST,
    Candidates,
    IntArray,
    SegmentIndex,
    ShortLists,
)
from overheard.catalogue.search_plan import Plan, Planner
from overheard.events import Track
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.quantizer import Quantizer

N_CACHED_SEGMENTS = 8192  # 3 MB of vectors; overlapping windows need mostly the same segments
MAX_CACHED_TRACKS = 1024


class PartialIndex(SegmentIndex, Protocol):
    """A catalogue that can be a part of another one."""

    def short_lists(
        self, queries: FloatArray, without: Collection[int] = (), plan: Plan | None = None
    ) -> ShortLists:
        """Return the segments from which candidates are chosen, by the plan of the whole."""

    def list_sizes(self) -> IntArray:
        """Return how many segments each list has."""


class Shard:
    """Some of the packs, in the workers of an executor.

    Parameters
    ----------
    executor : where they are
    open_index : called in a worker for each question, so it opens the packs once; picklable
    wait : returns the result of a future, ``Future.result`` by default

    Attributes
    ----------
    first_segment : (n_tracks + 1,) int64, as of SegmentIndex, from 0
    list_sizes : (n_lists,) int64
    """

    def __init__(
        self,
        executor: Executor,
        open_index: Callable[[], PartialIndex],
        wait: Callable[[Future[Any]], Any] = Future.result,
    ) -> None:
        self._executor, self._open_index, self.wait = executor, open_index, wait
        facts: tuple[IntArray, IntArray] = self.wait(executor.submit(_facts, open_index))
        self.first_segment, self.list_sizes = facts

    def short_lists(self, queries: FloatArray, without: Collection[int], plan: Plan) -> Future[ShortLists]:
        """Ask for the short lists, in the shard's own numbers."""
        return self._executor.submit(_short_lists, self._open_index, queries, tuple(without), plan)

    def decode(self, segments: IntArray) -> Future[tuple[FloatArray, FloatArray]]:
        """Ask for vectors ``(n, dim)`` and hubness penalties ``(n,)`` of segments of this shard."""
        return self._executor.submit(_decode, self._open_index, segments)

    def track(self, number: int) -> Track:
        """Return a track of this shard."""
        track: Track = self.wait(self._executor.submit(_track, self._open_index, number))
        return track


def _facts(open_index: Callable[[], PartialIndex]) -> tuple[IntArray, IntArray]:
    index = open_index()
    return index.first_segment, index.list_sizes()


def _short_lists(
    open_index: Callable[[], PartialIndex], queries: FloatArray, without: tuple[int, ...], plan: Plan
) -> ShortLists:
    return open_index().short_lists(queries, without, plan)


def _decode(open_index: Callable[[], PartialIndex], segments: IntArray) -> tuple[FloatArray, FloatArray]:
    index = open_index()
    vectors = index.vectors(segments)
    nothing = np.zeros((1, vectors.shape[1]), dtype=np.float32)
    return vectors, -index.similarities(nothing, segments)[0]


def _track(open_index: Callable[[], PartialIndex], number: int) -> Track:
    return open_index().track(number)


class ShardedIndex(DecodedSegments):
    """A :class:`SegmentIndex` over shards: one catalogue of all packs, in the order of the shards.

    Parameters
    ----------
    shards : at least one
    quantizer : of the model that made the packs
    """

    def __init__(self, shards: Sequence[Shard], quantizer: Quantizer) -> None:
        super().__init__(quantizer.dim, N_CACHED_SEGMENTS)
        self._shards, self._dim = tuple(shards), quantizer.dim
        sizes = np.sum([shard.list_sizes for shard in shards], axis=0)
        self._planner = Planner.of_lists(quantizer, sizes)  # so that shards search as deep as the whole
        lengths = [np.diff(shard.first_segment) for shard in shards]
        self.first_segment: IntArray = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        self._track_bounds = np.cumsum([0, *map(len, lengths)])
        self._segment_bounds: IntArray = self.first_segment[self._track_bounds]
        self._tracks: dict[int, Track] = {}

    def track(self, number: int) -> Track:
        """Return a track by its number in the catalogue."""
        if number not in self._tracks:
            if len(self._tracks) >= MAX_CACHED_TRACKS:
                self._tracks.clear()
            which = int(np.searchsorted(self._track_bounds, number, side="right")) - 1
            self._tracks[number] = self._shards[which].track(number - int(self._track_bounds[which]))
        return self._tracks[number]

    def candidates(
        self, queries: FloatArray, without: Collection[int] = (), share: float = 1.0
    ) -> Candidates:
        """Propose segments for queries ``(n, dim)``, excluding the tracks with the numbers in `without`.

        `share` is how much of what a search usually visits in a large catalogue is visited.
        """
        asked, plan = [], self._planner.plan(queries, share)
        for which, shard in enumerate(self._shards):
            start, end = (int(bound) for bound in self._track_bounds[which : which + 2])
            own = [number - start for number in without if start <= number < end]
            asked.append(shard.short_lists(queries, own, plan))
        parts = []
        for which, (shard, future) in enumerate(zip(self._shards, asked, strict=True)):
            part: ShortLists = shard.wait(future)
            segments = np.where(part.segments >= 0, part.segments + self._segment_bounds[which], -1)
            parts.append(dataclasses.replace(part, segments=segments))
        return choose(parts, SHORT_LIST if plan.is_small else N_DECODED)

    def _decode(self, segments: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return vectors and hubness penalties; all shards are asked at once."""
        vectors = np.empty((len(segments), self._dim), dtype=np.float32)
        penalties = np.empty(len(segments), dtype=np.float32)
        asked = [(chosen, shard, shard.decode(own)) for shard, chosen, own in self._by_shard(segments)]
        for chosen, shard, future in asked:
            vectors[chosen], penalties[chosen] = shard.wait(future)
        return vectors, penalties

    def _by_shard(self, segments: IntArray) -> Iterator[tuple[Shard, npt.NDArray[np.bool_], IntArray]]:
        """Yield each shard with some of the segments, their mask, and their numbers in it."""
        shards = np.searchsorted(self._segment_bounds, segments, side="right") - 1
        for which in np.unique(shards):
            chosen = shards == which
            yield self._shards[which], chosen, segments[chosen] - self._segment_bounds[which]


def choose(parts: Sequence[ShortLists], n_listed: int) -> Candidates:
    """Return the candidates among the short lists of all parts of a catalogue, as those of the whole.

    The whole would have lists of `n_listed` segments.
    """
    segments = np.concatenate([part.segments for part in parts], axis=1)
    rough = np.concatenate([part.rough for part in parts], axis=1)
    refined = np.concatenate([part.similarities for part in parts], axis=1)
    chosen = np.full((len(segments), N_CANDIDATES), -1, dtype=np.int64)
    similarities = np.zeros((len(segments), N_CANDIDATES), dtype=np.float32)
    for row, numbers in enumerate(segments):
        listed = np.flatnonzero(numbers >= 0)
        listed = listed[best_rows(numbers[listed], rough[row, listed], n_listed)]
        best, scores = top(numbers[listed], refined[row, listed], N_CANDIDATES)
        chosen[row, : len(best)], similarities[row, : len(best)] = best, scores
    return Candidates(chosen, similarities, parts[0].cohort)
