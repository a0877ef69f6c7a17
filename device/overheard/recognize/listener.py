"""Recognize a stream of sound block by block: gate, front-end, embeddings, candidates, windows, plays."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Protocol

import numpy as np

from overheard.catalogue.search import Candidates, IntArray, SegmentIndex
from overheard.events import Event, Match, Status
from overheard.fingerprint.embedder import Embedder, Queries
from overheard.fingerprint.frontend import FloatArray, StreamingFrontend, slice_segments
from overheard.hear.gate import LevelGate, MusicDetector
from overheard.recognize.match import Matcher
from overheard.recognize.plays import PlayTracker, TrackRules
from overheard.recognize.stages import StageTimes
from overheard.recognize.windows import MAX_SEARCHED, SHORT_WINDOW_S, Windows, evenly_spread
from overheard.recognize.unknown import UnknownMusic
from overheard.settings import GateSettings, TrackSettings

MAX_EMBEDDED_AT_ONCE = 256  # bounds memory


@dataclasses.dataclass(frozen=True)
class Engine:
    """What turns query segments into matches; shared by all listeners, and replaced when packs change."""

    embedder: Embedder
    index: SegmentIndex
    matcher: Matcher


class Detector(Protocol):
    """A music detector, which takes the frames that the model takes."""

    probability: float  # that the last frames are music, 0-1

    def process(self, frames: FloatArray) -> bool:
        """Take the next log-mel frames, ``(n, n_mels)`` in dB; return whether music is present after them."""

    def reset(self) -> None:
        """Forget the sound so far, after a gap."""


class Listener:
    """Recognizes a stream, block by block. Times in its events are seconds since its first sample.

    Parameters
    ----------
    engine : returns embedder, index and matcher; asked at each block, so that packs can change meanwhile
    gate, track : the user's settings
    windows : those of a microphone by default
    rules : when matches become a play; those of a microphone by default
    detector : decides which sound is music; all of it without one
    unknown : gives unknown music its id; None if it is not remembered

    Attributes
    ----------
    best : the best match so far, accepted or not
    any_sound : whether the level gate has ever opened
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        gate: GateSettings | None = None,
        track: TrackSettings | None = None,
        windows: Windows | None = None,
        rules: TrackRules | None = None,
        detector: Detector | None = None,
        unknown: UnknownMusic | None = None,
    ) -> None:
        self._newest_engine = engine
        self._engine = engine()
        self._spec = self._engine.embedder.spec
        self._windows = windows or Windows()
        self._gate = LevelGate(gate or GateSettings())
        self._detector = detector or MusicDetector()
        self._frontend = StreamingFrontend(self._spec.frontend)
        self._tracker = PlayTracker(track, rules)
        self._unknown = unknown
        self._step_s = self._windows.step_frames / self._spec.frontend.frames_per_s
        self._n_window = self._segments_in(self._windows.length_s)
        self._n_hop = sys.maxsize if self._windows.single else math.ceil(self._windows.hop_s / self._step_s)
        self._n_samples = 0  # so far, lost sound included
        self._n_lost = 0
        self._is_music = False
        self._times = StageTimes()
        self.best: Match | None = None
        self.any_sound = False
        self._failed = False  # whether the last block raised an exception
        self._clear()

    def _clear(self) -> None:
        self._frontend.reset()
        self._detector.reset()
        self._is_music = False
        self._blocks: list[FloatArray] = []  # wait for the front-end
        self._frames: FloatArray = np.zeros((0, self._spec.frontend.n_mels), dtype=np.float32)
        self._queries: list[Queries] = []  # of the next window and after it, one segment each
        self._candidates: list[Candidates | None] = []  # of the same segments, where they were searched
        self._n_embedded = 0
        self._n_unmatched = 0  # segments after the last window
        self._origin_samples: int | None = None  # where the current stretch of sound began

    @property
    def now_s(self) -> float:
        """Seconds of sound so far, lost sound included."""
        return self._n_samples / self._spec.frontend.sample_rate

    def status(self) -> Status:
        """Return what the listener is doing. Any thread may call it."""
        is_open, play = self._gate.is_open, self._tracker.playing
        state = "searching" if self._is_music else "no music"
        return Status(
            state="playing" if play is not None else state if is_open else "silence",
            level_db=self._gate.level_db,
            floor_db=-math.inf,
            gate_open=is_open,
            music=self._detector.probability if is_open else 0.0,
            playing=play,
            cpu_s=dict(self._times.cpu_s),
            audio_s=self.now_s,
            lost_s=self._n_lost / self._spec.frontend.sample_rate,
            next_check_s=None,
        )

    @property
    def loudest_db(self) -> float:
        """Level of the loudest tenth of a second so far in dB of full scale."""
        return self._gate.loudest_db

    def process(self, block: FloatArray) -> list[Event]:
        """Take the next samples, ``(n,)`` float32 at the spec's sample rate; return the events they cause."""
        self._failed = True
        self._follow_engine()
        events = self._process(block)
        self._failed = False
        return events

    def _process(self, block: FloatArray) -> list[Event]:
        with self._times.of("gate"):
            is_open = self._gate.process(block)
        if not is_open:
            events = self._end_stretch()
            self._n_samples += len(block)
            return events + self._after_music(self._tracker.quiet(self.now_s))
        if self._origin_samples is None:
            self._origin_samples = self._n_samples
            self.any_sound = True
        self._n_samples += len(block)
        self._blocks.append(block)
        waiting_s = sum(map(len, self._blocks)) / self._spec.frontend.sample_rate
        return self._advance() if waiting_s >= self._windows.batch_s else []

    def _follow_engine(self) -> None:
        """Use the newest engine. The open play, which has a track and no segments, goes on."""
        engine = self._newest_engine()
        if engine is not self._engine:
            self._engine = engine
            self._candidates = [None] * len(self._candidates)  # have the old catalogue's segment numbers

    def gap(self, n_samples: int) -> list[Event]:
        """Account for lost sound: no segment reaches across it."""
        events = self._end_stretch()
        self._n_samples += n_samples
        self._n_lost += n_samples
        return events + self._tracker.gap(self.now_s)

    def finish(self) -> list[Event]:
        """End the open play, because the source has ended.

        After an exception in `process`, the last sound is not matched: the same exception again would hide
        the first.
        """
        events = [] if self._failed else self._match_rest()
        if self._unknown is not None:
            self._unknown.finish()
        return events + self._tracker.finish(self.now_s)

    def _after_music(self, events: list[Event]) -> list[Event]:
        return events if self._unknown is None else self._unknown.other(events)

    def _end_stretch(self) -> list[Event]:
        """Match what has not been matched yet, and forget the sound."""
        events = self._match_rest()
        if self._origin_samples is not None:
            self._clear()
        return events

    def _match_rest(self) -> list[Event]:
        """Match the windows that wait, and a last one that ends with the sound."""
        events = self._advance()
        return events + (self._match(self._n_unmatched) if self._n_unmatched else [])

    def _advance(self) -> list[Event]:
        """Embed the sound that waits, and match the windows that are complete."""
        events: list[Event] = []
        if self._blocks:
            self._hear()
        while len(self._frames) >= self._spec.n_frames:
            self._embed()
            if self._n_unmatched >= self._n_hop:
                self._search(self._searched_rows(len(self._queries), len(self._queries)))
            while self._n_unmatched >= self._n_hop:
                events += self._match(self._n_hop)
        return events

    def _hear(self) -> None:
        """Convert the blocks that wait to frames."""
        with self._times.of("frontend"):
            frames = self._frontend.process(np.concatenate(self._blocks))
            self._frames, self._blocks = np.concatenate([self._frames, frames]), []
        with self._times.of("detector"):
            self._is_music = self._detector.process(frames)

    def _embed(self) -> None:
        """Embed the segments that wait, but not too many at once; forget what no window needs any more."""
        step, n_frames = self._windows.step_frames, self._spec.n_frames
        n = min((len(self._frames) - n_frames) // step + 1, MAX_EMBEDDED_AT_ONCE)
        segments = slice_segments(self._frames[: (n - 1) * step + n_frames], step, self._spec)
        self._frames = self._frames[n * step :]
        with self._times.of("network"):
            queries = self._engine.embedder.query(segments)
        rows = [Queries(queries.embeddings[i : i + 1], queries.expected[i : i + 1]) for i in range(n)]
        self._n_embedded += n
        self._n_unmatched += n
        n_kept = self._n_window + max(0, self._n_unmatched - self._n_hop)
        self._queries = [*self._queries, *rows][-n_kept:]
        self._candidates = [*self._candidates, *[None] * n][-n_kept:]

    def _match(self, n_new: int) -> list[Event]:
        """Match the window that ends with the next `n_new` segments; if not accepted, its last seconds."""
        self._n_unmatched -= n_new
        n = min(len(self._queries) - self._n_unmatched, self._n_window)
        n_short = self._segments_in(SHORT_WINDOW_S)
        match = self._match_last(n)
        if n_short < n and not self._windows.single and (match is None or not match.accepted):
            short = self._match_last(n_short)
            match = short if short is not None and short.accepted else match
        if match is not None and (self.best is None or match.score > self.best.score):
            self.best = match
        events, end = self._tracker.update(match, *self._span_s(n)), len(self._queries) - self._n_unmatched
        if self._unknown is None:
            return events
        queries = Queries.join(self._queries[end - n : end])
        return self._unknown.window(events, queries, self._windows.step_frames, *self._span_s(n))

    def _match_last(self, n: int) -> Match | None:
        """Return the best match of the last `n` segments of the window."""
        end = len(self._queries) - self._n_unmatched
        rows = self._searched_rows(n, end)
        play = self._tracker.playing
        candidates = self._search(rows)
        with self._times.of("match"):
            return self._engine.matcher.match(
                Queries.join(self._queries[end - n : end]),
                candidates,
                rows - (end - n),
                self._windows.step_frames,
                *self._span_s(n),
                None if play is None else play.track.id,
                self._tracker.position_s(self._span_s(n)[0]),
            )

    def _searched_rows(self, n: int, end: int) -> IntArray:
        """Return which of `n` segments before row `end` are searched; windows that overlap share them."""
        if self._windows.single:
            return end - n + evenly_spread(n, MAX_SEARCHED)
        first = self._n_embedded - len(self._queries) + end - n  # its number since the sound began
        starts = np.arange(first - 1, first + n) * self._windows.step_frames
        return end - n + np.flatnonzero(np.diff(starts // self._windows.search_frames))

    def _search(self, rows: IntArray) -> Candidates:
        """Return the candidates of the segments in these rows; each is searched once."""
        missing = [int(row) for row in rows if self._candidates[row] is None]
        if missing:
            queries = Queries.join([self._queries[row] for row in missing])
            with self._times.of("search"):
                candidates = self._engine.index.candidates(queries.embeddings)
            for i, row in enumerate(missing):
                self._candidates[row] = candidates.rows(slice(i, i + 1))
        return Candidates.join([part for row in rows if (part := self._candidates[row]) is not None])

    def _segments_in(self, length_s: float) -> int:
        """Return how many segments a window of this length holds."""
        return max(1, int((length_s - self._spec.segment_s) / self._step_s) + 1)

    def _span_s(self, n: int) -> tuple[float, float]:
        """Return start and end of the last `n` segments of the window, in seconds of the source."""
        origin_s = (self._origin_samples or 0) / self._spec.frontend.sample_rate
        if self._windows.single:
            # Not now_s: a recording shorter than a segment is padded.
            return origin_s, min(self.now_s, origin_s + self._windows.length_s)
        last_s = origin_s + (self._n_embedded - self._n_unmatched - 1) * self._step_s
        return last_s - (n - 1) * self._step_s, last_s + self._spec.segment_s
