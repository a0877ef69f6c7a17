"""Change what the user says about plays in the history: wrong, favourite, and the name of unknown music."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from overheard.event_json import local_time
from overheard.history.file import (
    HistoryError,
    explained,
    open_for_reading,
    open_for_writing,
    version,
)

_TIMEOUT_S = 4.0  # for a program that writes to the history


@dataclasses.dataclass(frozen=True)
class UnknownRow:
    """Unknown music in the history; times are ISO 8601 in UTC."""

    unknown_id: int
    times: int
    first_at: str
    last_at: str


def mark_wrong(path: Path, ids: Sequence[int], wrong: bool = True) -> int:
    """Mark plays as wrong: they stay in the file, and lists leave them out.

    Parameters
    ----------
    path : the history
    ids : of the plays
    wrong : False takes the mark back

    Returns
    -------
    Number of plays with these ids.

    Raises
    ------
    HistoryError
        If the file cannot be changed.
    """
    return sum(_change(path, "wrong = ?", "id = ?", (int(wrong), number)) for number in ids)


def mark_favourite(path: Path, number: int, favourite: bool = True) -> bool:
    """Mark a play as a favourite, or take the mark back; return whether there is a play with this id.

    Raises
    ------
    HistoryError
        If the file cannot be changed.
    """
    return bool(_change(path, "favourite = ?", "id = ?", (int(favourite), number)))


def label_unknown(
    path: Path, unknown_id: int, artist: str, title: str, track_id: str = "", pack: str = ""
) -> int:
    """Give unknown music its name in all plays of it; return how many.

    Parameters
    ----------
    unknown_id : as in `MusicUnknown`
    track_id, pack : of the track in the catalogue that the music has become; its plays get the name too

    Raises
    ------
    HistoryError
        If the file cannot be changed.
    """
    label = f"{artist} - {title}" if artist else title
    values: list[str | int] = [artist, title, label]
    sets, where = "artist = ?, title = ?, label = ?", "unknown_id = ?"
    if not track_id:
        return _change(path, sets, where, (*values, unknown_id))
    place = track_id, pack
    where += " OR (track_id = ? AND pack = ?)"
    return _change(path, f"{sets}, track_id = ?, pack = ?", where, (*values, *place, unknown_id, *place))


def labelled_track(path: Path, unknown_id: int, pack: str) -> str | None:
    """Return the id of the track of a pack that unknown music has become; None if it has not.

    Raises
    ------
    HistoryError
        If the file cannot be read.
    """
    query = "SELECT track_id FROM plays WHERE unknown_id = ? AND pack = ? ORDER BY id DESC"
    with explained(path):
        if not path.exists():
            return None
    with open_for_reading(path) as db:
        row = db.execute(query, (unknown_id, pack)).fetchone() if version(db) >= 3 else None
    return str(row[0]) if row else None


def read_unknown(path: Path) -> list[UnknownRow]:
    """Return the unknown music in the history that has no name, the latest last.

    Rows with invalid values are left out.

    Raises
    ------
    HistoryError
        If the file cannot be read.
    """
    query = (
        "SELECT unknown_id, started_at, ended_at FROM plays "
        "WHERE unknown_id IS NOT NULL AND label IS NULL ORDER BY id"
    )
    with explained(path):
        if not path.exists():
            return []
    with open_for_reading(path) as db:
        raw = db.execute(query).fetchall() if version(db) >= 3 else []
    found: dict[int, UnknownRow] = {}
    for number, started_at, ended_at in raw:
        if isinstance(number, int) and _is_time(started_at) and _is_time(ended_at):
            one = found.get(number, UnknownRow(number, 0, started_at, ended_at))
            first, last = min(one.first_at, started_at), max(one.last_at, ended_at)
            found[number] = UnknownRow(number, one.times + 1, first, last)
    return sorted(found.values(), key=lambda row: row.last_at)


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and local_time(value) is not None
    except (ValueError, OverflowError):
        return False


def read_evidence(path: Path, number: int) -> str | None:
    """Return why a play was recognized, a JSON object; None if there is no such play or nothing is known.

    Raises
    ------
    HistoryError
        If the file cannot be read.
    """
    with explained(path):
        if not path.exists():
            return None
    with open_for_reading(path) as db:
        if version(db) < 3:
            return None
        row = db.execute("SELECT evidence FROM plays WHERE id = ?", (number,)).fetchone()
    return row[0] if row and isinstance(row[0], str) else None


def _change(path: Path, sets: str, where: str, values: tuple[str | int, ...]) -> int:
    with explained(path):
        if not path.exists():
            raise HistoryError(f"{path}: there is no history", "`overheard listen` records it")
        with contextlib.closing(open_for_writing(path, _TIMEOUT_S)) as db, db:
            return db.execute(f"UPDATE plays SET {sets} WHERE {where}", values).rowcount  # noqa: S608
