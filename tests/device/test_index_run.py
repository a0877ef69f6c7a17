"""Indexing: a first run, the next runs, damaged files, stops, crashes and concurrent runs."""

from __future__ import annotations

import functools
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import audio_files
import indexing_fakes
from indexing_fakes import FakeFingerprinter, WithoutNetwork
from overheard.catalogue.pack import open_pack
from overheard.catalogue.track_list import metadata_of
from overheard.errors import AudioError, ModelError, PackError
from overheard.fingerprint.spec import SPEC
from overheard.index import pack_on_disk
from overheard.index import run as index_run
from overheard.index.journal import Journal
from overheard.index.report import IndexReport, Progress

SEGMENT = SPEC.segment_samples
HOP = SPEC.hop_frames * SPEC.frontend.hop_length
PYTHON_PATH = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Create a folder with four tracks in two subfolders."""
    folder = tmp_path / "music"
    for seed, name in enumerate(["a/one.flac", "a/two.mp3", "b/three.wav", "b/four.ogg"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        audio_files.write_music(folder / name, 3.0 + seed, seed)
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return tmp_path / "packs" / "music.pack"


def run(folder: Path | list[Path], pack: Path, jobs: int = 0, **options: Any) -> IndexReport:
    stop = options.pop("stop", lambda: False)
    progress = options.pop("progress", None)
    prune = options.pop("prune", False)
    make = functools.partial(FakeFingerprinter, **options)
    folders = folder if isinstance(folder, list) else [folder]
    return index_run.index(folders, pack, make, jobs, progress, stop, prune)


def titles(pack: Path) -> list[str]:
    return [track.title for track in open_pack(pack).tracks]


def other_files(pack: Path) -> list[str]:
    """Return what is beside the pack, except its layers and the hashes of its files."""
    own = {pack.name, f"{pack.stem}.layers", f"{pack.stem}.index.sqlite"}
    return sorted(set(os.listdir(pack.parent)) - own)


# A first run and the next one


@pytest.mark.parametrize("jobs", [0, 2])
def test_a_second_run_has_nothing_to_do(music: Path, pack: Path, jobs: int) -> None:
    states: list[Progress] = []
    report = run(music, pack, jobs, progress=states.append)
    assert (report.tracks, report.added, report.failed, report.interrupted) == (4, 4, (), False)
    assert report.duration_s == pytest.approx(3 + 4 + 5 + 6, abs=0.3)
    assert report.audio_s == report.duration_s
    assert report.pack_bytes == pack.stat().st_size
    assert other_files(pack) == []
    assert [state.done for state in states] == [0, 1, 2, 3, 4]
    assert (
        states[-1].bytes_done == states[-1].bytes_total == sum(f.stat().st_size for f in music.rglob("*.*"))
    )
    opened = open_pack(pack, "feed" * 4)
    assert sorted(titles(pack)) == ["four", "one", "three", "two"]
    assert [track.path for track in opened.tracks] == sorted(track.path for track in opened.tracks)
    assert [track.n_segments for track in opened.tracks] == [
        int((track.duration_s * 8000 - SEGMENT) // HOP) + 1 for track in opened.tracks
    ]
    before = pack.stat()
    again = run(music, pack, jobs)
    assert (again.tracks, again.added, again.updated, again.unchanged) == (4, 0, 0, 4)
    assert (again.audio_s, again.times_real_time) == (0, 0)
    assert pack.stat().st_mtime_ns == before.st_mtime_ns
    assert other_files(pack) == []


def test_tracks_do_not_depend_on_the_number_of_jobs(music: Path, tmp_path: Path) -> None:
    in_process, in_workers = tmp_path / "in_process.pack", tmp_path / "in_workers.pack"
    run(music, in_process, 0)
    run(music, in_workers, 3)
    for one, other in zip(open_pack(in_process).entries(), open_pack(in_workers).entries(), strict=True):
        assert metadata_of(one) == metadata_of(other)
        assert one.id == other.id


def test_new_changed_and_deleted_files(music: Path, pack: Path) -> None:
    run(music, pack)
    audio_files.write_music(music / "a" / "five.flac", 2.5, seed=50)
    audio_files.write_music(music / "b" / "three.wav", 7.0, seed=51)
    (music / "a" / "two.mp3").unlink()
    report = run(music, pack, prune=True)
    assert (report.added, report.updated, report.unchanged, report.removed) == (1, 1, 2, 1)
    assert sorted(titles(pack)) == ["five", "four", "one", "three"]
    assert {t.title: round(t.duration_s) for t in open_pack(pack).tracks}["three"] == 7


def test_a_file_with_a_new_modification_time_is_read_again_but_not_decoded(music: Path, pack: Path) -> None:
    run(music, pack)
    os.utime(music / "a" / "one.flac", ns=(1, 1))
    report = run(music, pack)
    assert (report.updated, report.unchanged, report.tracks, report.audio_s) == (1, 3, 4, 0)


def test_tracks_from_other_folders_stay(music: Path, pack: Path) -> None:
    run([music / "a"], pack)
    report = run([music / "b"], pack)
    assert (report.tracks, report.added, report.removed) == (4, 2, 0)
    shutil.rmtree(music / "a")
    assert run([music / "b"], pack).tracks == 4  # a/ was not indexed this time: it may be an unmounted drive
    (music / "c.flac").write_bytes((music / "b" / "four.ogg").read_bytes())
    assert run(music, pack).missing == 2
    assert run(music, pack, prune=True).removed == 2


def test_an_empty_folder_removes_no_tracks(music: Path, pack: Path) -> None:
    run(music, pack)
    shutil.rmtree(music)
    with pytest.raises(AudioError, match="no such file or folder"):
        run(music, pack)
    music.mkdir()
    report = run(music, pack)
    assert (report.tracks, report.removed) == (4, 0)
    assert "its 4 tracks stay in the pack" in report.notes[0]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root ignores file permissions")
def test_tracks_in_an_unreadable_subfolder_stay(music: Path, pack: Path) -> None:
    run(music, pack)
    (music / "a").chmod(0)
    try:
        report = run(music, pack)
    finally:
        (music / "a").chmod(0o755)
    assert report.tracks == 4
    assert report.failed == ((str(music / "a"), "Permission denied"),)


def test_tags_and_unusual_file_names_are_stored_in_the_pack(tmp_path: Path, pack: Path) -> None:
    folder = tmp_path / os.fsdecode(b"m\xfcsic") if sys.platform.startswith("linux") else tmp_path / "music"
    folder.mkdir()
    audio_files.write_music(folder / "x.flac", seed=1)
    audio_files.write_tags(folder / "x.flac", "Größe", "音楽", "Álbum")
    unusual = folder / (os.fsdecode(b"caf\xe9.wav") if sys.platform.startswith("linux") else "café.wav")
    audio_files.write_music(tmp_path / "plain.wav", seed=2).rename(unusual)
    for _ in range(2):  # the second run skips them
        report = run(folder, pack, 1)
        assert report.tracks == 2
        assert report.failed == ()
    assert report.unchanged == 2
    by_path = {track.path: track for track in open_pack(pack).tracks}
    track = by_path[str(folder / "x.flac")]
    assert (track.title, track.artist, track.album) == ("Größe", "音楽", "Álbum")
    assert by_path[str(unusual)].title.encode()


# Files that cannot be fingerprinted


@pytest.mark.parametrize("jobs", [0, 2])
def test_files_that_fail_are_listed_and_the_others_are_indexed(music: Path, pack: Path, jobs: int) -> None:
    (music / "empty.mp3").touch()
    (music / "words.ogg").write_bytes(b"These are only words. " * 500)
    (music / "dangling.flac").symlink_to(music / "nowhere.flac")
    audio_files.write_music(music / "silent.flac", 5.0, level=0.0)
    audio_files.write_music(music / "hiss.wav", 5.0, level=1e-4)
    audio_files.write_music(music / "blip.wav", 0.5)
    audio_files.write_music(music / "jingle.wav", 1.3, seed=9)  # shorter than a segment, but not too short
    report = run(music, pack, jobs)
    assert report.tracks == 5
    reasons = {Path(path).name: reason for path, reason in report.failed}
    assert sorted(reasons) == [
        "blip.wav",
        "dangling.flac",
        "empty.mp3",
        "hiss.wav",
        "silent.flac",
        "words.ogg",
    ]
    assert reasons["empty.mp3"] == "the file is empty"
    assert reasons["silent.flac"] == reasons["hiss.wav"] == "silent throughout"
    assert reasons["blip.wav"] == "too short (0.5 s)"
    assert reasons["dangling.flac"] == "No such file or directory"
    assert reasons["words.ogg"].startswith("cannot be read as audio")


def test_a_file_that_becomes_unreadable_stays_in_the_pack(music: Path, pack: Path) -> None:
    run(music, pack)
    (music / "a" / "one.flac").write_bytes(b"")
    report = run(music, pack)
    assert (report.tracks, report.removed, len(report.failed)) == (4, 0, 1)
    assert "the earlier fingerprints were kept" in report.notes[0]


def test_a_folder_without_audio_is_reported_when_there_is_a_pack(
    music: Path, tmp_path: Path, pack: Path
) -> None:
    run(music, pack)
    (tmp_path / "empty").mkdir()
    report = run(tmp_path / "empty", pack)
    assert (report.tracks, report.removed) == (4, 0)
    assert report.notes == (
        f"{tmp_path / 'empty'} contains no audio files; nothing was added from there (wrong folder?)",
    )


def test_a_folder_without_readable_audio_creates_no_pack(tmp_path: Path, pack: Path) -> None:
    (tmp_path / "music").mkdir()
    with pytest.raises(AudioError, match="no audio files in"):
        run(tmp_path / "music", pack)
    (tmp_path / "music" / "empty.wav").touch()
    report = run(tmp_path / "music", pack)
    assert (report.tracks, report.pack_bytes, report.bytes_per_minute, report.bytes_per_track) == (0, 0, 0, 0)
    assert not pack.exists()
    assert other_files(pack) == []


def test_a_file_that_kills_its_worker_is_identified_and_listed(music: Path, pack: Path) -> None:
    audio_files.write_music(music / "a" / "loud.flac", 3.0, seed=3, level=2.0)
    report = run(music, pack, 2, crash_level=0.6)
    assert report.tracks == 4
    assert report.failed == ((str(music / "a" / "loud.flac"), "decoding it crashed or took too much memory"),)


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_network_that_cannot_be_run_ends_the_run_with_one_error(music: Path, pack: Path, jobs: int) -> None:
    with pytest.raises(ModelError, match=r"no TensorFlow Lite runtime is installed; pip install it"):
        index_run.index([music], pack, WithoutNetwork, jobs)
    assert not pack.exists()
    assert run(music, pack, jobs).tracks == 4


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_bug_does_not_end_the_run(music: Path, pack: Path, jobs: int) -> None:
    audio_files.write_music(music / "a" / "loud.flac", 3.0, seed=3, level=2.0)
    report = run(music, pack, jobs, bug_level=0.6)
    assert report.tracks == 4
    ((path, reason),) = report.failed
    assert path == str(music / "a" / "loud.flac")
    assert reason.startswith("unexpected ZeroDivisionError: a bug; run `overheard -v index`")


@pytest.mark.parametrize("verbose", [True, False])
def test_verbose_shows_the_traceback_of_a_worker(music: Path, tmp_path: Path, verbose: bool) -> None:
    audio_files.write_music(music / "a" / "loud.flac", 3.0, seed=3, level=2.0)
    command = [sys.executable, indexing_fakes.__file__, "cli", "--data-dir", str(tmp_path / "data")]
    command += [*(["-v"] if verbose else []), "index", str(music / "a"), "--jobs", "1"]
    environment = {**os.environ, **PYTHON_PATH, "FAKE_BUG_LEVEL": "0.6"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "unexpected ZeroDivisionError: a bug" in result.stderr
    assert ("Traceback (most recent call last)" in result.stderr) == verbose
    assert ("in process_file" in result.stderr) == verbose


def test_copies_of_a_file_are_one_track(music: Path, pack: Path) -> None:
    (music / "link.flac").symlink_to(music / "a" / "one.flac")
    # Four files, some of them reachable by several paths.
    assert run([music, music / "a", music / "a" / "one.flac"], pack).tracks == 4
    shutil.copy(music / "a" / "one.flac", music / "b" / "copy.flac")
    for unchanged in (4, 5):  # the second run skips the copy, too
        report = run(music, pack)
        assert (report.tracks, report.duplicates, report.unchanged) == (4, 1, unchanged)
    (track,) = [track for track in open_pack(pack).tracks if track.also]
    assert Path(track.path).name == "one.flac"
    assert Path(track.also[0][0]).name == "copy.flac"
    (music / "link.flac").unlink()
    (music / "a" / "one.flac").unlink()
    assert run(music, pack).missing == 1
    report = run(music, pack, prune=True)  # the copy replaces the deleted file
    assert (report.tracks, report.removed, report.audio_s) == (4, 1, 0)
    assert str(music / "b" / "copy.flac") in {track.path for track in open_pack(pack).tracks}


# Other models and damaged packs


def test_another_model_fingerprints_everything_again_also_in_other_folders(music: Path, pack: Path) -> None:
    run(music, pack)
    report = run([music / "a"], pack, digest="beef" * 4)
    assert (report.tracks, report.added) == (4, 4)
    assert "another model" in report.notes[0]
    assert open_pack(pack, "beef" * 4).manifest["n_tracks"] == 4


@pytest.mark.parametrize("folder", ["a", "."])
def test_an_interrupted_run_for_another_model_keeps_the_old_pack(
    music: Path, pack: Path, folder: str
) -> None:
    run(music, pack)
    before = pack.read_bytes()
    done: list[int] = []
    options: dict[str, Any] = {"digest": "beef" * 4, "progress": lambda state: done.append(state.done)}
    report = run([music / folder], pack, **options, stop=lambda: bool(done) and done[-1] >= 2)
    assert report.interrupted
    assert pack.read_bytes() == before
    report = run([music / folder], pack, digest="beef" * 4)
    assert report.tracks == 4
    assert report.audio_s < report.duration_s


def test_a_damaged_pack_raises_an_error_and_is_not_changed(music: Path, pack: Path) -> None:
    run(music, pack)
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)
    with pytest.raises(PackError, match="overheard packs remove music"):
        run(music, pack)
    assert pack.read_bytes() == content


def test_a_folder_that_cannot_be_created_raises_an_error(music: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PackError, match="cannot be created"):
        run(music, tmp_path / "file" / "packs" / "music.pack")


# Stops, crashes, concurrent runs


@pytest.mark.parametrize("jobs", [0, 1])
def test_a_stopped_run_writes_finished_tracks_and_the_next_run_continues(
    music: Path, pack: Path, jobs: int
) -> None:
    done: list[int] = []
    report = run(
        music,
        pack,
        jobs,
        progress=lambda state: done.append(state.done),
        stop=lambda: bool(done) and done[-1] >= 2,
    )
    assert report.interrupted
    assert 2 <= report.tracks < 4
    assert len(titles(pack)) == report.tracks
    assert other_files(pack) == []
    again = run(music, pack, jobs)
    assert (again.tracks, again.unchanged, again.interrupted) == (4, report.tracks, False)


def test_stopping_takes_effect_while_a_long_file_is_decoded(tmp_path: Path, pack: Path) -> None:
    long = tmp_path / "music" / "long.wav"
    long.parent.mkdir()
    audio_files.encode(long, audio_files.music(600.0), 8000, "pcm_s16le", "mono")
    begun = time.monotonic()
    report = run(long.parent, pack, 1, delay_s=0.3, stop=lambda: time.monotonic() - begun > 1.0)
    assert report.interrupted
    assert report.tracks == 0
    assert not pack.exists()


def start(folder: Path, pack: Path, jobs: int, delay_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, indexing_fakes.__file__, str(folder), str(pack), str(jobs), str(delay_s)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **PYTHON_PATH},
    )


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(8):
        audio_files.encode(folder / f"{seed}.wav", audio_files.music(3.0, seed), 8000, "pcm_s16le", "mono")
    return folder


def killed_after(process: subprocess.Popen[str], files: int) -> int:
    """Kill the process once `files` files are finished; return how many it reported."""
    assert process.stdout is not None
    lines = 0
    for line in process.stdout:
        lines = int(line.split()[0])
        if lines >= files:
            break
    process.kill()
    process.wait()
    return lines


def wait_until_unlocked(path: Path) -> None:
    for _ in range(200):
        try:
            with sqlite3.connect(path) as db:
                db.execute("SELECT count(*) FROM tracks")
            return
        except sqlite3.OperationalError:
            time.sleep(0.05)
    raise AssertionError("still locked")


@pytest.mark.slow
@pytest.mark.parametrize("with_old_pack", [False, True])
def test_a_killed_run_continues(many: Path, pack: Path, tmp_path: Path, with_old_pack: bool) -> None:
    if with_old_pack:
        other = tmp_path / "other"
        other.mkdir()
        audio_files.write_music(other / "old.wav", 3.0, seed=99)
        run(other, pack)
        before = pack.read_bytes()
    process = start(many, pack, jobs=2, delay_s=0.2)
    done = killed_after(process, 3)
    assert pack.read_bytes() == before if with_old_pack else not pack.exists()
    assert "music.indexing.sqlite" in other_files(pack)
    log = tmp_path / "log"
    report = run(many, pack, 1, log=log)
    assert report.tracks == 8 + with_old_pack
    assert other_files(pack) == []
    assert len(log.read_text().split()) <= 8 - done  # finished files are not fingerprinted again
    uninterrupted = tmp_path / "uninterrupted.pack"
    run(many, uninterrupted)
    expected = {track.path: track.id for track in open_pack(uninterrupted).entries()}
    continued = {track.path: track.id for track in open_pack(pack).entries() if track.path in expected}
    assert continued == expected


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_end_when_their_parent_is_killed(many: Path, pack: Path) -> None:
    process = start(many, pack, jobs=2, delay_s=0.3)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()  # a file is finished, so the workers are running
    children = children_of(process.pid)
    assert len(children) >= 2
    process.kill()
    process.wait()
    for _ in range(200):
        if not any(alive(child) for child in children):
            break
        time.sleep(0.05)
    assert not any(alive(child) for child in children)


def children_of(pid: int) -> list[int]:
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(stat.parent.name))
        except OSError:
            continue
    return children


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def journal(pack: Path) -> Path:
    pack.parent.mkdir(parents=True)
    return pack.parent / "music.indexing.sqlite"


def test_a_second_run_into_the_same_pack_raises_an_error(music: Path, pack: Path, journal: Path) -> None:
    other = Journal(journal, "feed" * 4)
    try:
        with pytest.raises(PackError, match="another overheard process is indexing"):
            run(music, pack)
    finally:
        other.close()
    assert run(music, pack).tracks == 4


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_journal_is_replaced(music: Path, pack: Path, journal: Path, content: bytes) -> None:
    journal.write_bytes(content)
    report = run(music, pack)
    assert report.tracks == 4
    moved = [path for path in pack.parent.iterdir() if ".unusable-" in path.name]
    assert [path.read_bytes() for path in moved] == ([content] if content else [])
    assert [path.name for path in moved] == other_files(pack)
    assert len(report.notes) == len(moved)
    assert all(path.name in report.notes[0] for path in moved)


def test_the_journal_of_another_model_is_discarded(music: Path, pack: Path, journal: Path) -> None:
    done: list[int] = []
    with pytest.raises(RuntimeError):
        run(music, pack, progress=lambda state: _fail_after(done, 2))
    assert "music.indexing.sqlite" in other_files(pack)
    report = run(music, pack, digest="beef" * 4)
    assert report.audio_s == report.duration_s


def _fail_after(done: list[int], files: int) -> None:
    done.append(1)
    if len(done) > files:
        raise RuntimeError("pulled the plug")


def test_a_full_disk_raises_an_error_and_keeps_fingerprinted_tracks(
    music: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise PackError("No space left on device")

    monkeypatch.setattr(pack_on_disk, "write_pack", full)
    with pytest.raises(PackError, match="No space left"):
        run(music, pack)
    monkeypatch.undo()
    report = run(music, pack)
    assert report.tracks == 4
    assert report.audio_s == 0
    assert report.added == 4
