"""Join the blocks of a long silence, so that the following stages run less often."""

from __future__ import annotations

import numpy as np

from overheard.fingerprint.frontend import FloatArray
from overheard.hear.gate import LEVEL_WINDOW_S

HELD_S = 2.0  # of sound that is passed on together
LONG_S = 20.0  # before blocks are joined, silence must last this long: then open plays have ended


class SilentBlocks:
    """Joins the blocks of a long silence. Sound that may open the gate is not delayed.

    A window of the gate lies in a block and the one before it, or in less. If both together have less energy
    than a window needs, the gate stays closed.

    Parameters
    ----------
    open_db : level in dB of full scale at which the gate opens
    sample_rate : in Hz

    Attributes
    ----------
    n_held : samples that wait to be passed on
    """

    def __init__(self, open_db: float, sample_rate: int) -> None:
        self._window_samples = int(LEVEL_WINDOW_S * sample_rate)
        self._least_energy = 10 ** (open_db / 10) * self._window_samples
        self._n_at_once, self._n_long = round(HELD_S * sample_rate), round(LONG_S * sample_rate)
        self._blocks: list[FloatArray] = []
        self._before = 0.0  # energy of the last block
        self._n_quiet = 0  # samples since the gate closed
        self.n_held = 0

    def hold(self, block: FloatArray, is_quiet: bool) -> FloatArray:
        """Return the sound to process now, ``(n,)`` float32: the waiting blocks and this one, or nothing.

        Parameters
        ----------
        block : (n,) float32
        is_quiet : whether the gate is closed, and no play is open
        """
        if not is_quiet:
            self._n_quiet = 0
            return block if not self._blocks else self._joined(block)
        self._n_quiet += len(block)
        energy, before = float(np.dot(block, block)), self._before
        self._before = energy
        if self._n_quiet < self._n_long or len(block) < self._window_samples:
            return self._joined(block)
        if energy + before >= self._least_energy or self.n_held + len(block) >= self._n_at_once:
            return self._joined(block)
        self._blocks.append(block)
        self.n_held += len(block)
        return block[:0]

    def rest(self) -> FloatArray:
        """Return the waiting sound, ``(n,)`` float32, and empty the queue."""
        return self._joined(np.zeros(0, np.float32))

    def _joined(self, block: FloatArray) -> FloatArray:
        if not self._blocks:
            return block
        blocks, self._blocks, self.n_held = [*self._blocks, block], [], 0
        return np.concatenate(blocks)
