"""Recognize the music in recordings and streams with one model and one catalogue.

Microphone, file, benchmark and test all go through `Listener`: a recording is a stream that ends.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from overheard.catalogue.pack import Pack
from overheard.catalogue.search import Catalogue, SegmentIndex
from overheard.events import Event, Match, Play, PlayEnded
from overheard.fingerprint.embedder import Embedder
from overheard.fingerprint.frontend import FloatArray, log_mel
from overheard.fingerprint.model import Model
from overheard.hear.detector import MusicDetector
from overheard.recognize.listener import Listener
from overheard.recognize.matching.alignments import Window
from overheard.recognize.matching.engine import Engine
from overheard.recognize.matching.match import ExactSegments, Matcher
from overheard.recognize.opinion import SecondOpinion
from overheard.recognize.opinion_table import load_opinion
from overheard.recognize.pack_kinds import PackKinds
from overheard.recognize.plays.tracker import TrackRules
from overheard.recognize.schedule import Schedule
from overheard.recognize.stages import StageTimes
from overheard.recognize.stretch import Stretch
from overheard.recognize.unknown import UnknownMusic
from overheard.recognize.unknown_store import UnknownStore
from overheard.recognize.windows import CLIP_STEP_FRAMES, RECORDING_HOP_S, Windows, single_window
from overheard.settings import GateSettings, TrackSettings

BLOCK_S = 1.0  # of a long recording
# From this length on, about 7 minutes, neither the windows nor the rules of a recording depend on its length.
LONG_S = RECORDING_HOP_S * math.exp(TrackRules.strong_above)


@dataclasses.dataclass(frozen=True)
class Identification:
    """The music in a recording.

    Attributes
    ----------
    verdict : "recognized", "unknown" or "silence"
    best : the best match in the recording, accepted or not; None for silence, or if nothing lines up
    loudest_db : level of the loudest tenth of a second in dB of full scale
    """

    verdict: str
    duration_s: float
    plays: tuple[Play, ...]
    best: Match | None
    loudest_db: float = -math.inf


class Recognizer:
    """A model and a catalogue.

    Parameters
    ----------
    model : network, quantizer, cohort and scoring
    packs : opened packs made with this model
    index : searched instead of the packs, as by a benchmark
    runtime : distribution name of the TensorFlow Lite runtime; None for the preferred one
    scheduled : whether listeners of a microphone search only when there may be something new
    """

    def __init__(
        self,
        model: Model,
        packs: Sequence[Pack],
        gate: GateSettings | None = None,
        track: TrackSettings | None = None,
        index: SegmentIndex | None = None,
        runtime: str | None = None,
        scheduled: bool = True,
    ) -> None:
        self.model, self.spec, self.scheduled = model, model.spec, scheduled
        self.gate_settings, self.track_settings = gate or GateSettings(), track or TrackSettings()
        self.embedder = Embedder(model, runtime=runtime)
        self.unknown_store: UnknownStore | None = None  # set it to remember unknown music
        self.search(packs, index)

    def search(self, packs: Sequence[Pack], index: SegmentIndex | None = None) -> None:
        """Search these packs, or this index, from now on; also in listeners that are running.

        Any thread may call it. A listener changes between two blocks, and keeps its open play.
        """
        index = index or Catalogue(packs, self.model.quantizer, self.model.cohort)
        matcher = Matcher(index, self.spec, PackKinds.of(packs).scoring(self.model))
        opinion = load_opinion(self.model.space.digest)
        log_odds = None if opinion is None else opinion.joint_log_odds
        self._engine = Engine(self.embedder, index, matcher, log_odds)
        self.packs = tuple(packs)

    @property
    def engine(self) -> Engine:
        """Embedder, catalogue and matcher."""
        return self._engine

    @property
    def index(self) -> SegmentIndex:
        """The catalogue that is searched."""
        return self._engine.index

    @property
    def matcher(self) -> Matcher:
        """What aligns windows with the catalogue."""
        return self._engine.matcher

    def listener(self, windows: Windows | None = None, rules: TrackRules | None = None) -> Listener:
        """Return a listener with a clock of its own; for a microphone by default."""
        live = windows is None
        store = self.unknown_store if live else None
        scheduled = live and self.scheduled
        return Listener(
            *(lambda: self._engine, self.gate_settings, self.track_settings),
            Windows(step_frames=CLIP_STEP_FRAMES) if scheduled else windows,
            rules,
            detector=MusicDetector() if scheduled else None,
            unknown=None if store is None else UnknownMusic(store, self.spec),
            schedule=Schedule() if scheduled else None,
            opinion=second_opinion(self.model) if scheduled else None,
        )

    def identify(self, waveform: FloatArray) -> Identification:
        """Recognize the music in a recording of any length.

        Parameters
        ----------
        waveform : (n,) float32 in [-1, 1] at the spec's sample rate; 2 s are enough

        Returns
        -------
        Identification
            Its cost grows with the length and no faster.
        """
        return self.identify_blocks([waveform])

    def identify_blocks(self, blocks: Iterable[FloatArray]) -> Identification:
        """Recognize the music in a recording that is decoded block by block, in bounded memory.

        Parameters
        ----------
        blocks : each (n,) float32 in [-1, 1] at the spec's sample rate, of any length

        Returns
        -------
        Identification
            The same at any block length.
        """
        rate = self.spec.frontend.sample_rate
        stream = iter(blocks)
        start = _read(stream, math.ceil(LONG_S * rate))
        windows = Windows.of_recording(len(start) / rate)
        listener = self.listener(windows, recording_rules(len(start) / rate, windows))
        n_samples, n_padded = len(start), 0
        if 0 < n_samples < self.spec.segment_samples:
            n_padded = self.spec.segment_samples - n_samples
            start = np.pad(start, (0, n_padded))
        plays: list[Play] = []
        for block in _cut(start, stream, max(1, len(start)) if windows.single else round(BLOCK_S * rate)):
            plays += _ended(listener.process(block))
        plays += _ended(listener.finish())
        duration_s = (round(listener.now_s * rate) - n_padded) / rate
        if not listener.any_sound:
            return Identification("silence", duration_s, (), None, listener.loudest_db)
        verdict = "recognized" if plays else "unknown"
        return Identification(verdict, duration_s, tuple(plays), listener.best, listener.loudest_db)

    def window(self, waveform: FloatArray, without: Collection[int] = ()) -> tuple[Window, ExactSegments]:
        """Return a recording as a single window, and how to embed more of its segments.

        Parameters
        ----------
        waveform : (n,) float32 at the spec's sample rate; at least one segment long
        without : tracks to ignore, as if the catalogue did not hold them
        """
        stretch, engine = Stretch(self.spec, StageTimes()), self._engine
        stretch.add(log_mel(waveform, self.spec.frontend))
        starts, searched = single_window(stretch.last_start)
        queries = stretch.embed(starts, engine)
        candidates = engine.index.candidates(queries.embeddings[searched], without)
        window = Window(queries, starts, candidates, searched, int(starts[-1]))
        return window, ExactSegments(lambda wanted: stretch.embed(wanted, engine))


def second_opinion(model: Model) -> SecondOpinion | None:
    """Return a second opinion on the music detector; None if there is none for the model's space."""
    table = load_opinion(model.space.digest)
    return None if table is None else SecondOpinion(table)


def recording_rules(duration_s: float, windows: Windows) -> TrackRules:
    """Return when a match in a recording becomes a play by itself.

    The threshold is calibrated for one window. A recording of n windows asks n times, so a single match needs
    log(n) more log-odds for the same chance of a false positive (Bonferroni), up to what a microphone's
    matches need.
    """
    n_windows = 1.0 if windows.single else duration_s / windows.hop_s
    return TrackRules(
        strong_above=min(TrackRules.strong_above, math.log(n_windows)),
        confirm_above=0.0,  # two accepted matches that agree are enough
        confirm_below=0.0,
        shortest_s=0.0 if windows.single else TrackRules.shortest_s,
        distinguishing_s=0.0 if windows.single else TrackRules.distinguishing_s,
    )


def _read(stream: Iterator[FloatArray], n_wanted: int) -> FloatArray:
    """Return the start of a stream: all of it, or whole blocks of at least `n_wanted` samples."""
    blocks: list[FloatArray] = [np.zeros(0, np.float32)]
    n_samples = 0
    while n_samples < n_wanted and (block := next(stream, None)) is not None:
        blocks.append(block)
        n_samples += len(block)
    return np.concatenate(blocks)


def _cut(start: FloatArray, stream: Iterator[FloatArray], n_block: int) -> Iterator[FloatArray]:
    """Cut a stream, whose start has been read, into blocks of one length; the last one may be shorter."""
    rest = start
    last: list[FloatArray | None] = [None]
    for samples in itertools.chain(stream, last):
        n_complete = len(rest) // n_block * n_block
        for begin in range(0, n_complete, n_block):
            yield rest[begin : begin + n_block]
        rest = rest[n_complete:] if samples is None else np.concatenate([rest[n_complete:], samples])
    if len(rest):
        yield rest


def _ended(events: Iterable[Event]) -> list[Play]:
    return [event.play for event in events if isinstance(event, PlayEnded)]
