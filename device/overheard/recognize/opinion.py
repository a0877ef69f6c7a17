"""Follow a second opinion on whether there is music, which embeddings give where the music detector is wrong.

The fingerprint network is trained on music in noise, so that its embeddings tell music from everything else
better than the detector, whose network is small. But an embedding costs as much as many seconds of the
detector, so that few are made for this.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque

from overheard.catalogue.search import IntArray
from overheard.fingerprint.frontend import FloatArray
from overheard.recognize.opinion_table import N_HEARD, OpinionTable

HEARD_FRAMES = 256  # 8 s; what is older does not count
APART_FRAMES = 12  # segments that are nearer to each other say the same


class Verdict(enum.Enum):
    """What the embeddings say."""

    MUSIC = "music"
    UNSURE = "unsure"
    NO_MUSIC = "no music"


@dataclasses.dataclass(frozen=True)
class OpinionRules:
    """When sound is embedded only for an opinion, in seconds.

    Attributes
    ----------
    music_s : waits while the detector hears music, and no opinion confirms it; the last one repeats
    no_music_s : waits while it hears none
    changed_s : after a change of the sound, at the latest
    """

    music_s: tuple[float, ...] = (1.0, 1.0, 2.0, 4.0, 8.0, 15.0)
    no_music_s: tuple[float, ...] = (3.0, 5.0, 10.0, 20.0)
    changed_s: float = 3.0


class SecondOpinion:
    """Follows the opinion on one stretch of sound after the other, and says when to ask for more.

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
        self._music = False
        self._n_asked = 0
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
        """Learn embeddings ``(n, dim)`` of segments that start at these frames of the stretch, in order."""
        last = self._heard[-1][0] if self._heard else -APART_FRAMES
        for start, odds in zip(starts.tolist(), self._table.log_odds(embeddings).tolist(), strict=True):
            if start >= last + APART_FRAMES:
                self._heard.append((start, odds))
                last = start
        while self._heard and self._heard[0][0] < last - HEARD_FRAMES:
            self._heard.popleft()

    def is_due(self, now_s: float, music: bool, changed: bool) -> bool:
        """Return whether to embed the newest sound, which the detector takes for music or not."""
        rules = self._rules
        if self._next_s is None or (music and not self._music):
            self._heard.clear()  # is about what was before
            self._n_asked, self._next_s = 0, now_s + (0.0 if music else rules.no_music_s[0])
        elif self._music and not music:
            self._n_asked, self._next_s = 1, now_s + rules.no_music_s[1]
        elif changed:
            self._next_s = min(self._next_s, now_s + rules.changed_s)
        self._music = music
        return now_s >= self._next_s

    def asked(self, now_s: float) -> None:
        """Note that sound was embedded for :meth:`is_due`."""
        waits_s = self._rules.music_s if self._music else self._rules.no_music_s
        self._n_asked += not self._music
        self._next_s = now_s + waits_s[min(self._n_asked, len(waits_s) - 1)]
        self._n_asked += self._music

    def is_music(self, music: bool) -> bool:
        """Return whether there is music; where the opinion is unsure, the detector's `music` decides."""
        verdict = self.verdict
        return music if verdict is Verdict.UNSURE else verdict is Verdict.MUSIC
