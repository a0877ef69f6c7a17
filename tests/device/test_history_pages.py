"""Pages of plays: the latest first, and only those that are wanted."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from overheard.events import Track
from overheard.history.file import HistoryError
from overheard.history.marks import label_unknown, mark_favourite, mark_wrong
from overheard.history.pages import Wanted, find_play, find_plays
from web_fakes import TRACK, write_history

START = 1_700_000_000.0  # 2023-11-14T22:13:20Z
MINUTE_S = 60.0


def track(title: str, artist: str, album: str = "") -> Track:
    return dataclasses.replace(TRACK, id=title[0].lower() * 12, title=title, artist=artist, album=album)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Four plays, two minutes apart, of which the last is wrong; then unknown music."""
    heard = [track("Alpha", "Ann", "Öl"), track("Beta", "BÖRK"), track("Alpha", "Ann", "Öl"), track("C", "C")]
    plays = [(one, START + 2 * MINUTE_S * number) for number, one in enumerate(heard)]
    write_history(tmp_path, plays, [(7, START + 8 * MINUTE_S)])
    mark_wrong(tmp_path / "history.sqlite", [4])
    return tmp_path / "history.sqlite"


def ids(path: Path, limit: int = 50, **wanted: object) -> list[int]:
    return [row.id for row in find_plays(path, Wanted(**wanted), limit)[0]]  # type: ignore[arg-type]


def test_the_latest_come_first_and_pages_follow_each_other(path: Path) -> None:
    first, more = find_plays(path, Wanted(), 2)
    assert ([row.id for row in first], more) == ([3, 2], True)
    rest, more = find_plays(path, Wanted(before=(first[-1].started_at, first[-1].id)), 2)
    assert ([row.id for row in rest], more) == ([1], False)
    assert not find_plays(path, Wanted(), 3)[1]


def test_each_view_has_its_plays(path: Path) -> None:
    mark_favourite(path, 2)
    shown = {show: ids(path, show=show) for show in ("plays", "favourites", "unknown", "wrong", "everything")}
    assert shown == {
        "plays": [3, 2, 1],
        "favourites": [2],
        "unknown": [5],
        "wrong": [4],
        "everything": [5, 3, 2, 1],
    }
    assert ids(path, show=None) == [5, 4, 3, 2, 1]


def test_unknown_music_with_a_name_is_a_play(path: Path) -> None:
    label_unknown(path, 7, "Found", "Ann", "")
    assert ids(path, show="unknown") == []
    assert ids(path)[0] == 5
    assert ids(path, words=("found",)) == [5]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("alp",), [3, 1]),
        (("ALP", "ann"), [3, 1]),
        (("öl",), [3, 1]),  # the album, and letters that SQLite's LIKE does not know
        (("börk",), [2]),
        (("alpha", "börk"), []),
        (("%",), []),
        (("_",), []),
    ],
)
def test_every_word_must_occur_in_any_case(path: Path, words: tuple[str, ...], expected: list[int]) -> None:
    assert ids(path, words=words) == expected


def test_times_and_tracks_limit_what_is_found(path: Path) -> None:
    assert ids(path, since="2023-11-14T22:15:30Z") == [3, 2]  # the second play runs until 22:16:20
    assert ids(path, until="2023-11-14T22:15:30Z") == [2, 1]
    assert ids(path, track_id="a" * 12) == [3, 1]


def test_a_play_is_found_by_its_id(path: Path) -> None:
    play = find_play(path, 4)
    assert play is not None
    assert (play.title, play.wrong) == ("C", True)
    assert find_play(path, 99) is None


def test_rows_with_invalid_values_are_left_out(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE plays SET started_at = 'yesterday' WHERE id = 2")
    db.close()
    assert ids(path) == [3, 1]


@pytest.mark.parametrize("change", ["started_at = 'yesterday'", "started_at = 7", "score = 'high'"])
def test_rows_with_invalid_values_do_not_hide_older_plays(path: Path, change: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE plays SET {change} WHERE id = 2")  # noqa: S608
    db.close()
    (first,), more = find_plays(path, Wanted(), 1)
    assert (first.id, more) == (3, True)
    (second,), more = find_plays(path, Wanted(before=(first.started_at, first.id)), 1)
    assert (second.id, more) == (1, False)
    assert find_plays(path, Wanted(), 2)[1] is False


def test_no_history_has_no_plays_and_another_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    assert find_plays(path, Wanted(), 5) == ([], False)
    assert find_play(path, 1) is None
    path.write_text("no database " * 100)
    with pytest.raises(HistoryError):
        find_plays(path, Wanted(), 5)
