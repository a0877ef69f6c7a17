"""Write one play to the history: insert its row, and update it while the play continues."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Sequence

from overheard.event_json import alternatives_json, iso_utc
from overheard.events import EvidencePoint, MusicUnknown, Play, Track
from overheard.history.evidence import evidence_json

_CLOCK_SET_S = 5.0  # a start that moves by more was corrected, by less follows the drift of a sound card
_COLUMNS = (
    *("track_id", "title", "artist", "album", "pack", "path"),
    *("started_at", "ended_at", "offset_s", "score", "confidence", "alternatives", "speed", "evidence"),
    "unknown_id",
)
_INSERT = f"INSERT INTO plays ({', '.join(_COLUMNS)}, source) VALUES ({'?, ' * len(_COLUMNS)}?)"  # noqa: S608
_FIND = "SELECT id, track_id FROM plays WHERE started_at = ? AND source = ? AND track_id IN (?, ?)"
# The id of a play that was forgotten may be another play's now.
_UPDATE = (
    f"UPDATE plays SET {', '.join(f'{name} = ?' for name in _COLUMNS)} "  # noqa: S608
    "WHERE id = ? AND started_at = ? AND track_id = ?"
)
Value = str | float | None


@dataclasses.dataclass(eq=False)
class Entry:
    """A play in memory: everything that its row needs."""

    play: Play
    started: float  # Unix time at which the source's clock was 0
    source: str
    row: int | None = None  # its id in the file
    stored_start: str = ""  # its started_at in the file
    stored_track: str = ""  # its track_id in the file
    first_track: str = ""  # the id before the play settled
    unknown_id: int | None = None  # of unknown music
    evidence: str | None = None  # JSON

    @classmethod
    def of_unknown(cls, event: MusicUnknown, started: float, source: str) -> Entry:
        """Return the entry of unknown music, which has no track."""
        name = f"unknown music {event.unknown_id}"
        track = Track(f"unknown-{event.unknown_id}", name, "", "", "", "unknown", 0.0)
        play = Play(track, event.start_s, event.end_s, 0.0, 0.0, 0.0)
        return cls(play, started, source, unknown_id=event.unknown_id)

    def goes_on(self, play: Play, started: float) -> bool:
        """Return whether a play that starts is this one, which had ended, as after a pause."""
        return self.is_of(play) and abs(started - self.started) <= _CLOCK_SET_S

    def is_of(self, play: Play) -> bool:
        """Return whether a play is this one; while it is ambiguous, its track may change."""
        tracks = (self.play.track, *(other.track for other in self.play.alternatives))
        return play.start_s == self.play.start_s and play.track.id in [track.id for track in tracks]

    def settles(self, play: Play) -> bool:
        """Return whether a play of this entry has other tracks than before."""
        return (play.track, play.alternatives) != (self.play.track, self.play.alternatives)

    def update(self, play: Play, started: float) -> None:
        """Set the new end. The start moves only if the wall clock was set, so that the length stays."""
        end = started + play.end_s
        self.first_track = self.first_track or self.play.track.id
        if abs(started - self.started) > _CLOCK_SET_S:
            self.started = started
        self.play = dataclasses.replace(play, end_s=max(play.start_s, end - self.started))

    def explain(self, points: Sequence[EvidencePoint]) -> None:
        """Keep what the play rests on."""
        if points:
            self.evidence = evidence_json(points, self.play.start_s)

    @property
    def started_at(self) -> str:
        """The start in ISO 8601."""
        return iso_utc(self.started + self.play.start_s)

    @property
    def ended_at(self) -> str:
        """The end in ISO 8601."""
        return iso_utc(self.started + self.play.end_s)

    def write(self, db: sqlite3.Connection) -> int | None:
        """Insert or update the row, in the caller's transaction; return its id."""
        row, start, track = self.row, self.stored_start, self.stored_track
        if row is None:
            # A commit that reported an error may have succeeded, and a file that was damaged was recovered.
            start = start or self.started_at
            ids = [_value(name) for name in (self.first_track or self.play.track.id, self.play.track.id)]
            found = db.execute(_FIND, (start, _value(self.source), *ids)).fetchone()
            if found is None:
                return db.execute(_INSERT, (*self._values(), _value(self.source))).lastrowid
            row, track = int(found[0]), str(found[1])
        # No row is updated if the user has forgotten this play.
        db.execute(_UPDATE, (*self._values(), row, start, _value(track)))
        return row

    def written(self, row: int | None) -> None:
        """Note that the transaction of `write` succeeded."""
        self.row, self.stored_start, self.stored_track = row, self.started_at, self.play.track.id

    def _values(self) -> tuple[Value, ...]:
        play, track = self.play, self.play.track
        values: tuple[Value, ...] = (
            *(track.id, track.title, track.artist, track.album, track.pack, track.path),
            *(self.started_at, self.ended_at, play.offset_s, play.score, play.confidence),
            json.dumps(alternatives_json(play)) if play.alternatives else None,
            *(play.speed, self.evidence, self.unknown_id),
        )
        return tuple(map(_value, values))


def _value(value: Value) -> Value:
    """Convert NumPy numbers to float, and escape text that is not valid UTF-8: SQLite stores neither."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return None if value is None else float(value)
