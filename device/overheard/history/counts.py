"""Count the plays of each track, artist or album, the most played first."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from overheard.history.file import columns_of, explained, open_for_reading, version
from overheard.history.pages import SHOWN

_BY = {"tracks": ("artist", "title"), "artists": ("artist",), "albums": ("artist", "album")}
BY = tuple(_BY)
_COLUMNS = ("artist", "title", "album", "started_at", "ended_at", "source", "alternatives")
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
    """

    artist: str
    title: str
    album: str
    plays: int
    heard_s: float
    last_at: str


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
    keys = _BY[by]
    conditions = [SHOWN["plays"], "alternatives IS NULL", "ended_at >= ?", "started_at < ?"]
    conditions += [f"{key} != ''" for key in keys if by != "tracks"]
    values: list[str | int] = [since or "", until or "~"]
    if room is not None:
        conditions.append("(source = ? OR substr(source, 1, length(?) + 2) = ? || ', ')")
        values += [room] * 3
    shown = ", ".join(name if name in keys else "''" for name in ("artist", "title", "album"))
    heard = "sum(max(0, coalesce(julianday(ended_at) - julianday(started_at), 0))) * 86400"
    with explained(path):
        if not path.exists():
            return []
    with open_for_reading(path) as db:
        if not version(db):
            return []
        plays = f"SELECT {columns_of(db, (*_COLUMNS, *_MARKS))} FROM plays"  # noqa: S608
        rows = db.execute(
            f"SELECT {shown}, count(*), {heard}, max(started_at) FROM ({plays}) "  # noqa: S608
            f"WHERE {' AND '.join(conditions)} GROUP BY {', '.join(keys)} "
            "ORDER BY 4 DESC, 5 DESC, 1, 2, 3 LIMIT ?",
            (*values, limit or -1),
        ).fetchall()
    return [Count(*map(str, row[:3]), row[3], round(row[4], 3), str(row[5])) for row in rows]
