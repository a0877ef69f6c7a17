"""How sound is divided into query segments, and these into windows that are matched."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from overheard.catalogue.search import IntArray
from overheard.recognize.agreement import TrackRules

CLIP_STEP_FRAMES = 4  # fine enough that some query segment lies on the catalogue's grid of 32 frames
LISTEN_STEP_FRAMES = 16  # 0.5 s
WINDOW_S = 10.0
RECORDING_HOP_S = 3.0  # nobody waits for the first result
RECORDING_SEARCH_FRAMES = 24  # 0.75 s; 32 would keep one distance to the catalogue's segments
RECORDING_BATCH_S = 30.0  # saves calls, and so the start of BLAS's threads where it has several
SHORT_WINDOW_S = 4.0  # matched too if the whole window is not accepted: the music may just have begun
MAX_SEARCHED = 24  # query embeddings of a single window that are searched; all of them score the candidates


@dataclasses.dataclass(frozen=True)
class Windows:
    """How sound is divided into query segments, and these into windows that are matched.

    Attributes
    ----------
    step_frames : frames between the starts of neighbouring query segments
    length_s : length of a window
    hop_s : seconds between the ends of neighbouring windows; infinite for one window, when the sound ends
    search_frames : frames between the starts of query segments that are searched, on average
    batch_s : seconds of sound that are processed together; 0 for each block as it arrives
    """

    step_frames: int = LISTEN_STEP_FRAMES
    length_s: float = WINDOW_S
    hop_s: float = 1.0
    search_frames: int = LISTEN_STEP_FRAMES
    batch_s: float = 0.0

    @property
    def single(self) -> bool:
        """Whether all the sound is one window."""
        return math.isinf(self.hop_s)

    @classmethod
    def of_recording(cls, duration_s: float) -> Windows:
        """Return the windows of a recording.

        One that is too short for two windows that could confirm each other (16 s) is a single window. Longer
        ones are followed as a microphone is, with fewer windows and searches, so that a second of them costs
        less than a second of a single window. Their steps grow with the length up to those of listening: up
        to 64 s the number of query segments, and so most of the cost, stays what 16 s need.
        """
        single_s = WINDOW_S + TrackRules.confirm_s
        if duration_s <= single_s:
            return cls(CLIP_STEP_FRAMES, duration_s, math.inf)
        step_frames = min(LISTEN_STEP_FRAMES, math.ceil(CLIP_STEP_FRAMES * duration_s / single_s))
        return cls(step_frames, WINDOW_S, RECORDING_HOP_S, RECORDING_SEARCH_FRAMES, RECORDING_BATCH_S)


def evenly_spread(n: int, n_wanted: int) -> IntArray:
    """Return at most `n_wanted` of the numbers below `n`, evenly spread, both ends included."""
    return np.unique(np.rint(np.linspace(0, n - 1, min(n, n_wanted))).astype(np.int64))
