"""Recognize a stream of sound block by block: gate, front-end, embeddings, candidates, windows, plays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from overheard.events import Event, Match, Status
from overheard.fingerprint.frontend import FloatArray, StreamingFrontend
from overheard.hear.gate import LevelGate, NoDetector
from overheard.recognize.matching.engine import Engine
from overheard.recognize.opinion import SecondOpinion
from overheard.recognize.plays.tracker import PlayTracker, TrackRules
from overheard.recognize.schedule import Schedule
from overheard.recognize.silence import SilentBlocks
from overheard.recognize.speed.clock import MusicClock
from overheard.recognize.stages import StageTimes
from overheard.recognize.stretch import Stretch
from overheard.recognize.stretch_recognizer import StretchRecognizer
from overheard.recognize.unknown import UnknownMusic
from overheard.recognize.windows import Windows
from overheard.settings import GateSettings, TrackSettings

IDLE_S = 1.0  # of sound processed at once while there is no music: the detector decides once per second
HEARD_FRAMES = 16  # 0.5 s; longer blocks are processed in parts of this length


class Detector(Protocol):
    """The interface of music detectors; their input is the log-mel frames of the model's front-end."""

    probability: float  # 0-1, of music in the last frames

    def process(self, frames: FloatArray) -> bool:
        """Take the next log-mel frames, ``(n, n_mels)`` in dB; return whether music is present after them."""

    def reset(self) -> None:
        """Forget the sound so far, after a gap."""


class Listener:
    """Recognizes a stream, block by block. Times in its events are seconds since its first sample.

    Parameters
    ----------
    engine : returns embedder, index and matcher; called for each block, so packs can change at run time
    gate, track : the user's settings
    windows : of the searches (default: those of a microphone)
    rules : when matches become a play (default: those of a microphone)
    detector : music detector; None treats all sound as music
    unknown : identifies and stores unknown music; None if it is not remembered
    schedule : decides when to search and verify; None for regular windows
    opinion : second opinion on the detector's decisions, for a listener with a schedule

    Attributes
    ----------
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
        schedule: Schedule | None = None,
        opinion: SecondOpinion | None = None,
    ) -> None:
        self._newest_engine = engine
        self._engine = engine()
        self._spec = self._engine.embedder.spec
        self._windows = windows or Windows()
        gate = gate or GateSettings()
        self._gate = LevelGate(gate)
        self._silence = SilentBlocks(gate.open_db, self._spec.frontend.sample_rate)
        self._detector = detector or NoDetector()
        self._frontend = StreamingFrontend(self._spec.frontend)
        self._tracker = PlayTracker(track, rules)
        self._n_samples = 0  # so far, lost sound included
        self._n_lost = 0
        self._times = StageTimes()
        self._unknown, self._schedule = unknown, schedule
        self._clock = MusicClock()  # of tracker, schedule and searches
        self._stretch_recognizer = StretchRecognizer(
            self._windows, self._spec, self._times, self._clock, self._tracker, schedule, unknown, opinion
        )
        self.any_sound = False
        self._failed = False  # whether the last block raised an exception
        self._clear()

    def _clear(self) -> None:
        self._frontend.reset()
        self._detector.reset()
        self._detected = False  # music, by the detector alone
        self._blocks: list[FloatArray] = []  # wait for the front-end
        self._stretch: Stretch | None = None  # present sound
        self._stretch_recognizer.begin()

    @property
    def best(self) -> Match | None:
        """The best match so far, accepted or not."""
        best = self._stretch_recognizer.best
        return None if best is None else self._clock.match(best)

    @property
    def now_s(self) -> float:
        """Seconds of sound so far, lost sound included."""
        return (self._n_samples + self._silence.n_held) / self._spec.frontend.sample_rate

    def status(self) -> Status:
        """Return what the listener is doing. Any thread may call it."""
        is_open, play, schedule = self._gate.is_open, self._tracker.playing, self._schedule
        next_check_s = None
        if schedule is not None and math.isfinite(schedule.next_check_s) and not schedule.searching:
            next_check_s = max(0.0, schedule.next_check_s - self._music_s)
        state = "searching" if next_check_s is None else "unknown music"
        if not self._stretch_recognizer.music:
            state = "no music" if is_open else "silence"
        return Status(
            state=state if play is None else "playing",
            level_db=self._gate.level_db,
            floor_db=self._gate.floor_db,
            gate_open=is_open,
            music=self._detector.probability if is_open else 0.0,
            playing=None if play is None else self._clock.play(play),
            cpu_s=dict(self._times.cpu_s),
            audio_s=self.now_s,
            lost_s=self._n_lost / self._spec.frontend.sample_rate,
            next_check_s=next_check_s,
        )

    @property
    def _music_s(self) -> float:
        return self._clock.music_s(self.now_s)

    @property
    def loudest_db(self) -> float:
        """Level of the loudest tenth of a second so far in dB of full scale."""
        return self._gate.loudest_db

    def process(self, block: FloatArray) -> list[Event]:
        """Take the next samples, ``(n,)`` float32 at the spec's sample rate; return the events they cause."""
        if self._schedule is not None:
            is_quiet = not self._gate.is_open and self._tracker.playing is None
            block = self._silence.hold(block, is_quiet)
            if not len(block):
                return []
        self._failed = True
        self._follow_engine()
        events = self._process(block)
        self._failed = False
        return self._reported(events)

    def _reported(self, events: list[Event]) -> list[Event]:
        """Convert the times of events from the music's clock to the source's."""
        return [self._clock.event(event) for event in events]

    def _process(self, block: FloatArray) -> list[Event]:
        with self._times.of("gate"):
            is_music = (
                self._schedule is None or self._stretch_recognizer.music or self._tracker.playing is not None
            )
            is_open = self._gate.process(block, is_music)
        if not is_open:
            events = self._end_stretch()
            self._n_samples += len(block)
            return events + self._after_music(self._tracker.silence(self._music_s))
        if self._stretch is None:
            self._stretch = Stretch(self._spec, self._times, self._music_s)
            self.any_sound = True
        self._n_samples += len(block)
        self._blocks.append(block)
        waiting_s = sum(map(len, self._blocks)) / self._spec.frontend.sample_rate
        idle = self._schedule is not None and not (
            self._detected or self._stretch_recognizer.music or self._tracker.playing
        )
        return self._advance() if waiting_s >= (IDLE_S if idle else self._windows.batch_s) else []

    def _follow_engine(self) -> None:
        """Use the newest engine. The open play, which has a track and no segments, goes on."""
        engine = self._newest_engine()
        if engine is not self._engine:
            self._engine = engine
            self._stretch_recognizer.forget_candidates()  # have the old catalogue's segment numbers

    def gap(self, n_samples: int) -> list[Event]:
        """Account for lost sound: no segment reaches across it."""
        events = self._end_stretch()
        self._n_samples += n_samples + len(self._silence.rest())  # quiet, which ends with the lost sound
        self._n_lost += n_samples
        return self._reported(events + self._tracker.gap(self._music_s))

    def finish(self) -> list[Event]:
        """End the open play, because the source has ended.

        After an exception in `process`, the last sound is not matched: the same exception again would hide
        the first.
        """
        self._n_samples += len(self._silence.rest())
        events = [] if self._failed else self._end_stretch()
        if self._unknown is not None:
            self._unknown.finish()
        return self._reported(events + self._tracker.finish(self._music_s))

    def _after_music(self, events: list[Event]) -> list[Event]:
        return events if self._unknown is None else self._unknown.other(events)

    def _end_stretch(self) -> list[Event]:
        """Search or verify the rest of the sound, and forget it."""
        if self._stretch is None:
            return []
        events = self._advance() + self._stretch_recognizer.finish(self._stretch, self._engine, self._music_s)
        self._clear()
        return events

    def _advance(self) -> list[Event]:
        """Convert the waiting blocks to frames, and search or verify them."""
        if self._stretch is None or not self._blocks:
            return []
        with self._times.of("frontend"):
            frames = self._frontend.process(np.concatenate(self._blocks))
            self._blocks = []
        events: list[Event] = []
        at_once = len(frames) if self._schedule is None else HEARD_FRAMES
        for first in range(0, len(frames), at_once or 1):
            some = frames[first : first + at_once]
            with self._times.of("detector"):
                self._detected = self._detector.process(some)
            events += self._stretch_recognizer.advance(self._stretch, self._engine, some, self._detected)
        return events
