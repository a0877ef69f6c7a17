"""Detect an input that is muted or overdriven."""

from __future__ import annotations

import numpy as np

from overheard.hear.source import SAMPLE_RATE, Block

_MUTED_S = 30.0  # of digital silence; a microphone that is on always has some noise
_CLIP_LEVEL = 32_600  # of 32,768: resampling changes what was cut off a little
_CLIP_WINDOW_S = 10.0
_CLIPPED = 0.01  # of the samples in a window; peaks of music that is only loud are rarer
_AGAIN_S = 3600.0  # between two reports of the same kind


class InputHealth:
    """Watch the samples of an input; report each problem at most once an hour."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._silent_s = 0.0
        self._muted = False
        self._window_samples = self._window_clipped = 0
        self._next_report_s = {"muted": 0.0, "clipped": 0.0}

    def process(self, block: Block, can_be_silent: bool = False) -> str | None:
        """Process the next block, and return the report when one is due.

        Parameters
        ----------
        block : ``(n,)`` int16
        can_be_silent : whether digital silence is normal, as of the monitor of an output
        """
        if not block.size:
            return None
        self._now_s += block.size / SAMPLE_RATE
        return (None if can_be_silent else self._muting(block)) or self._clipping(block)

    def _muting(self, block: Block) -> str | None:
        if block.any():
            was_muted, self._muted, self._silent_s = self._muted, False, 0.0
            return "delivers sound again" if was_muted else None
        self._silent_s += block.size / SAMPLE_RATE
        if self._muted or self._silent_s < _MUTED_S or not self._due("muted"):
            return None
        self._muted = True
        return "delivers digital silence: it is muted, or its volume is zero"

    def _clipping(self, block: Block) -> str | None:
        self._window_samples += block.size
        self._window_clipped += int(np.count_nonzero(np.abs(block.astype(np.int32)) >= _CLIP_LEVEL))
        if self._window_samples < _CLIP_WINDOW_S * SAMPLE_RATE:
            return None
        part = self._window_clipped / self._window_samples
        self._window_samples = self._window_clipped = 0
        if part < _CLIPPED or not self._due("clipped"):
            return None
        return f"is overdriven ({part:.0%} of the samples are clipped): lower its volume"

    def _due(self, kind: str) -> bool:
        if self._now_s < self._next_report_s[kind]:
            return False
        self._next_report_s[kind] = self._now_s + _AGAIN_S
        return True
