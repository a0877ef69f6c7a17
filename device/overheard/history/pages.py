"""Find plays in the history page by page, the latest first, for displays that search it."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from overheard.history.file import columns_of, explained, open_for_reading, version
from overheard.history.play_rows import PlayRow, checked

_NAMED = "(unknown_id IS NULL OR label IS NOT NULL)"
# What can be shown, and the condition of each.
SHOWN = {
    "plays": f"coalesce(wrong, 0) = 0 AND {_NAMED}",
    "favourites": "favourite = 1",
    "unknown": f"coalesce(wrong, 0) = 0 AND NOT {_NAMED}",
    "wrong": "wrong = 1",
    "everything": "coalesce(wrong, 0) = 0",
}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which plays are wanted; all of them by default.

    Attributes
    ----------
    show : a key of `SHOWN`; None: also what is wrong
    words : each must occur in the title, artist or album, in any case
    since, until : only plays that ended after, or started before, this time; ISO 8601 in UTC
    before : only plays that started before the one with this start and id
    track_id : only plays of this track
    """

    show: str | None = "plays"
    words: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    before: tuple[str, int] | None = None
    track_id: str | None = None


def find_plays(path: Path, wanted: Wanted, limit: int) -> tuple[list[PlayRow], bool]:
    """Find plays, the latest first.

    Returns
    -------
    plays : list of PlayRow
        At most `limit`; rows with invalid values are left out.
    more : bool
        Whether there are more.

    Raises
    ------
    HistoryError
        If the file cannot be read, is damaged, is not a history, or was written by a newer version.
    """
    conditions, values = _conditions(wanted)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = _query(path, f"{where} ORDER BY started_at DESC, id DESC", values, limit + 1)
    return rows[:limit], len(rows) > limit


def find_play(path: Path, play_id: int) -> PlayRow | None:
    """Return the play with an id; None if there is none. Raises HistoryError as `find_plays`."""
    return next(iter(_query(path, "WHERE id = ?", (play_id,), 1)), None)


def _conditions(wanted: Wanted) -> tuple[list[str], list[str | int]]:
    conditions = [] if wanted.show is None else [SHOWN[wanted.show]]
    values: list[str | int] = []
    for condition, value in (
        ("ended_at >= ?", wanted.since),
        ("started_at < ?", wanted.until),
        ("track_id = ?", wanted.track_id),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if wanted.before is not None:
        conditions.append("(started_at, id) < (?, ?)")
        values += wanted.before
    for word in wanted.words:
        conditions.append("contains(title || ' ' || artist || ' ' || album, ?)")
        values.append(word.casefold())
    return conditions, values


def _query(path: Path, where: str, values: Sequence[str | int], limit: int) -> list[PlayRow]:
    """Return the first rows with valid values. Invalid ones do not count: they would end a page too early."""
    with explained(path):
        if not path.exists():
            return []
    with open_for_reading(path) as db:
        if not version(db):
            return []
        # SQLite's own LIKE knows upper and lower case of ASCII only.
        db.create_function("contains", 2, _contains, deterministic=True)
        valid = (row for row in map(checked, _select(db, where, values)) if row is not None)
        return list(itertools.islice(valid, limit))


def _select(db: sqlite3.Connection, where: str, values: Sequence[str | int]) -> Iterator[tuple[object, ...]]:
    columns = columns_of(db, [field.name for field in dataclasses.fields(PlayRow)])
    # A subquery, so that the conditions can use columns that the file of an earlier version does not have.
    return db.execute(f"SELECT * FROM (SELECT {columns} FROM plays) {where}", values)  # noqa: S608


def _contains(text: object, word: str) -> bool:
    return isinstance(text, str) and word in text.casefold()
