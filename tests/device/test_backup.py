"""Backup and restore: what is saved, what is checked, and that nothing is replaced by something damaged."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_daemon import play
from test_retention import add, titles

from overheard.backup.archive import default_path, rotate, write_backup
from overheard.backup.encryption import CHUNK_BYTES, MAGIC, BackupError, EncryptedReader, EncryptedWriter
from overheard.backup.restore import is_encrypted, restore, unpacked
from overheard.cli import main
from overheard.errors import OverheardError
from overheard.events import PlayEnded, PlayStarted
from overheard.history.forget import forget
from overheard.history.writer import HistorySink
from overheard.settings import Settings

NOW = 1.8e9


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.backup.encryption._LOG2_N", 8)


@pytest.fixture
def data(tmp_path: Path) -> Settings:
    settings = Settings(data_dir=tmp_path / "data")
    add(settings.history_path, "Alpha", NOW)
    packs = settings.packs_dir
    (packs / "music.layers").mkdir(parents=True)
    (packs / "music.pack").write_bytes(b"P" * 5000)
    (packs / "music.layers" / "1-1.pack").write_bytes(b"L" * 100)
    (packs / "enabled.json").write_text("{}")
    (settings.data_dir / "subscriptions.json").write_text('{"a": 1}')
    return settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("packs = ['music']\n")
    return path


def restored(backup: Path, settings: Settings, config: Path, passphrase: str | None = None) -> None:
    with unpacked(backup, settings.data_dir, passphrase) as files:
        restore(files, settings, config)


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
def test_a_backup_restores_everything_in_another_folder(
    data: Settings, config: Path, tmp_path: Path, passphrase: str | None
):
    backup = tmp_path / "b"
    sizes = write_backup(backup, data, config, packs=True, passphrase=passphrase)
    names = {"history.sqlite", "config.toml", "subscriptions.json", "packs/enabled.json", "packs/music.pack"}
    assert set(sizes) == names | {"packs/music.layers/1-1.pack"}
    assert backup.stat().st_mode & 0o777 == 0o600
    assert is_encrypted(backup) == (passphrase is not None)
    assert (b"Alpha" in backup.read_bytes()) == (passphrase is None)
    there, other = Settings(data_dir=tmp_path / "there"), tmp_path / "there.toml"
    restored(backup, there, other, passphrase)
    assert titles(there.history_path) == ["Alpha"]
    assert other.read_text() == config.read_text()
    for name in sizes:
        if name not in ("history.sqlite", "config.toml"):
            assert (there.data_dir / name).read_bytes() == (data.data_dir / name).read_bytes()
            assert (there.data_dir / name).stat().st_mode & 0o777 == 0o600
    left = sorted(path.name for path in there.data_dir.glob("*[!ml]"))  # SQLite has -shm and -wal
    assert left == ["history.sqlite", "packs", "subscriptions.json"]


def test_without_packs_the_own_packs_stay(data: Settings, config: Path, tmp_path: Path):
    assert "packs/music.pack" not in write_backup(tmp_path / "b", data, config)
    (data.packs_dir / "music.pack").write_bytes(b"new")
    restored(tmp_path / "b", data, config)
    assert (data.packs_dir / "music.pack").read_bytes() == b"new"


def test_a_backup_while_listen_writes_is_consistent_and_has_no_deleted_play(
    data: Settings, config: Path, tmp_path: Path
):
    add(data.history_path, "Secret", NOW + 1000)
    forget(data.history_path, ids=[2])
    listening = HistorySink(data.history_path, "mic")
    listening.handle(PlayStarted(play(5)), NOW + 2000)
    stop = threading.Event()

    def write() -> None:
        for number in range(1_000):
            if stop.is_set():
                break
            listening.handle(PlayEnded(play(6)), NOW + 3000 + number)
            listening.handle(PlayStarted(play(5)), NOW + 3000 + number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            write_backup(tmp_path / f"b{number}", data, config)
    finally:
        stop.set()
        writer.join()
        listening.close()
    for number in range(3):
        there = Settings(data_dir=tmp_path / f"there{number}")
        restored(tmp_path / f"b{number}", there, tmp_path / "c")
        assert titles(there.history_path)[0] == "Alpha"
        assert b"Secret" not in (tmp_path / f"b{number}").read_bytes()


def test_a_restore_while_listen_runs_keeps_listen_running(data: Settings, config: Path, tmp_path: Path):
    write_backup(tmp_path / "b", data, config)
    listening = HistorySink(data.history_path, "mic")
    listening.handle(PlayStarted(play(5)), NOW + 2000)
    listening.handle(PlayEnded(play(6)), NOW + 2000)
    assert titles(data.history_path) == ["Alpha", "Alpha"]
    restored(tmp_path / "b", data, config)
    assert titles(data.history_path) == ["Alpha"]
    for event in (PlayStarted(play(5)), PlayEnded(play(6))):
        listening.handle(event, NOW + 4000)
    listening.close()
    assert len(titles(data.history_path)) == 2


def test_a_damaged_history_is_replaced_and_kept_aside(data: Settings, config: Path, tmp_path: Path):
    write_backup(tmp_path / "b", data, config)
    data.history_path.write_bytes(b"SQLite format 3\0" + os.urandom(4096))
    restored(tmp_path / "b", data, config)
    assert titles(data.history_path) == ["Alpha"]
    assert list(data.data_dir.glob("history.sqlite.damaged-*"))


# Hostile and damaged files


def archive(path: Path, change: Callable[[tarfile.TarFile], None]) -> Path:
    with tarfile.open(path, "w") as tar:
        change(tar)
    return path


def member(name: str, content: bytes = b"x", **values: object) -> Callable[[tarfile.TarFile], None]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in values.items():
        setattr(info, key, value)
    return lambda tar: tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    "change",
    [
        member("../evil"),
        member("/etc/evil"),
        member("packs/../../evil.pack"),
        member("packs/..pack/../x.pack"),
        member("history.sqlite", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member("packs/a.pack", b"", type=tarfile.LNKTYPE, linkname="history.sqlite"),
        member("packs", b"", type=tarfile.DIRTYPE),
        member("packs/a.pack", b"", type=tarfile.FIFOTYPE),
        member("manifest.json", b'{"format": 1, "files": {"history.sqlite": {}}}'),
        member("manifest.json", b'{"format": 2, "files": {}}'),
        member("manifest.json", b"[" * 100_000),
        member("manifest.json", b"\xff"),
        member("history.sqlite", b"not a database"),
        lambda tar: None,
    ],
)
def test_a_file_that_is_no_backup_replaces_nothing(
    data: Settings, config: Path, tmp_path: Path, change: Callable[[tarfile.TarFile], None]
):
    backup = archive(tmp_path / "b", change)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OverheardError):
        restored(backup, data, config)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_backup_with_a_damaged_history_or_wrong_settings_replaces_nothing(data: Settings, tmp_path: Path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("no_such_setting = 1\n")
    write_backup(tmp_path / "b", data, wrong)
    with pytest.raises(OverheardError, match="no_such_setting"):
        restored(tmp_path / "b", data, tmp_path / "config.toml")
    newer = tmp_path / "newer"
    shutil.copytree(data.data_dir, newer)
    with contextlib.closing(sqlite3.connect(data.history_path)) as db:
        write_backup(tmp_path / "c", data, tmp_path / "none")
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(OverheardError, match="newer version"):
        write_backup(tmp_path / "d", data, tmp_path / "none")
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("passphrase", [None, "p"])
def test_a_cut_or_changed_backup_is_refused(
    data: Settings, config: Path, tmp_path: Path, at: float, passphrase: str | None
):
    backup = tmp_path / "b"
    (data.packs_dir / "music.pack").write_bytes(os.urandom(3 * CHUNK_BYTES))
    write_backup(backup, data, config, packs=True, passphrase=passphrase)
    content = backup.read_bytes()
    position = int(at * len(content))
    flipped = bytes([content[position] ^ 1])
    for broken in (content[:position], content[:position] + flipped + content[position + 1 :]):
        backup.write_bytes(broken)
        with pytest.raises(OverheardError):
            restored(backup, data, config, passphrase)


# Encryption


def encrypted(content: bytes) -> bytes:
    out = io.BytesIO()
    with EncryptedWriter(out, "p") as writer:
        for start in range(0, len(content), 10_007):
            writer.write(content[start : start + 10_007])
    return out.getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_is_encrypted_can_be_decrypted(size: int):
    content = os.urandom(size)
    assert EncryptedReader(io.BytesIO(encrypted(content)), "p").readall() == content


def test_the_same_content_is_encrypted_differently_each_time():
    assert encrypted(b"x")[11:] != encrypted(b"x")[11:]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: -CHUNK_BYTES - 16],  # without the last chunk
        lambda data: data[:27] + data[27 + CHUNK_BYTES + 16 :],  # without the first
        lambda data: data + data[-20:],
        lambda data: data[:11] + b"\0" + data[12:],  # another salt
        lambda data: data[:26],
        lambda data: MAGIC + b"\xff\xff\xff" + data[11:],  # a terabyte of memory
        lambda data: b"X" + data[1:],
    ],
)
def test_changes_of_the_encrypted_file_are_noticed(change: Callable[[bytes], bytes]):
    data = encrypted(os.urandom(3 * CHUNK_BYTES))
    with pytest.raises(BackupError):
        EncryptedReader(io.BytesIO(change(data)), "p").readall()


def test_a_wrong_passphrase_is_an_error():
    with pytest.raises(BackupError, match="passphrase is wrong"):
        EncryptedReader(io.BytesIO(encrypted(b"x")), "q").readall()
    with pytest.raises(BackupError, match="empty"):
        EncryptedWriter(io.BytesIO(), "")


# Rotation and the commands


def test_rotation_deletes_the_oldest_backups_and_nothing_else(tmp_path: Path):
    paths = [default_path(tmp_path, NOW + 86400 * day) for day in range(5)]
    others = [tmp_path / "overheard-mine.backup", tmp_path / "notes.txt"]
    for path in (*paths, *others):
        path.write_text("")
    assert rotate(tmp_path, 2) == paths[:3]
    assert set(tmp_path.iterdir()) == {*paths[3:], *others}
    assert rotate(tmp_path, 2) == []


def run(tmp_path: Path, *words: str) -> int:
    return main(["--config", str(tmp_path / "config.toml"), "--data-dir", str(tmp_path / "data"), *words])


def test_the_commands_back_up_and_restore(
    data: Settings,
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    secret = tmp_path / "secret"
    secret.write_text("a long passphrase\n")
    clock = iter(range(10))
    monkeypatch.setattr(time, "localtime", lambda now: time.gmtime(NOW + next(clock)))
    for _ in range(3):
        assert run(tmp_path, "backup", "--keep", "2", "--passphrase-file", str(secret)) == 0
    assert "1 old backup deleted" in capsys.readouterr().out
    *_, newest = sorted((data.data_dir / "backups").iterdir())
    assert run(tmp_path, "restore", str(newest), "--passphrase-file", str(secret)) == 2
    assert "add --yes" in capsys.readouterr().err
    forget(data.history_path)
    assert run(tmp_path, "restore", str(newest), "--passphrase-file", str(secret), "--yes") == 0
    assert titles(data.history_path) == ["Alpha"]
    assert run(tmp_path, "restore", str(newest)) == 2
    assert "add --passphrase-file" in capsys.readouterr().err
    out = tmp_path / "out"
    assert run(tmp_path, "restore", str(newest), "--passphrase-file", str(secret), "--extract", str(out)) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "config.toml",
        "history.sqlite",
        "packs",
        "subscriptions.json",
    ]


def test_a_backup_on_a_full_disk_leaves_nothing(
    data: Settings, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_backup(tmp_path / "b", data, config)
    assert not list(tmp_path.glob("b*"))
    assert not list(data.data_dir.glob(".backup*"))


def test_an_empty_installation_has_an_empty_backup(tmp_path: Path):
    settings = Settings(data_dir=tmp_path / "none")
    assert write_backup(tmp_path / "b", settings, tmp_path / "none.toml") == {}
    with unpacked(tmp_path / "b", tmp_path / "there") as files:
        assert files == {}
    assert json.loads("{}") == {}
