"""What recognition reports: tracks, matches, plays and events.

All times are seconds on the source's own clock, which starts at 0. If overheard listens in several rooms,
each event has the name of its room.
"""

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
        """``Artist - Title``, or the title if the artist is unknown."""
        return f"{self.artist} - {self.title}" if self.artist else self.title


@dataclasses.dataclass(frozen=True)
class Alternative:
    """Another recording that contains the same passage, such as the jingle of a series."""

    track: Track
    offset_s: float  # position in this track at the start of the match or play
    odds: float = 1.0  # that it is this track, relative to the one that fits best


@dataclasses.dataclass(frozen=True)
class Match:
    """Candidates of one query window that line up in time on one track."""

    track: Track
    start_s: float  # start of the window
    end_s: float  # end of the window
    offset_s: float  # position in the track at start_s
    score: float
    threshold: float  # lowest accepted score for a window of this length
    confidence: float  # 0-1, calibrated; that it is the track or one of the alternatives
    margin: float  # mean similarity minus that of the best other track
    alternatives: tuple[Alternative, ...] = ()  # fit the window as well as the track
    repeats: tuple[float, ...] = ()  # other positions in the track at start_s that fit as well
    similarity: float = 0.0  # mean, of the aligned segments
    continued: float | None = None  # score of the open play's track where it plays on; None if not compared
    verification: bool = False  # compared with the open play's track alone; score and margin say nothing

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
    score: float  # best score so far
    confidence: float  # 0-1, calibrated; shared with the alternatives by their odds
    alternatives: tuple[Alternative, ...] = ()  # fit as well as the track, all the time so far
    speed: float = 1.0  # playback speed as a multiple of the track's own

    @property
    def ambiguous(self) -> bool:
        """Whether what was heard so far is in several recordings."""
        return bool(self.alternatives)

    def position_s(self, at_s: float) -> float:
        """Return the position in the track at a second of the source, if it plays on."""
        return self.offset_s + (at_s - self.start_s) * self.speed


@dataclasses.dataclass(frozen=True)
class PlayStarted:
    """A track was recognized, or a play that had ended goes on, as after a pause: it has the same start."""

    play: Play
    room: str = ""


@dataclasses.dataclass(frozen=True)
class PlayUpdated:
    """The play continues; its end is later, its score is better, or fewer tracks fit.

    When an ambiguous play settles, its track may become another one; its start stays.
    """

    play: Play
    room: str = ""


@dataclasses.dataclass(frozen=True)
class EvidencePoint:
    """A match that a play rests on, or a check that it goes on, as the history keeps it."""

    at_s: float  # end of the window
    position_s: float  # in the track, there
    score: float
    threshold: float
    similarity: float
    margin: float
    verification: bool = False  # the sound was compared with the track of the play alone


@dataclasses.dataclass(frozen=True)
class PlayEnded:
    """The play is over; its end is final, unless the play goes on after a pause."""

    play: Play
    evidence: tuple[EvidencePoint, ...] = ()  # some of the matches that it rests on, in the order of time
    room: str = ""


@dataclasses.dataclass(frozen=True)
class MusicUnknown:
    """Unknown music: music that matches no track of the catalogue."""

    start_s: float
    end_s: float
    unknown_id: int | None = None  # the same each time this music is heard; None if it is not remembered
    times_heard: int = 1  # this time included
    first_heard: float | None = None  # Unix time
    room: str = ""


@dataclasses.dataclass(frozen=True)
class Silence:
    """The sound level fell below the gate."""

    start_s: float
    room: str = ""


@dataclasses.dataclass(frozen=True)
class SourceChanged:
    """The sound server connected the input to another source. Later events are about that one."""

    start_s: float
    name: str  # of the source in the history
    source: str  # value for --input
    before: str  # the source so far
    reason: str  # "gone" or "moved", what happened to the source so far, or "returned" to the first one
    room: str = ""


Event = PlayStarted | PlayUpdated | PlayEnded | MusicUnknown | Silence | SourceChanged


@dataclasses.dataclass(frozen=True)
class Status:
    """What a listener is doing. It is a snapshot and no event."""

    state: str  # "silence", "no music", "searching", "playing", "unknown music" or "paused"
    level_db: float  # of the last tenth of a second, in dB of full scale; -inf for digital silence
    floor_db: float  # noise floor of the room; -inf while it is unknown
    gate_open: bool
    music: float  # probability that music is present, 0-1; 0 while the gate is closed
    playing: Play | None
    cpu_s: dict[str, float]  # processor time so far of gate, frontend, detector, network, search and match
    audio_s: float  # sound so far, lost sound included
    lost_s: float  # sound that was lost
    next_check_s: float | None  # until the next search or verification; None if all sound is searched
    room: str = ""
