"""`overheard index --watch`: changes are noticed, quiet files are indexed, and Ctrl-C ends it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import audio_files
import indexing_fakes
from overheard.index import follow
from overheard.index.follow import Changes, on_network

LIMIT_S = 180.0
HAS_WATCHDOG = importlib.util.find_spec("watchdog") is not None


@pytest.fixture(params=["reports", "scans"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the operating system report changes, or find them by scans alone."""
    if request.param == "scans":
        monkeypatch.setattr(follow, "_start_observer", lambda *_: None)
    elif not HAS_WATCHDOG:
        pytest.skip("watchdog is not installed")
    return str(request.param)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music" / "album"
    folder.mkdir(parents=True)
    write(folder / "a.wav")
    write(folder / "cover.jpg")
    return folder.parent


def write(path: Path, size: int = 10) -> None:
    path.write_bytes(b"x" * size)


def rename_album(music: Path) -> None:
    (music / "album").rename(music / "renamed")


def new_album(music: Path) -> None:
    (music / "new").mkdir()
    write(music / "new" / "b.flac")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda music: write(music / "album" / "b.mp3"),
        lambda music: write(music / "album" / "a.wav", 20),
        lambda music: write(music / "album" / "a.cue"),
        lambda music: (music / "album" / "a.wav").unlink(),
        new_album,
        rename_album,
    ],
)
def test_changes_are_noticed_once(music: Path, way: str, change: Callable[[Path], object]) -> None:
    stop = threading.Event()
    with Changes([music], quiet_s=0.3, poll_s=0.3 if way == "scans" else 1000) as changes:
        change(music)
        assert changes.wait(stop)
        threading.Timer(1.5, stop.set).start()
        assert not changes.wait(stop)


def test_other_files_are_ignored(music: Path, way: str) -> None:
    stop = threading.Event()
    with Changes([music], quiet_s=0.2, poll_s=0.2 if way == "scans" else 1000) as changes:
        write(music / "album" / "cover.jpg", 20)
        (music / "album" / "a.wav").read_bytes()
        threading.Timer(1.0, stop.set).start()
        assert not changes.wait(stop)


@pytest.mark.slow
def test_a_file_that_is_being_copied_is_not_read(music: Path, way: str) -> None:
    """While the file grows, nothing is reported, although the first bytes are older than the quiet period."""
    stop, grown = threading.Event(), threading.Event()

    def copy() -> None:
        with (music / "album" / "copy.flac").open("wb") as file:
            for _ in range(60):
                file.write(b"x" * 1000)
                file.flush()
                time.sleep(0.05)
        grown.set()

    with Changes([music], quiet_s=2.0, poll_s=0.1 if way == "scans" else 1000) as changes:
        thread = threading.Thread(target=copy)
        thread.start()
        assert changes.wait(stop)
        assert grown.is_set()
        thread.join()


def test_a_share_that_is_mounted_again_is_noticed(music: Path, way: str) -> None:
    stop = threading.Event()
    with Changes([music], quiet_s=0.2, poll_s=0.2) as changes:
        music.rename(music.with_name("elsewhere"))
        assert changes.wait(stop)
        changes.retry()  # as after a run that failed
        assert changes.wait(stop)
        music.with_name("elsewhere").rename(music)
        assert changes.wait(stop)
        write(music / "album" / "later.mp3")
        assert changes.wait(stop)


def test_a_scan_must_show_that_a_file_is_quiet(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan that is older than the quiet period does not count."""
    monkeypatch.setattr(follow, "_start_observer", lambda *_: None)
    stop, times = threading.Event(), list[float]()
    with Changes([music], quiet_s=1.5, poll_s=0.3) as changes:
        scan = changes._scan

        def counted() -> bytes:
            times.append(time.monotonic())
            return scan()

        monkeypatch.setattr(changes, "_scan", counted)
        write(music / "album" / "b.mp3")
        assert changes.wait(stop)
    assert times[-1] - times[-2] >= 1.4


def test_network_file_systems_are_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda1 / ext4 rw 0 0\nserver:/music /mnt/nas nfs4 rw 0 0\n"
        "//box/share /mnt/my\\040box cifs rw 0 0\n/dev/sdb1 /mnt/nas/local ext4 rw 0 0\nbad\n"
    )
    monkeypatch.setattr(follow, "_MOUNTS", mounts)
    paths = ["/home/me/Music", "/mnt/nas", "/mnt/nas/a/b", "/mnt/nas2", "/mnt/my box/x", "/mnt/nas/local/x"]
    assert [on_network(path) for path in paths] == [False, True, True, False, True, False]
    monkeypatch.setattr(follow, "_MOUNTS", tmp_path / "none")
    assert not on_network("/mnt/nas")


@pytest.mark.slow
def test_the_command_indexes_new_files_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    folder, data = tmp_path / "music", tmp_path / "data"
    folder.mkdir()
    data.mkdir()
    (tmp_path / "config.toml").write_text("[index]\nquiet_s = 1\npoll_s = 1\n")
    audio_files.write_music(folder / "one.wav", 3.0, 1)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OVERHEARD_DATA_DIR": str(data),
        "OVERHEARD_CONFIG": str(tmp_path / "config.toml"),
    }
    process = subprocess.Popen(
        [sys.executable, indexing_fakes.__file__, "cli", "index", str(folder), "--watch", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    timer = threading.Timer(LIMIT_S, process.kill)
    timer.start()
    try:
        assert json.loads(process.stdout.readline())["added"] == 1
        audio_files.write_music(tmp_path / "two.wav", 3.0, 2).rename(folder / "two.wav")
        report = json.loads(process.stdout.readline())
        assert (report["added"], report["unchanged"], report["tracks"]) == (1, 1, 2)
        (folder / "two.wav").rename(folder / "renamed.wav")
        report = json.loads(process.stdout.readline())
        assert (report["moved"], report["audio_s"], report["tracks"]) == (1, 0, 2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    finally:
        timer.cancel()
        process.kill()
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err
