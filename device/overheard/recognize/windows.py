"""How sound is divided into query segments, and these into windows that are matched."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from overheard.catalogue.search import IntArray
from overheard.recognize.plays.agreement import TrackRules

STEP_FRAMES = 16  # 0.5 s, half the catalogue's hop
CLIP_STEP_FRAMES = (
    24  # finer steps find no more, docs/experiments.md; 32 would keep one distance to the catalogue
)
WINDOW_S = 10.0
LISTEN_SEARCH_SHARE = 0.7  # the votes of several seconds, and of later windows, find what one search misses
OTHER_SPEED_SEARCH_SHARE = 0.3  # at speeds other than the present one, of which there are several
RECORDING_HOP_S = 3.0  # nobody waits for the first result
RECORDING_STEP_FRAMES = 28
RECORDING_CLEAR_ABOVE = 6.0  # more than a single match needs to start a play
RECORDING_BATCH_S = 30.0  # saves calls, and so the start of BLAS's threads where it has several
LOOK_BACK_S = 3.0  # before an onset: the detector needs some sound
SHORT_WINDOW_S = 4.0  # matched too if the whole window is not accepted: the music may just have begun
MAX_SEARCHED = 24  # query embeddings of a single window that are searched; all of them score the candidates
MIN_LAST_FRAMES = 8  # a single window has one more segment at its end if this many frames are left


@dataclasses.dataclass(frozen=True)
class Windows:
    """How sound is divided into query segments, and these into windows that are matched.

    Attributes
    ----------
    length_s : length of a window
    hop_s : seconds between the ends of neighbouring windows; infinite for one window, when the sound ends
    step_frames : frames between the starts of neighbouring query segments
    batch_s : seconds of sound that are processed together; 0 for each block as it arrives
    search_share : of what a search usually visits in a large catalogue
    clear_above : score over the threshold from which a match does not need the exact segments
    """

    length_s: float = WINDOW_S
    hop_s: float = 1.0
    step_frames: int = STEP_FRAMES
    batch_s: float = 0.0
    search_share: float = LISTEN_SEARCH_SHARE
    clear_above: float = math.inf

    @property
    def single(self) -> bool:
        """Whether all the sound is one window."""
        return math.isinf(self.hop_s)

    @classmethod
    def of_recording(cls, duration_s: float) -> Windows:
        """Return the windows of a recording.

        One that is too short for two windows that could confirm each other (16 s) is a single window. Longer
        ones are processed like a microphone, with fewer windows and searches, so that a second of them costs
        about as much as a second of a single window.
        """
        if duration_s <= WINDOW_S + TrackRules.confirm_s:
            return cls(duration_s, math.inf, CLIP_STEP_FRAMES, search_share=1.0)
        return cls(
            WINDOW_S,
            RECORDING_HOP_S,
            RECORDING_STEP_FRAMES,
            RECORDING_BATCH_S,
            search_share=1.0,
            clear_above=RECORDING_CLEAR_ABOVE,
        )


def single_window(last_start: int) -> tuple[IntArray, IntArray]:
    """Return the first frames ``(n,)`` of a single window's segments, and the rows ``(m,)`` to search.

    Parameters
    ----------
    last_start : first frame of the last segment that the recording has room for
    """
    starts = np.arange(0, last_start + 1, CLIP_STEP_FRAMES)
    if last_start - starts[-1] >= MIN_LAST_FRAMES:
        starts = np.append(starts, last_start)
    return starts, evenly_spread(len(starts), MAX_SEARCHED)


def evenly_spread(n: int, n_wanted: int) -> IntArray:
    """Return at most `n_wanted` of the numbers from 0 to n - 1, evenly spread, both ends included; int64."""
    return np.unique(np.rint(np.linspace(0, n - 1, min(n, n_wanted))).astype(np.int64))
