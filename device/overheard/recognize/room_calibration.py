"""Estimate the false positives per day in a room, and the setting `track.caution` that keeps them rare."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from overheard.fingerprint.frontend import FloatArray, StreamingFrontend
from overheard.hear.gate import LEVEL_WINDOW_S, levels_db
from overheard.recognize.matching.engine import Engine
from overheard.recognize.plays.agreement import TrackRules
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.stages import StageTimes
from overheard.recognize.stretch import Stretch
from overheard.recognize.window_match import WindowMatcher
from overheard.recognize.windows import WINDOW_S, Windows

HOP_S = 2.0
BLOCK_S = 10.0
MAX_S = 3600.0  # of a recording that is used
CONFIDENCE = 0.95  # of the upper bounds
GATE_ABOVE_DB = 6.0  # over the level that a quiet room rarely exceeds
GATE_QUANTILE = 0.99
HYSTERESIS_DB = 3.0
CAUTION_STEP = 0.5
MAX_CAUTION = 10.0


@dataclasses.dataclass(frozen=True)
class FalseRate:
    """Upper bound (with `CONFIDENCE`) of the false positives per day in sound like a recording without music.

    Attributes
    ----------
    highest : best score in the recording, over the threshold, in log-odds
    n_windows : windows that do not overlap
    hours : of such sound in a day
    """

    highest: float
    n_windows: float
    hours: float

    def at(self, caution: float) -> float:
        """Return the upper bound if each match needs `caution` more log-odds.

        No window of the recording exceeded `highest`, which bounds how often one does. Scores are log-odds,
        so the rate falls by e with each unit above that. A play needs one strong match, or two matches.
        """
        share = 1 - math.pow(1 - CONFIDENCE, 1 / max(self.n_windows, 1.0))
        one, two = (
            share * math.exp(-max(0.0, score + caution - self.highest))
            for score in (TrackRules.onset_above, 0.0)
        )
        return self.hours * 3600 / WINDOW_S * (one + two**2)


def gate_levels(quiet: FloatArray, sample_rate: int) -> tuple[float, float] | None:
    """Return levels at which the gate opens and closes, so that a quiet room does not open it.

    Parameters
    ----------
    quiet : (n,) float32 in [-1, 1]

    Returns
    -------
    Both in dB of full scale; None for digital silence.
    """
    levels = sound_levels_db(quiet, sample_rate)
    if not len(levels):
        return None
    open_db = math.ceil(float(np.quantile(levels, GATE_QUANTILE)) + GATE_ABOVE_DB)
    return min(float(open_db), 0.0), min(open_db - HYSTERESIS_DB, 0.0)


def sound_levels_db(waveform: FloatArray, sample_rate: int) -> FloatArray:
    """Return the level of each tenth of a second in dB of full scale, without digital silence."""
    n = round(LEVEL_WINDOW_S * sample_rate)
    levels = levels_db(waveform[: len(waveform) // n * n].reshape(-1, n))
    return np.asarray(levels[np.isfinite(levels)], np.float32)


def window_scores(recognizer: Recognizer, waveform: FloatArray) -> list[float]:
    """Return the best score of each window minus the threshold, in log-odds.

    Parameters
    ----------
    recognizer : model and catalogue
    waveform : (n,) float32 in [-1, 1]; its windows end `HOP_S` apart
    """
    spec = recognizer.spec
    if len(waveform) < spec.segment_samples:
        return []
    times = StageTimes()
    stretch, frontend = Stretch(spec, times, 0.0), StreamingFrontend(spec.frontend)
    n_block = round(BLOCK_S * spec.frontend.sample_rate)
    # In blocks: the spectra of a whole hour take 2 GB.
    blocks = (waveform[begin : begin + n_block] for begin in range(0, len(waveform), n_block))
    stretch.add(np.concatenate([frontend.process(block) for block in blocks]))
    engine = Engine(recognizer.embedder, recognizer.index, recognizer.matcher)
    windows = Windows()
    matcher = WindowMatcher(windows, spec, times)
    step = windows.step_frames
    hop = max(step, round(HOP_S * spec.frontend.frames_per_s) // step * step)
    first = min(matcher.n_frames, stretch.last_start // step * step)
    scores = []
    for last in range(first, stretch.last_start + 1, hop):
        match = matcher.last(stretch, last, engine, None, None, windows.length_s).match
        if match is not None:
            scores.append(match.score - match.threshold)
    return scores


def caution_for(rate: FalseRate, wanted: float, wrong: Sequence[float] = ()) -> float:
    """Return the least caution that keeps the bound at the wanted rate, and prevents known mistakes.

    Parameters
    ----------
    rate : of the room
    wanted : false positives a day
    wrong : best scores over the threshold of plays that the user marked as wrong
    """
    steps = np.arange(0.0, MAX_CAUTION + CAUTION_STEP, CAUTION_STEP).tolist()
    enough = next((step for step in steps if rate.at(step) <= wanted), MAX_CAUTION)
    prevents = max((score - TrackRules.onset_above for score in wrong), default=0.0)
    return min(MAX_CAUTION, max(enough, math.ceil(prevents / CAUTION_STEP) * CAUTION_STEP))
