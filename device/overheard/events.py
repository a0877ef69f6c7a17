"""What recognition reports. Times are seconds on the source's own clock, which starts at 0."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Track:
    """A track of the catalogue."""

    id: str
    title: str
    artist: str
    album: str
    path: str
    pack: str
    duration_s: float

    @property
    def name(self) -> str:
        """``Artist - Title``, or the title alone."""
        return f"{self.artist} - {self.title}" if self.artist else self.title


@dataclasses.dataclass(frozen=True)
class Match:
    """Candidates of one query window that line up in time on one track."""

    track: Track
    start_s: float  # of the window, on the source's clock
    end_s: float
    offset_s: float  # position in the track at start_s
    score: float
    threshold: float  # the score that this window's length asks for
    confidence: float  # 0-1, calibrated
    margin: float  # score over the best other track's

    @property
    def accepted(self) -> bool:
        """Whether the score reaches the threshold."""
        return self.score >= self.threshold


@dataclasses.dataclass(frozen=True)
class Play:
    """One continuous hearing of one track."""

    track: Track
    start_s: float
    end_s: float
    offset_s: float  # position in the track at start_s
    score: float
    confidence: float


@dataclasses.dataclass(frozen=True)
class PlayStarted:
    """A track was recognized."""

    play: Play


@dataclasses.dataclass(frozen=True)
class PlayUpdated:
    """The same play goes on, now with a later end or a better score."""

    play: Play


@dataclasses.dataclass(frozen=True)
class PlayEnded:
    """The play is over; its end is final."""

    play: Play


@dataclasses.dataclass(frozen=True)
class MusicUnknown:
    """Something sounds that no pack knows."""

    start_s: float
    end_s: float


@dataclasses.dataclass(frozen=True)
class Silence:
    """Nothing sounds above the level gate any more."""

    start_s: float


Event = PlayStarted | PlayUpdated | PlayEnded | MusicUnknown | Silence
