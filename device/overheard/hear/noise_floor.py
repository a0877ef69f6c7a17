"""Find the level of steady noise, such as a fan, so that it alone does not keep the level gate open."""

from __future__ import annotations

import collections
import math

import numpy as np

STEADY_S = 60.0  # noise must be steady for so long, without music, before it becomes the floor
CHECK_S = 5.0  # time between two checks
MAX_SPREAD_DB = 3.0  # between the 5th and the 95th percentile of steady noise; music and talk vary more
MARGIN_DB = 1.0  # above the 95th percentile; music 5 dB below the noise raises its mean by 1.2 dB
MAX_FLOOR_DB = -25.0  # louder sound is never noise to ignore, however steady
DROP_S = 5.0  # quieter than the floor for so long: the noise has stopped or is weaker

_SILENCE_DB = -200.0  # below any sound of 16 bits


class NoiseFloor:
    """Follow the level of steady noise from the levels of short windows.

    The floor rises only after a minute in which a music detector heard everything and found no music, and the
    level hardly changed. Sound that the gate keeps from the detector can only lower it: music that fades in
    slowly is not taken for noise.

    Parameters
    ----------
    window_s : length of the windows whose levels are given to :meth:`update`

    Attributes
    ----------
    level_db : median level of the steady noise in dB of full scale; -inf without any
    limit_db : sound above this level is more than the noise; -inf without any
    """

    def __init__(self, window_s: float) -> None:
        self._steady_windows = round(STEADY_S / window_s)
        self._check_windows = round(CHECK_S / window_s)
        self._drop_windows = round(DROP_S / window_s)
        self.reset()

    def reset(self) -> None:
        """Forget the floor and all levels."""
        self._levels: collections.deque[float] = collections.deque(maxlen=self._steady_windows)
        self._n_unchecked = 0
        self._n_below = 0
        self._below_db = -math.inf  # the loudest level since the sound fell below the floor
        self.level_db = -math.inf
        self.limit_db = -math.inf

    def music(self) -> None:
        """Account for music: what was heard so far is not steady noise. The floor stays."""
        self._levels.clear()

    def update(self, level_db: float, heard: bool) -> None:
        """Add the level of a window.

        Parameters
        ----------
        level_db : in dB of full scale
        heard : whether a music detector hears this sound and finds no music
        """
        self._lower(level_db)
        if not heard:
            self._levels.clear()
            return
        self._levels.append(level_db)
        self._n_unchecked += 1
        if len(self._levels) == self._steady_windows and self._n_unchecked >= self._check_windows:
            self._n_unchecked = 0
            self._raise()

    def _raise(self) -> None:
        levels = np.maximum(np.array(self._levels), _SILENCE_DB)  # -inf has no percentiles
        low, middle, high = np.percentile(levels, [5, 50, 95])
        if low > _SILENCE_DB and high - low <= MAX_SPREAD_DB and high <= MAX_FLOOR_DB:
            self.level_db, self.limit_db = float(middle), float(high) + MARGIN_DB

    def _lower(self, level_db: float) -> None:
        """Lower the floor to the loudest of the last seconds, if all of them are clearly below it."""
        if level_db >= self.level_db - MARGIN_DB:
            self._n_below, self._below_db = 0, -math.inf
            return
        self._n_below += 1
        self._below_db = max(self._below_db, level_db)
        if self._n_below >= self._drop_windows:
            self.limit_db = self._below_db + (self.limit_db - self.level_db)
            self.level_db = self._below_db
            self._n_below, self._below_db = 0, -math.inf
