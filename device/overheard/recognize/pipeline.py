"""The main path: waveform -> gate -> front-end -> embeddings -> candidates -> match -> plays.

Microphone, file, benchmark and test all go through it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from overheard.catalogue.pack import Pack
from overheard.catalogue.search import Candidates, Catalogue, IntArray, SegmentIndex
from overheard.events import Event, Match, Play, PlayEnded
from overheard.fingerprint.embedder import Embedder, Queries, query_waveform
from overheard.fingerprint.frontend import FloatArray, StreamingFrontend, slice_segments
from overheard.fingerprint.model import Model
from overheard.hear.gate import LevelGate, MusicDetector
from overheard.recognize.match import Matcher
from overheard.recognize.plays import PlayTracker, TrackRules
from overheard.recognize.scoring import Scoring
from overheard.settings import GateSettings, TrackSettings

CLIP_STEP_FRAMES = (
    4  # short recordings are embedded finely, so that some embedding lies on the catalogue's grid
)
LISTEN_STEP_FRAMES = 16  # half a second
LONG_S = 30.0  # recordings longer than this take the listening step
WINDOW_S = 10.0  # a match looks back this far
CLIP_S = WINDOW_S + TrackRules.confirm_s  # matched as one window: it holds no two that could confirm a play
WINDOW_STEP_S = 1.0
SHORT_WINDOW_S = 4.0  # matched by itself where the whole window is not: music may just have begun
MAX_CANDIDATE_ROWS = 24  # embeddings of a window that are searched; all are used to score what is found


@dataclasses.dataclass(frozen=True)
class Identification:
    """What is in a recording.

    Attributes
    ----------
    verdict : "recognized", "unknown" or "silence"
    best : the best match over the recording, accepted or not; None for silence, or where nothing lines up
    """

    verdict: str
    duration_s: float
    plays: tuple[Play, ...]
    best: Match | None


class Recognizer:
    """A model and the catalogue.

    Parameters
    ----------
    model : the network, its quantizer and scoring
    packs : opened packs made with this model
    index : searched in place of the packs, as by a benchmark
    runtime : distribution name of the TensorFlow Lite runtime, the preferred one where None
    """

    def __init__(
        self,
        model: Model,
        packs: Sequence[Pack],
        gate: GateSettings | None = None,
        track: TrackSettings | None = None,
        index: SegmentIndex | None = None,
        runtime: str | None = None,
    ) -> None:
        self.clip_step_frames = CLIP_STEP_FRAMES
        self.model, self.spec = model, model.spec
        self.gate_settings, self.track_settings = gate or GateSettings(), track or TrackSettings()
        self.embedder = Embedder(model, runtime=runtime)
        self.index: SegmentIndex = index or Catalogue(packs, model.quantizer, model.cohort)
        # Where packs are mixed, compact ones take the stricter scoring of the others.
        compact = bool(packs) and max(pack.codes.shape[1] for pack in packs) < model.quantizer.code_bytes
        self.matcher = Matcher(self.index, self.spec, Scoring.from_manifest(model.manifest, compact))

    def identify(self, waveform: FloatArray) -> Identification:
        """Name what is in a recording, ``(n,)`` float32 at the spec's sample rate, from 2 s to hours."""
        duration_s = len(waveform) / self.spec.frontend.sample_rate
        if not LevelGate(self.gate_settings).process(waveform):
            return Identification("silence", duration_s, (), None)
        if duration_s <= LONG_S:
            return self._identify_clip(waveform, duration_s)
        return self._identify_long(waveform, duration_s)

    def listener(self) -> Listener:
        """Return a listener with a clock of its own."""
        return Listener(self)

    def match_window(self, waveform: FloatArray, start_s: float = 0.0) -> Match | None:
        """Return the best match of one window of sound."""
        queries, found, rows = self.window_candidates(waveform)
        end_s = start_s + len(waveform) / self.spec.frontend.sample_rate
        return self.matcher.match(queries, found, rows, self.clip_step_frames, start_s, end_s)

    def window_candidates(
        self, waveform: FloatArray, without: Collection[int] = ()
    ) -> tuple[Queries, Candidates, IntArray]:
        """Return a window's queries, ``clip_step_frames`` apart, and candidates for some rows of them.

        Parameters
        ----------
        without : tracks that are passed over, as if they were not in the catalogue
        """
        queries = query_waveform(self.embedder, waveform, self.clip_step_frames)
        rows = candidate_rows(len(queries.expected))
        return queries, self.index.candidates(queries.embeddings[rows], without), rows

    def _identify_clip(self, waveform: FloatArray, duration_s: float) -> Identification:
        if duration_s <= CLIP_S:
            match = self.match_window(waveform)
            plays = (play_of(match),) if match is not None and match.accepted else ()
            return Identification("recognized" if plays else "unknown", duration_s, plays, match)
        rate = self.spec.frontend.sample_rate
        tracker = PlayTracker(self.track_settings)
        events: list[Event] = []
        matches = []
        last_s = duration_s - WINDOW_S
        for start_s in (*np.arange(0.0, last_s, WINDOW_STEP_S), last_s):
            begin = int(start_s * rate)
            match = self.match_window(waveform[begin : begin + int(WINDOW_S * rate)], float(start_s))
            matches.append(match)
            events += tracker.update(match, float(start_s), float(start_s) + WINDOW_S)
        events += tracker.finish(duration_s)
        return _identification(duration_s, events, matches)

    def _identify_long(self, waveform: FloatArray, duration_s: float) -> Identification:
        listener = self.listener()
        events: list[Event] = []
        block = int(WINDOW_STEP_S * self.spec.frontend.sample_rate)
        for start in range(0, len(waveform), block):
            events += listener.process(waveform[start : start + block])
        events += listener.finish()
        return _identification(duration_s, events, [listener.best])


def _identification(
    duration_s: float, events: Sequence[Event], matches: Sequence[Match | None]
) -> Identification:
    plays = tuple(event.play for event in events if isinstance(event, PlayEnded))
    best = max((m for m in matches if m is not None), key=lambda m: m.score, default=None)
    return Identification("recognized" if plays else "unknown", duration_s, plays, best)


def candidate_rows(n_embeddings: int) -> IntArray:
    """Return which embeddings of a window are searched, evenly spread."""
    n_rows = min(n_embeddings, MAX_CANDIDATE_ROWS)
    return np.unique(np.rint(np.linspace(0, n_embeddings - 1, n_rows)).astype(np.int64))


def play_of(match: Match) -> Play:
    """Return a play that is just this match's window."""
    return Play(
        match.track, match.start_s, match.end_s, max(0.0, match.offset_s), match.score, match.confidence
    )


class Listener:
    """Recognizes a stream, block by block. Times in its events are seconds since its first sample."""

    def __init__(self, recognizer: Recognizer) -> None:
        self._recognizer = recognizer
        self._spec = recognizer.spec
        self._gate = LevelGate(recognizer.gate_settings)
        self._detector = MusicDetector()
        self._frontend = StreamingFrontend(self._spec.frontend)
        self._tracker = PlayTracker(recognizer.track_settings)
        self._n_samples = 0  # heard so far, on the source's clock
        self.best: Match | None = None
        self._window = self._segments_in(WINDOW_S)
        self._clear()

    def _clear(self) -> None:
        self._frontend.reset()
        self._frames: FloatArray = np.zeros((0, self._spec.frontend.n_mels), dtype=np.float32)
        self._queries: list[Queries] = []
        self._candidates: list[Candidates] = []
        self._since_match = 0
        self._end_s = 0.0  # of the newest embedding's segment
        self._origin_samples = -1  # where the stretch of sound began; -1 in silence

    @property
    def now_s(self) -> float:
        """Seconds of audio taken so far, lost audio included."""
        return self._n_samples / self._spec.frontend.sample_rate

    def process(self, block: FloatArray) -> list[Event]:
        """Take the next ``(n,)`` float32 samples at the spec's sample rate; return what they make known."""
        is_open = self._gate.process(block) and self._detector.process(block)
        if not is_open:
            self._n_samples += len(block)
            return self._quiet()
        if self._origin_samples < 0:
            self._origin_samples = self._n_samples
            self._embedded = 0
        self._n_samples += len(block)
        self._frames = np.concatenate([self._frames, self._frontend.process(block)])
        events: list[Event] = []
        while len(self._frames) >= self._spec.n_frames:
            events += self._embed_next()
        return events

    def gap(self, n_samples: int) -> list[Event]:
        """Take note of lost audio: no segment reaches across it."""
        events = self._match_rest()
        self._n_samples += n_samples
        self._clear()
        return events + self._tracker.gap(self.now_s)

    def finish(self) -> list[Event]:
        """End the open play: the source is over."""
        events = self._match_rest()
        return events + self._tracker.finish(self.now_s)

    def _quiet(self) -> list[Event]:
        events: list[Event] = []
        if self._origin_samples >= 0:
            events = self._match_rest()
            self._clear()
        return events + self._tracker.quiet(self.now_s)

    def _embed_next(self) -> list[Event]:
        recognizer = self._recognizer
        segment = slice_segments(self._frames[: self._spec.n_frames], 1, self._spec)
        self._frames = self._frames[LISTEN_STEP_FRAMES:]
        query = recognizer.embedder.query(segment)
        self._queries = [*self._queries, query][-self._window :]
        found = recognizer.index.candidates(query.embeddings)
        self._candidates = [*self._candidates, found][-self._window :]
        start = self._origin_samples + self._embedded * LISTEN_STEP_FRAMES * self._spec.frontend.hop_length
        self._end_s = (start + self._spec.segment_samples) / self._spec.frontend.sample_rate
        self._embedded += 1
        self._since_match += 1
        step_s = LISTEN_STEP_FRAMES / self._spec.frontend.frames_per_s
        return self._match() if self._since_match * step_s >= WINDOW_STEP_S else []

    def _match_rest(self) -> list[Event]:
        return self._match() if self._since_match else []

    def _match(self) -> list[Event]:
        self._since_match = 0
        match = self._match_last(len(self._queries))
        n_short = self._segments_in(SHORT_WINDOW_S)
        if n_short < len(self._queries) and (match is None or not match.accepted):
            short = self._match_last(n_short)
            match = short if short is not None and short.accepted else match
        if match is not None and (self.best is None or match.score > self.best.score):
            self.best = match
        return self._tracker.update(match, self._start_s(len(self._queries)), self._end_s)

    def _segments_in(self, length_s: float) -> int:
        """Return how many embeddings a window of this length holds."""
        step_s = LISTEN_STEP_FRAMES / self._spec.frontend.frames_per_s
        return int((length_s - self._spec.segment_s) / step_s) + 1

    def _start_s(self, n_segments: int) -> float:
        step_s = LISTEN_STEP_FRAMES / self._spec.frontend.frames_per_s
        return self._end_s - self._spec.segment_s - (n_segments - 1) * step_s

    def _match_last(self, n_segments: int) -> Match | None:
        """Return the best match of the last so many embeddings."""
        found = Candidates.join(self._candidates[-n_segments:])
        queries, rows = Queries.join(self._queries[-n_segments:]), np.arange(n_segments)
        start_s = self._start_s(n_segments)
        play = self._tracker.playing
        playing = None if play is None else play.track.id
        return self._recognizer.matcher.match(
            queries, found, rows, LISTEN_STEP_FRAMES, start_s, self._end_s, playing
        )
