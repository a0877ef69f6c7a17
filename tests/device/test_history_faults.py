"""The history when its file is deleted, locked, damaged, read-only, or on a full disk; and forgetting."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from overheard import cli
from overheard.errors import OverheardError
from overheard.event_json import iso_utc
from overheard.events import Play, PlayEnded, PlayStarted, PlayUpdated, Track
from overheard.history import writer as history
from overheard.history.file import HistoryError, open_for_writing
from overheard.history.forget import forget
from overheard.history.play_rows import recover
from overheard.history.writer import HistorySink, read_plays

T0 = datetime.datetime(2026, 11, 23, 20, 0, tzinfo=datetime.timezone.utc).timestamp()


def play(number: int, end_s: float | None = None) -> Play:
    title = f"Title {number}"
    track = Track(f"{number:012x}", title, "Ann", "First", f"/music/{title}.flac", "music", 200.0)
    start_s = 100.0 * number
    return Play(track, start_s, start_s + 5 if end_s is None else end_s, 62.0, 5.0, 0.93)


def hear(sink: HistorySink, *numbers: int) -> None:
    for number in numbers:
        sink.handle(PlayStarted(play(number)), T0)
        sink.handle(PlayEnded(play(number, 100.0 * number + 90)), T0)


def titles(path: Path) -> list[str]:
    return [row.title for row in read_plays(path)[0]]


def names(*numbers: int) -> list[str]:
    return [f"Title {number}" for number in numbers]


def messages(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(record.message for record in caplog.records)


def contains(folder: Path, text: str) -> bool:
    return any(text.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "history.sqlite"


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_RETRY_S", "_LAST_RETRY_S"):
        monkeypatch.setattr(history, name, 0.0)
    for name in ("_BUSY_TIMEOUT_S", "_CLOSE_TIMEOUT_S"):
        monkeypatch.setattr(history, name, 0.05)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a disk of one megabyte."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting needs root")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


# Deleted


def test_a_deleted_history_is_noticed_and_a_new_one_started(path: Path, caplog: pytest.LogCaptureFixture):
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    sink.handle(PlayStarted(play(2)), T0)
    path.unlink()
    sink.idle()
    assert not contains(path.parent, "Title 1")  # the write-ahead log had it
    assert titles(path) == names(2)  # the play that is heard
    sink.handle(PlayEnded(play(2, 290)), T0)
    hear(sink, 3)
    assert titles(path) == names(2, 3)
    assert read_plays(path)[0][0].ended_at == iso_utc(T0 + 290)
    assert messages(caplog).count("was deleted") == 1
    sink.close()


def test_a_history_that_another_process_replaced_is_used_and_keeps_its_plays(path: Path):
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    path.unlink()
    other = HistorySink(path, "monitor")
    hear(other, 2)
    hear(sink, 3)
    hear(other, 4)
    sink.close()
    assert titles(path) == names(2, 3, 4)
    other.close()
    assert titles(path) == names(2, 3, 4)


def test_a_history_that_is_moved_away_is_complete(path: Path):
    sink = HistorySink(path, "mic")
    hear(sink, 1, 2)
    path.rename(path.with_name("old.sqlite"))
    hear(sink, 3)
    assert titles(path.with_name("old.sqlite")) == names(1, 2)
    assert titles(path) == names(3)


def test_a_deleted_write_ahead_log_loses_nothing(path: Path):
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    path.with_name("history.sqlite-wal").unlink()
    sink.idle()
    hear(sink, 2)
    assert titles(path) == names(1, 2)


def test_a_deleted_folder_is_created_again(path: Path):
    sink = HistorySink(path, "mic")
    shutil.rmtree(path.parent)
    hear(sink, 1)
    assert titles(path) == names(1)


# Not writable

LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"locked\n"
        yield
        process.stdin.close()


def test_a_lock_delays_plays_but_changes_nothing(path: Path, caplog: pytest.LogCaptureFixture):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(1)), T0)
    with locked(path):
        sink.handle(PlayEnded(play(1, 190)), T0)
        hear(sink, 2, 3)
        sink.handle(PlayStarted(play(4)), T0)
        assert titles(path) == names(1)  # reading goes on
    sink.idle()
    assert titles(path) == names(1, 2, 3, 4)
    sink.handle(PlayEnded(play(4, 490)), T0)
    assert [row.ended_at for row in read_plays(path)[0]] == [iso_utc(T0 + s) for s in (190, 290, 390, 490)]
    first, second = [record.message for record in caplog.records]
    assert "locked by another program; close" in first
    assert second == "history: can be written again; plays written late: 4"


def test_a_lock_at_the_start_does_not_end_listening(path: Path):
    HistorySink(path, "mic").close()
    with locked(path):
        sink = HistorySink(path, "mic")
        hear(sink, 1)
    hear(sink, 2)
    assert titles(path) == names(1, 2)


def test_a_full_disk_delays_plays_but_changes_nothing(small_disk: Path, caplog: pytest.LogCaptureFixture):
    path = small_disk / "history.sqlite"
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(1)), T0)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    sink.handle(PlayEnded(play(1, 190)), T0)
    hear(sink, *range(2, 40))
    assert "the disk is full; free some space" in messages(caplog)
    assert len(caplog.records) == 1
    filler.unlink()
    sink.idle()
    assert titles(path) == names(*range(1, 40))
    assert {row.ended_at for row in read_plays(path)[0]} == {iso_utc(T0 + 100 * n + 90) for n in range(1, 40)}
    sink.close()


def test_a_disk_that_is_full_at_the_start_does_not_end_listening(small_disk: Path):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1 << 20))
    path = small_disk / "data" / "history.sqlite"
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    filler.unlink()
    sink.close()
    assert titles(path) == names(1)


def test_a_read_only_folder_can_be_read_and_delays_plays(small_disk: Path, caplog: pytest.LogCaptureFixture):
    path = small_disk / "history.sqlite"
    killed = HistorySink(path, "mic")
    hear(killed, 1)
    copy = {file: file.read_bytes() for file in small_disk.iterdir()}
    killed.close()
    for file, data in copy.items():
        file.write_bytes(data)
    path.with_name("history.sqlite-shm").unlink()  # as after a power cut
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert titles(path) == names(1)
    sink = HistorySink(path, "mic")
    hear(sink, 2)
    assert "read-only" in messages(caplog)
    assert "damaged" not in messages(caplog)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    sink.idle()
    assert titles(path) == names(1, 2)
    sink.close()


@pytest.mark.parametrize("kind", ["newer", "other", "folder", "fifo", "no folder"])
def test_a_file_that_is_not_ours_stays_and_does_not_end_listening(
    path: Path, kind: str, caplog: pytest.LogCaptureFixture
):
    path.parent.mkdir()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "no folder":
        path.parent.rmdir()
        path.parent.write_text("a file")
    else:
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE other (x)")
            db.execute(f"PRAGMA user_version = {99 if kind == 'newer' else 0}")
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    assert len(caplog.records) == 1
    assert "kept in memory" in messages(caplog)
    moved = path.parent if kind == "no folder" else path
    moved.rename(path.parent.with_name("away"))
    sink.idle()
    assert titles(path) == names(1)
    sink.close()


def test_plays_in_memory_are_limited_and_losses_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(history, "_MAX_KEPT", 3)
    path.parent.mkdir()
    path.mkdir()
    sink = HistorySink(path, "mic")
    hear(sink, 1, 2, 3, 4, 5)
    path.rmdir()
    sink.idle()
    assert titles(path) == names(3, 4, 5)
    sink.close()
    assert messages(caplog).endswith("2 plays could not be saved")


def test_plays_that_cannot_be_saved_at_the_end_are_counted(path: Path, caplog: pytest.LogCaptureFixture):
    path.mkdir(parents=True)
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    sink.handle(PlayStarted(play(2)), T0)
    sink.close()
    assert messages(caplog).endswith("2 plays could not be saved")


# Damaged


def filled(path: Path, count: int = 300) -> None:
    sink = HistorySink(path, "mic")
    hear(sink, *range(1, count + 1))
    sink.close()


def overwrite_page(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)


def test_garbage_is_moved_aside(path: Path, caplog: pytest.LogCaptureFixture):
    path.parent.mkdir()
    path.write_bytes(b"no database at all, but longer than a header of one " * 40)
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    assert titles(path) == names(1)
    (aside,) = path.parent.glob("history.sqlite.damaged-*")
    assert aside.read_bytes().startswith(b"no database")
    assert aside.name in messages(caplog)
    sink.close()


def test_any_damaged_page_costs_that_page(path: Path, caplog: pytest.LogCaptureFixture):
    filled(path)
    whole = path.read_bytes()
    pages = len(whole) // 4096
    assert pages > 15
    for page in range(4, pages + 1):
        path.write_bytes(whole)
        overwrite_page(path, page)
        assert len(titles(path)) >= 300 - 40
    assert "left out" in messages(caplog)


def test_a_damaged_page_found_while_writing_costs_that_page(path: Path, caplog: pytest.LogCaptureFixture):
    filled(path)
    whole = path.read_bytes()
    for page in range(2, len(whole) // 4096 + 1):
        for old in path.parent.iterdir():
            old.unlink()
        path.write_bytes(whole)
        overwrite_page(path, page)
        sink = HistorySink(path, "mic")
        hear(sink, 301, 302)
        sink.close()
        found = titles(path)
        assert found[-2:] == names(301, 302)
        if page > 3:
            assert len(found) >= 302 - 40
    assert "started a new one" in messages(caplog)


def test_recovered_plays_keep_their_evidence(path: Path):
    filled(path, 40)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE plays SET evidence = '{\"looks\": []}' WHERE id > 1")
        db.execute("UPDATE plays SET evidence = ? WHERE id = 5", ("x" * 20_000,))  # takes pages of its own
    whole = path.read_bytes()
    pages = [number for number in range(len(whole) // 4096) if b"x" * 4000 in whole[number * 4096 :][:4096]]
    for number in pages:
        overwrite_page(path, number + 1)
    with contextlib.closing(open_for_writing(path.with_name("new.sqlite"), 1.0)) as db:
        assert recover(path, db) == 40
        found = dict(db.execute("SELECT id, evidence FROM plays"))
    assert {number for number, text in found.items() if text is None} == {1, 5}
    assert found[6] == '{"looks": []}'


def test_rows_with_invalid_values_are_left_out(path: Path, caplog: pytest.LogCaptureFixture):
    filled(path, 4)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE plays SET title = x'ff00' WHERE id = 1")
        db.execute("UPDATE plays SET started_at = 'soon' WHERE id = 2")
        db.execute("UPDATE plays SET score = 'high' WHERE id = 3")
    assert titles(path) == names(4)
    assert "3 plays with invalid values left out" in messages(caplog)


# Private


def test_only_the_owner_can_read_the_history(path: Path):
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert files == dict.fromkeys(["history.sqlite", "history.sqlite-wal", "history.sqlite-shm"], 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_files_of_an_earlier_version_become_private(path: Path):
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    for file in path.parent.iterdir():
        file.chmod(0o644)
    HistorySink(path, "monitor")
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


# Forgetting


def run(path: Path, *args: str) -> int:
    return cli.main(["--data-dir", str(path.parent), "history", *args])


@pytest.mark.parametrize("listening", [True, False])
def test_forgotten_plays_are_not_in_the_files(path: Path, listening: bool):
    sink = HistorySink(path, "mic")
    hear(sink, 1, 2, 3)
    if not listening:
        sink.close()
    (second,) = [row.id for row in read_plays(path)[0] if row.title == "Title 2"]
    assert forget(path, ids=[second]) == 1
    assert not contains(path.parent, "Title 2")
    assert forget(path, since=iso_utc(T0 + 300)) == 1
    assert not contains(path.parent, "Title 3")
    assert titles(path) == names(1)
    (path.parent / "history.sqlite.damaged-2026-01-01-000000").write_text("Title 9")
    assert forget(path) == 1
    assert not contains(path.parent, "Title")
    if listening:
        hear(sink, 4)
        assert titles(path) == names(4)


def test_a_play_that_is_forgotten_while_it_is_heard_does_not_return(path: Path):
    sink = HistorySink(path, "mic")
    sink.handle(PlayStarted(play(1)), T0)
    forget(path)
    other = HistorySink(path, "monitor")
    hear(other, 2)  # gets the same id
    sink.handle(PlayUpdated(play(1, 150)), T0)
    sink.handle(PlayEnded(play(1, 190)), T0)
    (row,), _ = read_plays(path)
    assert (row.title, row.ended_at) == ("Title 2", iso_utc(T0 + 290))


def test_forget_all_deletes_a_damaged_history(path: Path):
    path.parent.mkdir()
    path.write_bytes(b"Title 1, but no database " * 200)
    with pytest.raises(OverheardError):
        forget(path, ids=[1])
    assert forget(path) == 0
    assert not contains(path.parent, "Title")


def test_forget_reports_a_reader_that_keeps_the_log(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("overheard.history.forget._TIMEOUT_S", 0.1)
    sink = HistorySink(path, "mic")
    hear(sink, 1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM plays").fetchall()
        with pytest.raises(HistoryError, match="close that program"):
            forget(path)
    assert forget(path) == 0
    assert not contains(path.parent, "Title 1")


def test_forget_deletes_what_a_deleted_history_left(path: Path):
    path.parent.mkdir()
    path.with_name("history.sqlite-wal").write_text("Title 1")
    assert forget(path) == 0
    assert not contains(path.parent, "Title 1")


def test_the_command_forget(path: Path, capsys: pytest.CaptureFixture[str]):
    filled(path, 3)
    assert run(path, "--json") == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])["id"]
    assert run(path, "forget", str(first)) == 0
    assert capsys.readouterr().out == "1 play deleted\n"
    for ids, which in (([first], "this id"), ([first, 999], "these ids")):
        assert run(path, "forget", *map(str, ids)) == 2
        assert f"there is no play with {which}; " in capsys.readouterr().err
    assert run(path, "forget", "--since", "2020-01-01") == 0
    assert capsys.readouterr().out == "2 plays deleted\n"
    filled(path, 1)
    last = read_plays(path)[0][0].id
    assert run(path, "forget", str(last), "999") == 2
    assert "there is no play with the other ids; " in capsys.readouterr().err
    assert run(path, "forget", "--all") == 0
    assert run(path, "forget", "--since", "soon") == 2
    with pytest.raises(SystemExit):
        run(path, "forget", "the last one")
    assert "must be a whole number" in capsys.readouterr().err
