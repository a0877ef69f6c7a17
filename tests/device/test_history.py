"""The history file, and `overheard history`."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import io
import json
import os
import sqlite3
import time
from pathlib import Path

import pytest

from overheard import cli
from overheard.commands.history import to_cells, to_text
from overheard.commands.when import parse_when
from overheard.errors import OverheardError
from overheard.event_json import iso_utc
from overheard.events import Alternative, MusicUnknown, Play, PlayEnded, PlayStarted, PlayUpdated, Track
from overheard.history import writer as history
from overheard.history.marks import label_unknown, mark_favourite, mark_wrong, read_unknown
from overheard.history.writer import HistorySink, read_plays

T0 = datetime.datetime(2026, 11, 23, 20, 0, tzinfo=datetime.timezone.utc).timestamp()


def track(title: str = "Alpha", artist: str = "Ann") -> Track:
    return Track(title[:1].lower() * 12, title, artist, "First", f"/music/{title}.flac", "music", 200.0)


def play(end_s: float, start_s: float = 10.0, title: str = "Alpha", score: float = 5.0) -> Play:
    return Play(track(title), start_s, end_s, 62.0, score, 0.93)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch):
    """Set the local time zone, one with summer time."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def write(path: Path, *titles: str, started: float = T0) -> None:
    sink = HistorySink(path, "mic")
    for i, title in enumerate(titles):
        heard = play(i * 300 + 200.0, i * 300 + 10.0, title)
        sink.handle(PlayStarted(heard), started)
        sink.handle(PlayEnded(heard), started)
    sink.close()


def test_a_play_is_written_when_it_starts_and_updated_when_it_ends(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(16)), T0)
    (row,), count = read_plays(path)
    assert count == 1
    assert (row.started_at, row.ended_at) == ("2026-11-23T20:00:10.000Z", "2026-11-23T20:00:16.000Z")
    sink.handle(PlayEnded(play(100, score=7.0)), T0)
    sink.handle(MusicUnknown(120, 140), T0)
    (row,), _ = read_plays(path)
    assert row.ended_at == "2026-11-23T20:01:40.000Z"
    assert (row.title, row.artist, row.pack, row.source) == ("Alpha", "Ann", "music", "mic")
    assert (row.offset_s, row.score, row.confidence) == (62.0, 7.0, 0.93)
    sink.close()


def test_after_a_crash_the_end_of_a_play_is_its_last_update(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(history, "_UPDATE_INTERVAL_S", 0.0)
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(16)), T0)
    sink.handle(PlayUpdated(play(80)), T0)
    del sink  # never closed
    (row,), _ = read_plays(path)
    assert row.ended_at == "2026-11-23T20:01:20.000Z"


def test_frequent_updates_are_not_written(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(16)), T0)
    sink.handle(PlayUpdated(play(17)), T0)
    (row,), _ = read_plays(path)
    assert row.ended_at == "2026-11-23T20:00:16.000Z"


def test_a_play_without_a_start_event_is_written(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(PlayUpdated(play(80)), T0)
    sink.handle(PlayEnded(play(90)), T0)
    sink.handle(PlayEnded(play(400, 300)), T0)
    assert [row.ended_at[11:19] for row in read_plays(path)[0]] == ["20:01:30", "20:06:40"]


@pytest.mark.parametrize("jump_s", [3600, -3600])
def test_a_clock_that_is_set_during_a_play_moves_the_play(path: Path, jump_s: float):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(16)), T0)
    sink.handle(PlayUpdated(play(40)), T0 + jump_s)
    sink.handle(PlayEnded(play(60)), T0 + jump_s)
    (row,), _ = read_plays(path)
    assert (row.started_at, row.ended_at) == (iso_utc(T0 + jump_s + 10), iso_utc(T0 + jump_s + 60))


def test_a_play_keeps_its_start_when_the_sound_card_drifts(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(16)), T0)
    sink.handle(PlayEnded(play(60)), T0 + 2.5)
    (row,), _ = read_plays(path)
    assert (row.started_at, row.ended_at) == (iso_utc(T0 + 10), iso_utc(T0 + 62.5))


def test_titles_that_are_not_valid_utf8_are_escaped(path: Path):
    sink = HistorySink(path, "mic")
    play = Play(track("caf\udce9"), 0, 5, 0, 5, 0.9)
    sink.handle(PlayStarted(play), T0)
    assert read_plays(path)[0][0].title == "caf\\udce9"


def test_since_and_limit_select_the_latest_plays(path: Path):
    write(path, "Alpha", "Beta", "Gamma")
    rows, count = read_plays(path, limit=2)
    assert ([row.title for row in rows], count) == (["Beta", "Gamma"], 3)
    rows, count = read_plays(path, since="2026-11-23T20:05:00.000Z")
    assert ([row.title for row in rows], count) == (["Beta", "Gamma"], 2)


def test_reading_a_missing_history_returns_no_plays_and_creates_no_file(path: Path):
    assert read_plays(path) == ([], 0)
    assert not path.exists()


def test_reading_a_history_of_a_newer_version_raises_an_error(path: Path):
    write(path, "Alpha")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(OverheardError, match="newer"):
        read_plays(path)


def test_reading_a_file_that_is_not_a_history_raises_an_error(path: Path):
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but longer than a header of one " * 40)
    with pytest.raises(OverheardError, match="moves it aside"):
        read_plays(path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other (x)")
    with pytest.raises(OverheardError, match="a database of another program"):
        read_plays(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OverheardError, match="not a file"):
        read_plays(path)


def test_two_processes_can_write_one_history(path: Path):
    first, second = HistorySink(path, "mic"), HistorySink(path, "monitor")
    first.handle(PlayStarted(play(16)), T0)
    second.handle(PlayStarted(play(17, title="Beta")), T0)
    first.handle(PlayEnded(play(30)), T0)
    second.handle(PlayEnded(play(40, title="Beta")), T0)
    assert sorted(row.source for row in read_plays(path)[0]) == ["mic", "monitor"]


# The command


def run(path: Path, *args: str) -> int:
    return cli.main(["--data-dir", str(path.parent), "history", *args])


def test_the_table_groups_by_local_day(path: Path, zone, capsys: pytest.CaptureFixture[str]):
    late = datetime.datetime(2026, 11, 23, 22, 57, tzinfo=datetime.timezone.utc).timestamp()
    write(path, "Alpha", "Beta", started=late)
    assert run(path) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Monday 23 November 2026",
        "  23:57     3:10   93%  Ann - Alpha  (First)",
        "",
        "Tuesday 24 November 2026",
        "  00:02     3:10   93%  Ann - Beta  (First)",
        "",
        "2 plays, 6:20 of music",
    ]


def test_the_table_says_how_many_plays_it_leaves_out(path: Path):
    write(path, "Alpha", "Beta", "Gamma")
    rows, count = read_plays(path, limit=1)
    assert to_text(rows, count)[-1] == "1 play, 3:10 of music; --limit 0 shows 2 more"


def test_an_empty_history_says_what_to_do(path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(path) == 0
    assert "overheard listen" in capsys.readouterr().out
    assert run(path, "--since", "2h") == 0
    assert "no plays since 2h" in capsys.readouterr().out


def test_json_and_csv_have_all_columns(path: Path, capsys: pytest.CaptureFixture[str]):
    write(path, "Alpha", 'Be"t,a')
    assert run(path, "--json") == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [o["title"] for o in objects] == ["Alpha", 'Be"t,a']
    assert run(path, "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["title"] for row in rows] == ["Alpha", 'Be"t,a']
    assert list(rows[0]) == list(objects[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-03-29T10:00:00+02:00"),
        ("3d", "2026-03-26T12:00:00+02:00"),  # three times 24 hours
        ("30m", "2026-03-29T11:30:00+02:00"),
        ("today", "2026-03-29T00:00:00+01:00"),  # before the clocks changed
        ("yesterday", "2026-03-28T00:00:00+01:00"),
        ("2026-03-01", "2026-03-01T00:00:00+01:00"),
        ("2026-03-29T10:30", "2026-03-29T10:30:00+02:00"),
        ("11:15", "2026-03-29T11:15:00+02:00"),
        ("1:30", "2026-03-29T01:30:00+01:00"),  # before the clocks changed
        ("12:15", "2026-03-28T12:15:00+01:00"),  # yesterday: today's has not come yet
    ],
)
def test_since(text: str, expected: str, zone):
    now = datetime.datetime(2026, 3, 29, 12, 0).astimezone()
    assert parse_when(text, now) == datetime.datetime.fromisoformat(expected).astimezone()


@pytest.mark.parametrize("text", ["", "soon", "2x", "2026-13-01", "99999999999d"])
def test_an_invalid_time_is_an_error(text: str, path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(path, "--since", text) == 2
    assert "2026-11-01" in capsys.readouterr().err


# Ambiguous plays


def ambiguous(title: str, others: list[str], end_s: float) -> Play:
    alternatives = tuple(Alternative(track(other), 1.0) for other in others)
    return Play(track(title), 10, end_s, 62.0, 5.0, 0.93, alternatives)


def test_an_ambiguous_play_is_stored_and_settles_in_its_row(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(ambiguous("Alpha", ["Beta", "Gamma"], 16)), T0)
    (row,), _ = read_plays(path)
    assert [other["track"]["title"] for other in row.alternatives] == ["Beta", "Gamma"]
    assert [other["offset_s"] for other in row.alternatives] == [1.0, 1.0]
    assert "ambiguous: Ann - Alpha, or one of 2 others" in to_text([row], 1)[1]
    assert "Ann - Beta; Ann - Gamma" in to_cells(row)
    sink.handle(PlayUpdated(ambiguous("Gamma", [], 20)), T0)  # written at once, before it is printed
    (row,), _ = read_plays(path)
    assert (row.track_id, row.title, row.alternatives) == (track("Gamma").id, "Gamma", [])
    sink.handle(PlayEnded(ambiguous("Gamma", [], 90)), T0)
    (settled,), _ = read_plays(path)
    assert (settled.id, settled.title) == (row.id, "Gamma")
    assert settled.ended_at == iso_utc(T0 + 90)


def test_an_ambiguous_play_settles_in_a_file_that_was_recovered(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(ambiguous("Alpha", ["Beta"], 16)), T0)
    entry = sink._heard[""].open
    assert entry is not None
    entry.row = None  # as after the file was replaced
    sink.handle(PlayUpdated(ambiguous("Beta", [], 20)), T0)
    assert [row.title for row in read_plays(path)[0]] == ["Beta"]


def history_of_version_1(path: Path) -> None:
    HistorySink(path, "mic").close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for _, name, *_ in db.execute("PRAGMA table_info(plays)").fetchall()[13:]:
            db.execute(f"ALTER TABLE plays DROP COLUMN {name}")
        db.execute("PRAGMA user_version = 1")
        values = ("a", "Old", "Ann", "", "p", "/a", iso_utc(T0), iso_utc(T0 + 5), 1.0, 5.0, 0.9, "mic")
        db.execute("INSERT INTO plays VALUES (7, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


def test_a_history_of_an_earlier_version_is_read_and_migrated(path: Path):
    history_of_version_1(path)
    assert [(row.id, row.title, row.alternatives) for row in read_plays(path)[0]] == [(7, "Old", [])]
    sink = HistorySink(path, "mic")
    sink.handle(PlayEnded(ambiguous("Alpha", ["Beta"], 16)), T0)
    sink.close()
    rows, _ = read_plays(path)
    assert [(row.id, row.title, len(row.alternatives)) for row in rows] == [(7, "Old", 0), (8, "Alpha", 1)]
    HistorySink(path, "mic").close()  # once is enough


def test_a_history_of_version_2_is_read_and_migrated(path: Path):
    write(path, "Alpha", "Beta")
    before, _ = read_plays(path)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for name in ("speed", "favourite", "wrong", "unknown_id", "label", "evidence"):
            db.execute(f"ALTER TABLE plays DROP COLUMN {name}")
        db.execute("PRAGMA user_version = 2")
    assert read_plays(path)[0] == before
    assert mark_wrong(path, [1]) == 1
    assert read_plays(path) == (before[1:], 1)
    (wrong, _), count = read_plays(path, hidden=True)
    assert (wrong, count) == (dataclasses.replace(before[0], wrong=True), 2)


def test_a_play_that_goes_on_after_a_pause_is_one_row(path: Path):
    sink = HistorySink(path, "mic")
    for heard in (play(100), play(200, 110, "Beta"), play(300)):  # another track in between
        sink.handle(PlayStarted(heard), T0)
        sink.handle(PlayEnded(heard), T0 + 0.5)  # the clock is corrected a little
    sink.handle(PlayStarted(play(310)), T0 + 3600)  # another source, whose clock started later
    sink.close()
    rows, _ = read_plays(path)
    assert [(row.title, row.ended_at[11:19]) for row in rows] == [
        ("Alpha", "20:05:00"),
        ("Beta", "20:03:20"),
        ("Alpha", "21:05:10"),
    ]


def test_unknown_music_is_listed_when_it_has_a_name(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(MusicUnknown(0, 15, 7), T0)
    sink.handle(MusicUnknown(100, 115), T0)  # not remembered
    sink.handle(MusicUnknown(600, 615, 7, 2, T0), T0)
    sink.handle(MusicUnknown(900, 915, 8), T0)
    assert read_plays(path) == ([], 0)
    assert [(row.unknown_id, row.times) for row in read_unknown(path)] == [(7, 2), (8, 1)]
    assert read_unknown(path)[0].first_at == iso_utc(T0)
    assert label_unknown(path, 7, "Ann", "Alpha", "abc", "named") == 2
    sink.handle(MusicUnknown(1200, 1215, 8), T0)
    sink.close()
    rows, _ = read_plays(path)
    assert [(row.artist, row.title, row.track_id, row.label) for row in rows] == [
        ("Ann", "Alpha", "abc", "Ann - Alpha")
    ] * 2
    assert [row.unknown_id for row in read_unknown(path)] == [8]


@pytest.mark.parametrize(
    "change", ["started_at = 'soon'", "ended_at = '9999-99-99'", "ended_at = x'00'", "unknown_id = 'seven'"]
)
def test_unknown_music_with_invalid_values_is_left_out(
    path: Path, change: str, capsys: pytest.CaptureFixture[str]
):
    sink = HistorySink(path, "mic")
    for start_s, number in ((0, 7), (600, 7), (900, 8)):
        sink.handle(MusicUnknown(start_s, start_s + 15, number), T0)
    sink.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE plays SET {change} WHERE id IN (2, 3)")  # noqa: S608
    assert [(row.unknown_id, row.times) for row in read_unknown(path)] == [(7, 1)]
    assert run(path, "unknown") == 0
    assert "heard once" in capsys.readouterr().out


def test_marks_stay_when_a_play_goes_on(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(16)), T0)
    assert mark_favourite(path, 1)
    assert not mark_favourite(path, 9)
    assert mark_wrong(path, [1]) == 1
    sink.handle(PlayEnded(play(60)), T0)
    sink.close()
    (row,), _ = read_plays(path, hidden=True)
    assert (row.favourite, row.wrong, row.ended_at) == (True, True, iso_utc(T0 + 60))
    assert mark_wrong(path, [1], wrong=False) == 1
    assert read_plays(path)[1] == 1


@pytest.mark.parametrize(
    "text", ["nonsense", "3", "[3]", '[{"track": {"title": 3}}]', "[" * 100_000, b"\xff"]
)
def test_alternatives_that_are_invalid_cost_their_row(path: Path, text: str | bytes):
    sink = HistorySink(path, "mic")
    sink.handle(PlayEnded(ambiguous("Alpha", ["Beta"], 16)), T0)
    sink.handle(PlayEnded(play(400, 300)), T0)
    sink.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE plays SET alternatives = ? WHERE id = 1", (text,))
    assert [row.id for row in read_plays(path)[0]] == [2]
