"""Decide from embeddings whether there is music: a second opinion, which corrects the music detector.

The fingerprint network is trained on music in noise, so its embeddings distinguish music from other sound
better than the small network of the detector. An embedding costs as much as many seconds of the detector, so
few embeddings are computed for this purpose.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque

from overheard.catalogue.search import IntArray
from overheard.fingerprint.frontend import FloatArray
from overheard.recognize.opinion_table import N_HEARD, OpinionTable

HEARD_FRAMES = 256  # 8 s; older segments do not count
APART_FRAMES = 12  # of two segments that are closer, only the first counts


class Verdict(enum.Enum):
    """The opinion: music, no music, or unsure."""

    MUSIC = "music"
    UNSURE = "unsure"
    NO_MUSIC = "no music"


@dataclasses.dataclass(frozen=True)
class OpinionRules:
    """When segments are embedded only for the opinion. Waits are in seconds; the last wait repeats.

    Attributes
    ----------
    onset_s : while the detector finds music
    unsure_s : while the detector finds no music, and the opinion is unsure or music
    confirmed_no_music_s : while the detector and the opinion find no music
    ended_s : wait when the detector stops finding music; sound that begins is asked about at once
    changed_s : longest wait after a change of the sound
    """

    onset_s: tuple[float, ...] = (1.0, 1.0, 2.0, 4.0, 8.0, 15.0)
    unsure_s: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0)
    confirmed_no_music_s: tuple[float, ...] = (3.0, 6.0, 12.0, 15.0)
    ended_s: float = 2.5
    changed_s: float = 3.0


class SecondOpinion:
    """Averages the log-odds of the last segments, and decides when more segments are needed.

    Parameters
    ----------
    table : of the model's space
    rules : OpinionRules
    """

    def __init__(self, table: OpinionTable, rules: OpinionRules | None = None) -> None:
        self._table, self._rules = table, rules or OpinionRules()
        self.begin()

    def begin(self) -> None:
        """Begin with a new stretch of sound."""
        self._heard: deque[tuple[int, float]] = deque(maxlen=N_HEARD)  # segment, log-odds
        self._music = False  # whether the detector finds music
        self._n_asked = 0
        self._waits_s: tuple[float, ...] = ()  # of the rules, in the present state
        self._next_s: float | None = None

    @property
    def log_odds(self) -> float:
        """Log-odds of music in the last segments that were embedded; 0 without any."""
        n = len(self._heard)
        return math.fsum(odds for _, odds in self._heard) / n * float(self._table.gains[n - 1]) if n else 0.0

    @property
    def verdict(self) -> Verdict:
        """The opinion on the last segments that were embedded."""
        odds, table = self.log_odds, self._table
        if not self._heard or table.no_music < odds < table.music:
            return Verdict.UNSURE
        return Verdict.MUSIC if odds >= table.music else Verdict.NO_MUSIC

    def add(self, starts: IntArray, embeddings: FloatArray) -> None:
        """Add embeddings ``(n, dim)`` of segments that start at these frames ``(n,)``, in order."""
        if self._heard and len(starts) and starts[-1] < self._heard[-1][0]:
            self._heard.clear()  # the frames are counted differently: the music has another speed
        last = self._heard[-1][0] if self._heard else -APART_FRAMES
        for start, odds in zip(starts.tolist(), self._table.log_odds(embeddings).tolist(), strict=True):
            if start >= last + APART_FRAMES:
                self._heard.append((start, odds))
                last = start
        while self._heard and self._heard[0][0] < last - HEARD_FRAMES:
            self._heard.popleft()

    def n_due(self, now_s: float, music: bool, changed: bool) -> int:
        """Return how many of the newest segments to embed now.

        One is sufficient to confirm that there is still no music; two are more certain.

        Parameters
        ----------
        now_s : the moment
        music : whether the detector finds music
        changed : whether the sound has changed
        """
        begins, ends = music and not self._music, self._music and not music
        self._music = music
        if begins:
            self._heard.clear()  # is about what was before
            self._next_s = now_s
        elif self._next_s is None:
            self._next_s = now_s  # the detector needs some seconds
        elif ends:
            self._next_s = now_s + self._rules.ended_s
        elif changed:
            self._next_s = min(self._next_s, now_s + self._rules.changed_s)
        return 0 if now_s < self._next_s else 2 if music else 1

    def asked(self, now_s: float) -> None:
        """Record that the segments of :meth:`n_due` were embedded."""
        rules = self._rules
        if self._music:
            waits_s = rules.onset_s
        elif self.verdict is Verdict.NO_MUSIC:
            waits_s = rules.confirmed_no_music_s
        else:
            waits_s = rules.unsure_s
        if waits_s is not self._waits_s:
            self._n_asked, self._waits_s = 0, waits_s
        self._next_s = now_s + waits_s[min(self._n_asked, len(waits_s) - 1)]
        self._n_asked += 1

    def is_music(self, music: bool) -> bool:
        """Return whether there is music; if the opinion is unsure, the detector's decision `music`."""
        verdict = self.verdict
        return music if verdict is Verdict.UNSURE else verdict is Verdict.MUSIC
