"""Estimate the speed of a play from the drift of its alignment: a turntable may be off by half a percent."""

from __future__ import annotations

LONG_S = 60.0  # shortest play whose drift is measured
LEAST_DRIFT_S = 0.4  # in all; alignments have a resolution of an eighth of a second
MOST = 0.02  # largest deviation; with a larger one, the network does not recognize the music
JUMP_S = 0.6  # between two matches: the player jumped, or the music repeats itself


class Drift:
    """A line through the alignments of a play (least squares).

    Times are seconds of the music's clock. Alignments are positions in the track at second 0.
    """

    def __init__(self) -> None:
        self._begin: tuple[float, float] | None = None
        self._last = (0.0, 0.0)
        self._sums = (0, 0.0, 0.0, 0.0, 0.0)  # 1, t, a, t^2 and t * a of all matches, from the first one on

    def add(self, at_s: float, alignment_s: float) -> None:
        """Add the alignment of a match that ends at a second."""
        if self._begin is None or abs(alignment_s - self._last[1]) > JUMP_S:
            self._begin = at_s, alignment_s
            self._sums = (0, 0.0, 0.0, 0.0, 0.0)
        t, a = at_s - self._begin[0], alignment_s - self._begin[1]
        n, sum_t, sum_a, sum_tt, sum_ta = self._sums
        self._sums = (n + 1, sum_t + t, sum_a + a, sum_tt + t * t, sum_ta + t * a)
        self._last = at_s, alignment_s

    @property
    def speed(self) -> float:
        """The speed as a multiple of the clock's; 1 if the play is too short, or its drift too small."""
        if self._begin is None or self._last[0] - self._begin[0] < LONG_S:
            return 1.0
        n, sum_t, sum_a, sum_tt, sum_ta = self._sums
        spread = n * sum_tt - sum_t * sum_t
        slope = (n * sum_ta - sum_t * sum_a) / spread if spread > 0 else 0.0
        drift_s = abs(slope) * (self._last[0] - self._begin[0])
        return 1.0 + slope if drift_s >= LEAST_DRIFT_S and abs(slope) <= MOST else 1.0
