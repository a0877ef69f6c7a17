"""`overheard history --at`, `--until` and `--top`: what was that, and what was played most often."""

from __future__ import annotations

import csv
import datetime
import io
import json
import sqlite3
import time
from pathlib import Path

import pytest

from overheard import cli
from overheard.events import Alternative, MusicUnknown, Play, PlayEnded, PlayStarted, Track
from overheard.history.counts import count_plays
from overheard.history.file import HistoryError
from overheard.history.marks import label_unknown, mark_wrong
from overheard.history.writer import HistorySink, read_plays

HOUR_S = 3600.0


def track(title: str, artist: str = "Ann", album: str = "First") -> Track:
    return Track(title[:1].lower() * 12, title, artist, album, f"/music/{title}.flac", "music", 200.0)


@pytest.fixture
def now() -> float:
    """Unix time at the start of the test."""
    return time.time()


@pytest.fixture
def path(tmp_path: Path, now: float) -> Path:
    """Alpha twice, Beta by Bob once and longer, two plays that do not count, unknown music an hour ago."""
    path = tmp_path / "data" / "history.sqlite"
    sink = HistorySink(path, "")

    def write(heard: Track, hours_ago: float, length_s: float, other: str = "", room: str = "") -> None:
        alternatives = (Alternative(track(other), 0.0),) if other else ()
        play = Play(heard, 0.0, length_s, 5.0, 5.0, 0.93, alternatives)
        sink.handle(PlayStarted(play, room=room), now - hours_ago * HOUR_S)
        sink.handle(PlayEnded(play, room=room), now - hours_ago * HOUR_S)

    write(track("Alpha"), 50, 100.0)
    write(track("Alpha"), 3, 100.0, room="kitchen")
    write(track("Beta", "Bob", ""), 2, 300.0, room="bath")
    write(track("Gamma"), 2.5, 60.0, other="Delta")
    write(track("Wrong"), 1, 60.0)
    sink.handle(MusicUnknown(0.0, 30.0, 7, 1, now), now - HOUR_S)
    sink.close()
    mark_wrong(path, [5])
    return path


def run(path: Path, *arguments: str) -> int:
    return cli.main(["--data-dir", str(path.parent), "history", *arguments])


def test_what_was_that_an_hour_ago(path: Path, now: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "--at", "62m") == 0
    out = capsys.readouterr().out
    assert "unknown music 7" in out
    assert "1 play" in out
    assert "Wrong" not in out
    assert run(path, "--at", "1h", "--all", "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    clock = datetime.datetime.fromtimestamp(now - 2 * HOUR_S).strftime("%H:%M")
    assert run(path, "--at", clock) == 0
    assert "Bob - Beta" in capsys.readouterr().out
    assert run(path, "--at", "40h") == 0
    assert capsys.readouterr().out == "no plays within 5 minutes of 40h\n"


def test_plays_before_a_time_and_in_a_room(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "--since", "4h", "--until", "150m") == 0
    out = capsys.readouterr().out
    assert "Ann - Alpha" in out
    assert "Beta" not in out
    assert run(path, "--since", "4h", "--until", "3h", "--room", "attic") == 0
    assert capsys.readouterr().out == "no plays since 4h before 3h in attic\n"
    assert run(path, "--until", "never") == 2
    assert "--until: invalid time 'never'" in capsys.readouterr().err


def test_what_was_played_most_often(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(path, "--top", "tracks") == 0
    assert capsys.readouterr().out.splitlines() == [
        "      2       3:20  Ann - Alpha",
        "      1       5:00  Bob - Beta",
        "",
        "2 tracks, 3 plays, 8:20 of music",
    ]
    assert run(path, "--top", "artists", "--since", "1d", "--limit", "1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "      1       5:00  Bob",
        "",
        "2 artists, 2 plays, 6:40 of music; --limit 0 shows 1 more",
    ]
    assert run(path, "--top", "albums", "--room", "kitchen", "--json") == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (found["artist"], found["album"], found["title"], found["plays"]) == ("Ann", "First", "", 1)
    assert run(path, "--top", "tracks", "--csv") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["title"], row["plays"], row["heard_s"]) for row in rows] == [
        ("Alpha", "2", "200.0"),
        ("Beta", "1", "300.0"),
    ]
    assert run(path, "--top", "albums", "--until", "3d") == 0
    assert capsys.readouterr().out == "no albums yet; they come from the tags of the files\n"


def test_the_plays_of_a_room_are_listed_and_counted_alike(path: Path) -> None:
    """Also after its source changed, and not those of a room whose name begins in the same way."""
    for source in ("kitchen, USB microphone", "kitchenette"):
        sink = HistorySink(path, source)
        sink.handle(PlayStarted(Play(track("Beta"), 0.0, 9.0, 0.0, 5.0, 0.93)), time.time())
        sink.close()
    with sqlite3.connect(path) as db:  # damaged: counted nowhere
        db.execute("UPDATE plays SET source = x'00' WHERE source = 'bath'")
    for room, n_plays in (("kitchen", 2), ("kitchenette", 1), ("bath", 0), ("attic", 0)):
        assert len([row for row in read_plays(path)[0] if row.is_in(room)]) == n_plays
        assert sum(count.plays for count in count_plays(path, "tracks", room=room)) == n_plays


def test_named_music_counts(path: Path) -> None:
    label_unknown(path, 7, "Cy", "Chi")
    assert ("Cy", "Chi", 1) in [(one.artist, one.title, one.plays) for one in count_plays(path, "tracks")]


def test_formulas_are_no_formulas_in_a_spreadsheet(
    tmp_path: Path, now: float, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.sqlite"
    sink = HistorySink(path, "mic")
    play = Play(track("=1+1", "@SUM(A1)"), 0.0, 60.0, 5.0, 5.0, 0.93)
    sink.handle(PlayStarted(play), now)
    sink.close()
    assert run(path, "--top", "tracks", "--csv") == 0
    row = next(iter(csv.DictReader(io.StringIO(capsys.readouterr().out))))
    assert row["title"].startswith("'=") or row["title"][0] != "="


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--at", "1h", "--since", "2h"), "--at cannot be used with"),
        (("--at", "1h", "--top", "tracks"), "--at cannot be used with"),
        (("--top", "tracks", "--m3u8"), "--top cannot be used with --m3u8"),
        (("--top", "artists", "--all"), "--top cannot be used with --all"),
        (("--at", "25:00"), "--at: invalid time"),
    ],
)
def test_what_does_not_go_together(
    path: Path, arguments: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(path, *arguments) == 2
    assert problem in capsys.readouterr().err


def test_histories_that_cannot_be_counted(tmp_path: Path) -> None:
    path = tmp_path / "history.sqlite"
    assert count_plays(path, "tracks") == []
    path.touch()
    assert count_plays(path, "tracks") == []
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(HistoryError, match="damaged"):
        count_plays(path, "tracks")


def test_rows_with_invalid_values_cost_nothing(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE plays SET ended_at = 'soon' WHERE title = 'Beta'")
        db.execute("UPDATE plays SET artist = x'ff00' WHERE title = 'Wrong'")
        db.execute("UPDATE plays SET wrong = 0")
    found = count_plays(path, "tracks")
    assert ("Beta", 1, 0.0) in [(one.title, one.plays, one.heard_s) for one in found]
    assert read_plays(path)[1] == 3  # Alpha twice, and Gamma
