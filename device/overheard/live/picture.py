"""Make a small log-mel picture of the sound, for a display: a few columns per second."""

from __future__ import annotations

import numpy as np

from overheard.fingerprint.frontend import FloatArray, StreamingFrontend
from overheard.fingerprint.spec import SPEC, FrontendSpec

COLUMNS_PER_S = 4
BANDS = 48


class MelPicture:
    """Average the frames of the front-end to 4 columns of 48 bands per second.

    It has a front-end of its own, so that it also shows sound below the gate, which recognition does not
    analyse.
    """

    def __init__(self, spec: FrontendSpec = SPEC.frontend) -> None:
        self._frontend = StreamingFrontend(spec)
        self._frames_per_column = spec.frames_per_s / COLUMNS_PER_S
        edges = np.linspace(0, spec.n_mels, min(BANDS, spec.n_mels) + 1)
        self._first_band = edges[:-1].astype(np.int64)
        self._frames: FloatArray = np.zeros((0, spec.n_mels), np.float32)
        self._n_frames = 0.0  # of the next column, which is a whole number only on average

    def process(self, block: FloatArray) -> list[list[int]]:
        """Add `(n,)` samples; return the complete columns, each a list of dB from low to high bands."""
        self._frames = np.concatenate([self._frames, self._frontend.process(block)])
        columns = []
        while len(self._frames) >= (n := int(self._n_frames + self._frames_per_column)):
            self._n_frames += self._frames_per_column - n
            mean = self._frames[:n].mean(axis=0)
            self._frames = self._frames[n:]
            widths = np.diff([*self._first_band, len(mean)])
            bands = np.add.reduceat(mean, self._first_band) / widths
            columns.append([int(level) for level in np.rint(bands)])
        return columns

    def reset(self) -> None:
        """Forget the sound of an incomplete column."""
        self._frontend.reset()
        self._frames = self._frames[:0]
