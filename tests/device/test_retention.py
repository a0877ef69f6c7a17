"""Old plays are deleted: when, which, and really; a clock that is wrong deletes nothing."""

from __future__ import annotations

import dataclasses
import datetime
import os
import time
from pathlib import Path

import numpy as np
import pytest
from test_daemon import Clock, FakeSource, arguments, play

from overheard import cli
from overheard.catalogue.pack import write_pack
from overheard.commands import listen
from overheard.commands.outputs import unknown_forgetter
from overheard.events import Play, PlayEnded, PlayStarted, Track
from overheard.fingerprint.model import default_model
from overheard.history.retention import RetentionSink
from overheard.history.writer import HistorySink, read_plays
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.unknown_store import UnknownPiece, UnknownStore
from overheard.settings import Settings, load
from overheard.sinks.runner import Store

DAY = 86400.0
NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.timezone.utc).timestamp()


def add(path: Path, title: str, at: float) -> None:
    track = Track(title.ljust(12), title, "Ann", "", f"/{title}.flac", "music", 200.0)
    heard = Play(track, 0.0, 100.0, 0.0, 5.0, 0.9)
    sink = HistorySink(path, "mic")
    for event in (PlayStarted(heard), PlayEnded(heard)):
        sink.handle(event, at)
    sink.close()


def titles(path: Path) -> list[str]:
    return [row.title for row in read_plays(path)[0]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "history.sqlite"
    for title, days in (("Secret", 31), ("Edge", 30), ("Today", 0)):
        add(path, title, NOW - days * DAY)
    return path


class Clocks:
    """The wall clock, and the one that nobody sets."""

    def __init__(self) -> None:
        self.now, self.elapsed = Clock(), Clock()
        self.now.now = NOW
        self.forgotten: list[float] = []  # before when others have to forget

    def sink(self, path: Path, days: int = 30) -> RetentionSink:
        return RetentionSink(path, days, self.forgotten.append, self.now, self.elapsed)

    def pass_s(self, seconds: float) -> None:
        self.now.now += seconds
        self.elapsed.now += seconds


def test_old_plays_are_deleted_ten_minutes_after_the_start_and_every_day(path: Path):
    clocks = Clocks()
    sink = clocks.sink(path)
    sink.idle()
    assert titles(path) == ["Secret", "Edge", "Today"]
    clocks.pass_s(50)  # the play of 30 days ago ended 100 s after its start
    sink.idle()
    assert titles(path) == ["Secret", "Edge", "Today"]
    clocks.pass_s(40 + 9 * 60 - 50)
    sink.idle()
    assert titles(path) == ["Secret", "Edge", "Today"]
    clocks.pass_s(60)
    sink.idle()
    assert titles(path) == ["Today"]
    assert clocks.forgotten == [NOW + 640 - 30 * DAY]
    add(path, "Old", NOW - 40 * DAY)
    clocks.pass_s(DAY - 1)
    sink.idle()
    assert "Old" in titles(path)
    clocks.pass_s(1)
    sink.idle()
    assert titles(path) == ["Today"]


def test_what_is_deleted_is_not_in_the_files_any_more(path: Path):
    clocks = Clocks()
    listening = HistorySink(path, "mic")  # has the file open
    listening.handle(PlayStarted(play(1)), NOW)
    sink = clocks.sink(path)
    clocks.pass_s(700)
    sink.idle()
    contents = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"Today" in contents
    assert b"Secret" not in contents
    listening.handle(PlayEnded(play(9)), NOW)
    listening.close()
    assert titles(path) == ["Today", "Alpha"]


@pytest.mark.parametrize("jump_days", [400, -400])
def test_a_clock_that_is_set_deletes_nothing_for_an_hour(
    path: Path, jump_days: float, caplog: pytest.LogCaptureFixture
):
    clocks = Clocks()
    sink = clocks.sink(path)
    clocks.now.now += jump_days * DAY
    clocks.pass_s(700)
    sink.idle()
    assert len(titles(path)) == 3
    assert "the clock was set" in caplog.text
    clocks.now.now -= jump_days * DAY  # set right again
    clocks.pass_s(3600)
    sink.idle()
    assert len(titles(path)) == 3
    clocks.pass_s(3600)
    sink.idle()
    assert titles(path) == ["Today"]


def test_daylight_saving_time_does_not_matter(path: Path, monkeypatch: pytest.MonkeyPatch):
    clocks = Clocks()
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    sink = clocks.sink(path, 31)
    clocks.pass_s(700)
    sink.idle()
    monkeypatch.undo()
    time.tzset()
    assert titles(path) == ["Edge", "Today"]


def test_a_history_that_cannot_be_written_is_tried_again_in_an_hour(
    path: Path, caplog: pytest.LogCaptureFixture
):
    clocks = Clocks()
    sink = clocks.sink(path)
    away = path.with_name("away")
    path.rename(away)
    path.mkdir()
    clocks.pass_s(700)
    sink.idle()
    assert "could not be deleted" in caplog.text
    path.rmdir()
    away.rename(path)
    clocks.pass_s(3600)
    sink.idle()
    assert titles(path) == ["Today"]


def test_old_damaged_histories_are_deleted_too(path: Path):
    old, new = (path.with_name(f"history.sqlite.damaged-{name}") for name in ("old", "new"))
    for file, days in ((old, 40), (new, 1)):
        file.write_text("titles")
        os.utime(file, (NOW - days * DAY,) * 2)
    clocks = Clocks()
    sink = clocks.sink(path)
    clocks.pass_s(700)
    sink.idle()
    assert (old.exists(), new.exists()) == (False, True)


def test_there_may_be_no_history(tmp_path: Path):
    clocks = Clocks()
    sink = clocks.sink(tmp_path / "history.sqlite")
    clocks.pass_s(700)
    sink.idle()
    assert not list(tmp_path.iterdir())


def test_listen_deletes_only_if_the_user_says_so(tmp_path: Path):
    settings, _ = load(env={}, overrides={"history.keep_days": 30, "data_dir": str(tmp_path)})
    *_, retention, history = listen.open_sinks(arguments(), settings, FakeSource([]))
    assert isinstance(retention, RetentionSink)
    assert isinstance(retention, Store)  # it is asked about once a second
    assert isinstance(history, HistorySink)
    history.close()
    sinks = listen.open_sinks(arguments("--no-history"), Settings(data_dir=tmp_path), FakeSource([]))
    assert "retention" not in [sink.name for sink in sinks]


def test_unknown_music_that_was_not_heard_for_that_long_is_forgotten(tmp_path: Path):
    settings = Settings(data_dir=tmp_path)
    recognizer = Recognizer(default_model(), [])
    store = UnknownStore(settings.unknown_path, recognizer.model, settings.unknown.max_pieces)
    embeddings = np.eye(20, recognizer.model.spec.dim, dtype=np.float32)
    for number, days in ((1, 40), (2, 20)):
        store.put(UnknownPiece(number, 1, NOW - 50 * DAY, NOW - days * DAY), embeddings)
    unknown_forgetter(settings, recognizer)(NOW - 30 * DAY)
    assert [piece.unknown_id for piece in store.pieces()] == [2]
    inode = settings.unknown_path.stat().st_ino
    unknown_forgetter(settings, recognizer)(NOW - 30 * DAY)
    assert settings.unknown_path.stat().st_ino == inode  # nothing to forget: not written again


def test_forgetting_keeps_as_many_pieces_as_the_setting_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OVERHEARD_DATA_DIR", str(tmp_path))
    config = tmp_path / "config.toml"
    config.write_text("[unknown]\nmax_pieces = 300\n")
    monkeypatch.setenv("OVERHEARD_CONFIG", str(config))
    settings, _ = load()
    model = default_model()
    store = UnknownStore(settings.unknown_path, model, settings.unknown.max_pieces)
    store.put(UnknownPiece(1, 1, 0.0, 0.0), np.eye(20, model.spec.dim, dtype=np.float32))
    first = store.entry(1)
    assert first is not None
    pieces = [UnknownPiece(number, 1, NOW, NOW - number * DAY) for number in range(1, 251)]
    entries = [
        dataclasses.replace(first, path=f"unknown/{piece.unknown_id}", extras=piece.extras())
        for piece in pieces
    ]
    write_pack(settings.unknown_path, "unknown", model.digest, model.spec, entries)
    unknown_forgetter(settings, Recognizer(model, []))(NOW - 249.5 * DAY)
    assert [piece.unknown_id for piece in store.pieces()] == [*range(1, 250)]
    since = datetime.datetime.fromtimestamp(NOW - 1.5 * DAY).isoformat()
    assert cli.main(["history", "forget", "--since", since]) == 0
    assert [piece.unknown_id for piece in store.pieces()] == [*range(2, 250)]
