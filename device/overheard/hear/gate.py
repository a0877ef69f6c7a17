"""What decides whether anything is computed at all: the level of the sound."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.spec import SPEC
from overheard.settings import GateSettings

CHUNK_S = 0.1  # the level is that of chunks this long, however long the blocks are
_FLOOR = 1e-12


class LevelGate:
    """Open while the sound is louder than a level, with hysteresis and a hang-over.

    Levels are in dB of full scale (a square wave of amplitude 1 has 0 dB), without the DC offset that cheap
    converters have. Digital silence never opens the gate. What comes out does not depend on the block size.
    """

    def __init__(self, settings: GateSettings | None = None, sample_rate: int | None = None) -> None:
        settings = settings or GateSettings()
        rate = sample_rate or SPEC.frontend.sample_rate
        self._chunk = max(1, round(CHUNK_S * rate))
        self._open_db = settings.open_db
        self._close_db = settings.close_db
        self._hang_chunks = math.ceil(settings.hang_s / CHUNK_S - 1e-9)
        self.reset()

    def reset(self) -> None:
        """Close, and forget what was heard."""
        self._rest = np.zeros(0, np.float32)
        self._quiet_chunks = 0
        self._open = False
        self._level_db = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether the gate is open after the last whole chunk."""
        return self._open

    @property
    def level_db(self) -> float:
        """Level of the last whole chunk in dB of full scale."""
        return self._level_db

    def process(self, block: npt.NDArray[np.float32]) -> bool:
        """Take the next block, `(n,)` in [-1, 1]; return whether the gate was open in any of it."""
        samples = np.concatenate([self._rest, block]) if self._rest.size else block
        n_chunks = samples.size // self._chunk
        whole = samples[: n_chunks * self._chunk].reshape(n_chunks, self._chunk)
        self._rest = samples[n_chunks * self._chunk :].copy()
        was_open = self._open
        for level in levels_db(whole):
            self._level_db = float(level)
            self._step(self._level_db)
            was_open |= self._open
        return was_open

    def _step(self, level_db: float) -> None:
        if level_db >= (self._close_db if self._open else self._open_db):
            self._open = True
            self._quiet_chunks = 0
        elif self._open:
            self._quiet_chunks += 1
            self._open = self._quiet_chunks <= self._hang_chunks


def levels_db(chunks: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return each row's level `(m,)` in dB of full scale, without its mean."""
    power = np.var(chunks, axis=1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.where(power > _FLOOR, 10 * np.log10(np.maximum(power, _FLOOR)), -np.inf)


class MusicDetector:
    """Say whether a sound may be music. This one is a placeholder: it lets everything pass.

    It stands where a learned detector will, so that the pipeline has its place in the right order: level
    first, then this, then the front-end and the model.
    """

    def process(self, block: npt.NDArray[np.float32]) -> bool:
        """Take the next block, `(n,)` in [-1, 1]; return True, always."""
        return True

    def reset(self) -> None:
        """Forget what was heard: nothing is."""
