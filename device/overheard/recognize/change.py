"""Detect changes of the sound in log-mel frames, such as those between two tracks."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from overheard.fingerprint.frontend import FloatArray

BLOCK_FRAMES = 32  # 1 s
N_NEW, N_BEFORE = 4, 10  # blocks that are compared
FLOOR_DB = -90.0  # frames of digital silence count as this
CHANGED = 1.5  # difference of the means, divided by the variation; within a track about once a minute


class ChangeDetector:
    """Compares the mean spectrum of the last seconds with that of the seconds before, without the level."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the sound so far."""
        self._blocks: deque[FloatArray] = deque(maxlen=N_NEW + N_BEFORE)
        self._frames: FloatArray | None = None  # of an incomplete block

    def add(self, frames: FloatArray) -> bool:
        """Add frames ``(n, n_mels)`` in dB; return whether the sound has changed with them."""
        waiting = frames if self._frames is None else np.concatenate([self._frames, frames])
        changed = False
        while len(waiting) >= BLOCK_FRAMES:
            block = np.maximum(waiting[:BLOCK_FRAMES], FLOOR_DB).mean(axis=0)
            self._blocks.append(block - block.mean())
            waiting = waiting[BLOCK_FRAMES:]
            changed |= self._is_different()
        self._frames = waiting
        return changed

    def _is_different(self) -> bool:
        if len(self._blocks) < N_NEW + N_BEFORE:
            return False
        blocks = np.array(self._blocks)
        before, new = blocks[:N_BEFORE], blocks[N_BEFORE:]
        mean = before.sum(axis=0) / N_BEFORE
        apart, deviations = new.sum(axis=0) / N_NEW - mean, (before - mean).ravel()
        difference = math.sqrt(apart @ apart / len(apart))
        variation = math.sqrt(deviations @ deviations / len(deviations))
        if difference < CHANGED * (variation + 1.0):
            return False
        for _ in range(N_BEFORE):  # what follows is compared with the new sound
            self._blocks.popleft()
        return True
