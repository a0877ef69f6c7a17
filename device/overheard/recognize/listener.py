"""Recognize a stream of sound block by block: gate, front-end, embeddings, candidates, windows, plays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from overheard.events import Event, Match, Status
from overheard.fingerprint.frontend import FloatArray, StreamingFrontend
from overheard.hear.gate import LevelGate, MusicDetector
from overheard.recognize.engine import Engine
from overheard.recognize.plays import PlayTracker, TrackRules
from overheard.recognize.stages import StageTimes
from overheard.recognize.sound import Stretch
from overheard.recognize.window_match import Found, WindowMatcher
from overheard.recognize.windows import Windows
from overheard.settings import GateSettings, TrackSettings


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
    ) -> None:
        self._newest_engine = engine
        self._engine = engine()
        self._spec = self._engine.embedder.spec
        self._windows = windows or Windows()
        self._gate = LevelGate(gate or GateSettings())
        self._detector = detector or MusicDetector()
        self._frontend = StreamingFrontend(self._spec.frontend)
        self._tracker = PlayTracker(track, rules)
        self._hop_frames = self._windows.hop_s * self._spec.frontend.frames_per_s
        self._n_samples = 0  # so far, lost sound included
        self._n_lost = 0
        self._is_music = False
        self._times = StageTimes()
        self._matcher = WindowMatcher(self._windows, self._spec, self._times)
        self.best: Match | None = None
        self.any_sound = False
        self._failed = False  # whether the last block raised an exception
        self._clear()

    def _clear(self) -> None:
        self._frontend.reset()
        self._detector.reset()
        self._is_music = False
        self._blocks: list[FloatArray] = []  # wait for the front-end
        self._stretch = Stretch(self._spec, self._times)
        self._next = 0  # segment of the stretch that is looked at next
        self._matched = -self._windows.step_frames  # last segment of the last window
        self._origin_samples: int | None = None  # where the present stretch began

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
            return events + self._tracker.quiet(self.now_s)
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
            self._stretch.forget_candidates()  # have the old catalogue's segment numbers

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
        return events + self._tracker.finish(self.now_s)

    def _end_stretch(self) -> list[Event]:
        """Match what has not been matched yet, and forget the sound."""
        events = self._match_rest()
        if self._origin_samples is not None:
            self._clear()
        return events

    def _match_rest(self) -> list[Event]:
        """Match the windows that wait, and a last one that ends with the sound."""
        events = self._advance()
        last = self._next - self._windows.step_frames
        return events + (self._match(last) if last > self._matched else [])

    def _advance(self) -> list[Event]:
        """Match the windows that are complete."""
        if self._blocks:
            self._hear()
        events: list[Event] = []
        while self._next <= self._stretch.last_start:
            if self._next - self._matched >= self._hop_frames:
                events += self._match(self._next)
            self._next += self._windows.step_frames
        return events

    def _hear(self) -> None:
        """Convert the blocks that wait to frames."""
        with self._times.of("frontend"):
            frames = self._frontend.process(np.concatenate(self._blocks))
            self._blocks = []
        with self._times.of("detector"):
            self._is_music = self._detector.process(frames)
        self._stretch.add(frames)

    def _match(self, last: int) -> list[Event]:
        """Match the window that ends with this segment."""
        self._matched = last
        found = self._find(last)
        match = found.match
        if match is not None and (self.best is None or match.score > self.best.score):
            self.best = match
        if not self._windows.single:
            self._stretch.forget_before(last - self._matcher.n_frames)
        return self._tracker.update(match, found.start_s, found.end_s)

    def _find(self, last: int) -> Found:
        origin_s = (self._origin_samples or 0) / self._spec.frontend.sample_rate
        if self._windows.single:
            # Not now_s: a recording shorter than a segment is padded.
            end_s = min(self.now_s, origin_s + self._windows.length_s)
            return self._matcher.whole(self._stretch, self._engine, origin_s, end_s)
        play = self._tracker.playing
        playing = None if play is None else play.track.id
        return self._matcher.last(self._stretch, last, self._engine, origin_s, playing)
