"""Count the plays of each track, artist or album, the most played first."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from overheard.history.file import columns_of, explained, open_for_reading, version
from overheard.history.pages import SHOWN
from overheard.history.play_rows import is_in_room

_BY = {"tracks": ("artist", "title"), "artists": ("artist",), "albums": ("artist", "album")}
BY = tuple(_BY)
_COLUMNS = ("artist", "title", "album", "started_at", "ended_at", "source", "alternatives", "track_id")
_HEARD_S = "86400 * max(0, coalesce(julianday(ended_at) - julianday(started_at), 0))"
_ORDER = "ORDER BY 4 DESC, 5 DESC, 1, 2, 3 LIMIT ?"
_MARKS = ("wrong", "unknown_id", "label")


@dataclasses.dataclass(frozen=True)
class Count:
    """How often something was played.

    Attributes
    ----------
    artist, title, album : empty where they are not counted apart
    plays : how often
    heard_s : how long in all, in seconds
    last_at : start of the last play, ISO 8601 in UTC
    track_id : of the last play
    """

    artist: str
    title: str
    album: str
    plays: int
    heard_s: float
    last_at: str
    track_id: str


def count_plays(
    path: Path,
    by: str,
    since: str | None = None,
    until: str | None = None,
    room: str | None = None,
    limit: int = 0,
) -> list[Count]:
    """Count plays. Wrong plays, ambiguous ones and unknown music without a name do not count.

    Parameters
    ----------
    path : the history; if it does not exist, there are no plays
    by : one of `BY`; plays without an artist, or without an album, count for none
    since, until : only plays that ended after, or started before, this time; ISO 8601 in UTC
    room : only plays in this room
    limit : of the counts; 0 for all

    Raises
    ------
    HistoryError
        If the file cannot be read, is damaged, is not a history, or was written by a newer version.
    """
    where, values = _conditions(by, since, until, room)
    with explained(path):
        if not path.exists():
            return []
    with open_for_reading(path) as db:
        if not version(db):
            return []
        db.create_function("is_in_room", 2, is_in_room, deterministic=True)
        plays = f"SELECT {columns_of(db, (*_COLUMNS, *_MARKS))} FROM plays"  # noqa: S608
        query = f"SELECT {_shown(by)} FROM ({plays}) WHERE {where} GROUP BY {', '.join(_BY[by])} {_ORDER}"  # noqa: S608
        rows = db.execute(query, (*values, limit or -1)).fetchall()
    return [
        Count(str(artist), str(title), str(album), plays, round(heard_s, 3), str(last_at), str(track_id))
        for artist, title, album, plays, heard_s, last_at, track_id in rows
    ]


def _conditions(by: str, since: str | None, until: str | None, room: str | None) -> tuple[str, list[str]]:
    conditions = [SHOWN["plays"], "alternatives IS NULL", "ended_at >= ?", "started_at < ?"]
    conditions += [f"{key} != ''" for key in _BY[by] if by != "tracks"]
    values = [since or "", until or "~"]
    if room is not None:
        conditions.append("is_in_room(source, ?)")
        values.append(room)
    return " AND ".join(conditions), values


def _shown(by: str) -> str:
    names = [name if name in _BY[by] else "''" for name in ("artist", "title", "album")]
    # SQLite takes the track of the row with the only maximum.
    return ", ".join([*names, "count(*)", f"sum({_HEARD_S})", "max(started_at)", "track_id"])
