"""Decide from the sound level whether audio is processed any further."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.spec import SPEC
from overheard.hear.noise_floor import NoiseFloor
from overheard.settings import GateSettings

LEVEL_WINDOW_S = 0.1  # the level is measured over windows of this length at any block size
_FLOOR_HANG_S = 6.0  # at least, above steady noise: long enough for the music detector to decide
_REPORT_QUIET_S = 60.0  # a start in a quiet moment is not worth a report
_MIN_POWER = 1e-12  # -120 dB of full scale, below the quantization noise of 16-bit audio (-101 dB)


class LevelGate:
    """Gate that opens above one level and closes below another, after a hang-over time.

    Levels are in dB of full scale: a square wave of amplitude 1 has 0 dB. The DC offset of cheap converters
    is ignored. Digital silence never opens the gate. The result does not depend on the block size.

    Steady noise above these levels, such as a fan, closes the gate after a minute in which a music detector
    finds no music; louder sound opens it again. Music never closes it; see :class:`NoiseFloor`.

    Parameters
    ----------
    settings : GateSettings, optional
        Levels in dB of full scale and hang-over in seconds.
    sample_rate : int, optional
        In Hz; the fingerprint's sample rate if omitted.

    Attributes
    ----------
    loudest_db : float
        Level of the loudest window so far in dB of full scale; -inf for digital silence.
    """

    def __init__(self, settings: GateSettings | None = None, sample_rate: int | None = None) -> None:
        settings = settings or GateSettings()
        rate = sample_rate or SPEC.frontend.sample_rate
        self._window_samples = max(1, round(LEVEL_WINDOW_S * rate))
        self._open_db = settings.open_db
        self._close_db = settings.close_db
        self.loudest_db = -math.inf
        self._hang_windows = math.ceil(settings.hang_s / LEVEL_WINDOW_S - 1e-9)
        self._floor_hang_windows = max(self._hang_windows, round(_FLOOR_HANG_S / LEVEL_WINDOW_S))
        self._floor = NoiseFloor(LEVEL_WINDOW_S)
        self.reset()

    def reset(self) -> None:
        """Close the gate and discard buffered samples."""
        self._floor.reset()
        self._rest = np.zeros(0, np.float32)
        self._quiet_windows = 0
        self._open = False
        self._level_db = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether the gate is open after the last complete window."""
        return self._open

    @property
    def level_db(self) -> float:
        """Level of the last complete window in dB of full scale."""
        return self._level_db

    @property
    def floor_db(self) -> float:
        """Level of steady noise that does not open the gate, in dB of full scale; -inf without any."""
        return self._floor.level_db

    def process(self, block: npt.NDArray[np.float32], is_music: bool = True) -> bool:
        """Process the next block, and return whether the gate was open at any time in it.

        Parameters
        ----------
        block : (n,) float32 in [-1, 1]
        is_music : bool
            Whether a music detector, which hears what passes the gate, has found music by now. True, also
            without a detector, leaves only the absolute levels.
        """
        if is_music:
            self._floor.music()
        samples = np.concatenate([self._rest, block]) if self._rest.size else block
        n_windows = samples.size // self._window_samples
        n_complete = n_windows * self._window_samples
        windows = samples[:n_complete].reshape(n_windows, self._window_samples)
        self._rest = samples[n_complete:].copy()
        was_open = self._open
        for level_db in levels_db(windows).tolist():
            self._level_db = level_db
            self.loudest_db = max(self.loudest_db, self._level_db)
            self._floor.update(self._level_db, self._open and not is_music)
            self._step(self._level_db, is_music)
            was_open |= self._open
        return was_open

    def _step(self, level_db: float, is_music: bool) -> None:
        absolute_db = self._close_db if self._open else self._open_db
        above_floor = is_music or level_db >= self._floor.limit_db
        if level_db >= absolute_db and above_floor:
            self._open = True
            self._quiet_windows = 0
        elif self._open:
            self._quiet_windows += 1
            hang_windows = self._hang_windows if level_db < absolute_db else self._floor_hang_windows
            self._open = self._quiet_windows <= hang_windows


def levels_db(windows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Measure the level of each window without its mean.

    Parameters
    ----------
    windows : ndarray, (m, n) float32
        One window per row, in [-1, 1].

    Returns
    -------
    ndarray, (m,) float64
        Levels in dB of full scale; -inf for digital silence.
    """
    samples = windows.astype(np.float64)
    power = np.einsum("ij,ij->i", samples, samples)
    power -= np.add.reduce(samples, axis=1) ** 2 / windows.shape[1]
    power /= windows.shape[1]
    levels: npt.NDArray[np.float64] = 10 * np.log10(np.maximum(power, _MIN_POWER))
    levels[power <= _MIN_POWER] = -np.inf
    return levels


class QuietReport:
    """Report once that the sound of a source has never opened the gate.

    Parameters
    ----------
    settings : GateSettings
        Of the gate.
    """

    def __init__(self, settings: GateSettings) -> None:
        self._gate: LevelGate | None = LevelGate(settings)  # None when there is nothing to report any more
        self._open_db = settings.open_db
        self._n_samples = 0

    def process(self, block: npt.NDArray[np.float32]) -> str | None:
        """Process the next block, `(n,)` in [-1, 1]; return the report when it is due."""
        if self._gate is None:
            return None
        self._n_samples += len(block)
        if self._gate.process(block):
            self._gate = None
        elif self._n_samples >= _REPORT_QUIET_S * SPEC.frontend.sample_rate:
            return self.finish()
        return None

    def finish(self) -> str | None:
        """Return the report at the end of the source, unless it was due before."""
        gate, self._gate = self._gate, None
        return quiet_text(gate.loudest_db, self._open_db) if gate is not None and self._n_samples else None


def quiet_text(loudest_db: float, open_db: float) -> str:
    """Describe sound that never opens the gate: which level it has, and which it needs."""
    heard = f"at most {loudest_db:.0f} dBFS" if math.isfinite(loudest_db) else "digital silence"
    return f"{heard}, and gate.open_db is {open_db:.0f} dBFS"


class NoDetector:
    """Takes all sound for music, where the schedule and its music detector are switched off."""

    probability = 1.0

    def process(self, frames: npt.NDArray[np.float32]) -> bool:
        """Process the next log-mel frames, `(n, n_mels)` in dB; return True."""
        return True

    def reset(self) -> None:
        """Do nothing: there is no state."""
