"""Indexing on a bad day: killed at any moment, a full disk, a share that vanishes, two runs at once."""

from __future__ import annotations

import functools
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import audio_files
import indexing_fakes
from indexing_fakes import FakeFingerprinter
from overheard.catalogue.layers import MAX_LAYERS
from overheard.catalogue.pack import open_pack
from overheard.errors import PackError
from overheard.index import run as index_run
from overheard.index.file_hashes import FileHash, FileHashes, json_path
from overheard.index.report import IndexReport

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
# Of each kind; OVERHEARD_KILLS=100 takes minutes.
N_KILLS = int(os.environ.get("OVERHEARD_KILLS", "5"))


@pytest.fixture
def music(tmp_path: Path) -> Path:
    return songs(tmp_path / "music", range(4))


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return tmp_path / "data" / "packs" / "music.pack"


def songs(folder: Path, seeds: range) -> Path:
    folder.mkdir(exist_ok=True)
    for seed in seeds:
        audio_files.encode(folder / f"{seed}.wav", audio_files.music(2.5, seed), 8000, "pcm_s16le", "mono")
    return folder


def run(folder: Path, pack: Path, **options: Any) -> IndexReport:
    return index_run.index([folder], pack, FakeFingerprinter, 0, **options)


def names(pack: Path) -> set[str]:
    return {Path(track.path).name for track in open_pack(pack).tracks}


# Layers


def test_a_run_writes_in_proportion_to_its_changes(music: Path, pack: Path) -> None:
    run(music, pack)
    before = pack.read_bytes()
    songs(music, range(4, 5))
    report = run(music, pack)
    assert (report.added, report.unchanged, report.tracks) == (1, 4, 5)
    assert pack.read_bytes() == before
    (layer,) = (pack.parent / "music.layers").iterdir()
    assert layer.stat().st_size < len(before)
    assert report.pack_bytes == len(before) + layer.stat().st_size
    assert report.duration_s == pytest.approx(5 * 2.5, abs=0.5)
    assert [each.n_tracks for each in open_pack(pack).layers] == [4, 1]


def test_removed_moved_and_changed_files_become_layers(music: Path, pack: Path) -> None:
    run(music, pack)
    (music / "0.wav").unlink()
    (music / "1.wav").rename(music / "moved.wav")
    songs(music, range(2, 3))
    audio_files.encode(music / "2.wav", audio_files.music(2.5, 99), 8000, "pcm_s16le", "mono")
    ids = {Path(track.path).name: track.id for track in open_pack(pack).tracks}
    report = run(music, pack, prune=True)
    assert (report.moved, report.removed, report.updated, report.unchanged) == (1, 1, 1, 1)
    now = {Path(track.path).name: track.id for track in open_pack(pack).tracks}
    assert now.keys() == {"moved.wav", "2.wav", "3.wav"}
    assert now["moved.wav"] == ids["1.wav"]
    assert now["2.wav"] != ids["2.wav"]


def test_many_runs_keep_few_layers(music: Path, pack: Path) -> None:
    for seed in range(MAX_LAYERS + 6):
        songs(music, range(seed, seed + 1))
        run(music, pack)
    assert len(open_pack(pack).layers) <= MAX_LAYERS + 1
    assert names(pack) == {path.name for path in music.iterdir()}


def test_a_long_run_writes_its_tracks_in_parts(
    music: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of a run does not grow with the collection."""
    monkeypatch.setattr(index_run, "MAX_JOURNAL_SEGMENTS", 2)
    sizes = []

    def progress(state: Any) -> None:
        if state.done:
            with sqlite3.connect(pack.with_name("music.indexing.sqlite")) as db:
                pass
            sizes.append(len(open_pack(pack).tracks) if pack.exists() else 0)
            db.close()

    songs(music, range(4, 7))
    (music / "copy.wav").write_bytes((music / "3.wav").read_bytes())
    report = run(music, pack, progress=progress)
    assert (report.tracks, report.added, report.duplicates) == (7, 8, 1)
    assert sizes[-1] >= 5
    again = run(music, pack)
    assert (again.unchanged, again.added, again.updated) == (8, 0, 0)


def test_a_pack_for_another_model_is_written_in_parts(
    music: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(music, pack)
    monkeypatch.setattr(index_run, "MAX_JOURNAL_SEGMENTS", 2)
    before = pack.read_bytes()
    (music / "0.wav").unlink()

    def progress(_: object) -> None:
        assert pack.read_bytes() == before

    make = functools.partial(FakeFingerprinter, "beef" * 4)
    report = index_run.index([music], pack, make, 0, progress, prune=True)
    assert (report.tracks, report.added) == (3, 3)
    assert len(open_pack(pack, "beef" * 4).layers) > 1


# Killed

CHILD = """
import sys
from pathlib import Path
import indexing_fakes
from overheard.catalogue.layers import compact
from overheard.catalogue.pack_lock import pack_lock
from overheard.index.run import index

source, folder, pack = map(Path, sys.argv[1:])
for number, path in enumerate(sorted(source.iterdir())):
    target = folder / path.name
    if target.exists():
        continue
    target.hardlink_to(path)
    print(number, flush=True)
    index([folder], pack, indexing_fakes.FakeFingerprinter, 0)
    if number % 3 == 2:
        with pack_lock(pack):
            compact(pack)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_the_old_or_the_new_pack(
    tmp_path: Path, pack: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each step adds a file, and after some, layers are merged or the pack is compacted."""
    source, folder, rng = tmp_path / "source", tmp_path / "music", random.Random(0)  # noqa: S311
    songs(source, range(30))
    for path in source.iterdir():
        path.rename(path.with_stem(f"{int(path.stem):03}"))
    folder.mkdir()
    done = 0  # files in the pack before the process started
    for _ in range(N_KILLS):
        if len(os.listdir(folder)) > 20:
            shutil.rmtree(folder)
            shutil.rmtree(pack.parent)
            folder.mkdir()
            done = 0
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(source), str(folder), str(pack)],
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        assert process.stdout is not None
        begun = int(process.stdout.readline())
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        rest, _ = process.communicate()
        begun = int(rest.split()[-1]) if rest.split() else begun
        present = sorted(os.listdir(folder))
        assert len(present) in (begun + 1, begun + 2)  # the second: killed before it was printed
        if pack.exists():
            found = sorted(names(pack))
            assert found == present[: len(found)]
            assert len(found) in (done, begun, begun + 1)
            done = len(found)
        else:
            assert done == 0
    assert caplog.messages == []
    run(folder, pack)
    assert names(pack) == set(os.listdir(folder))
    assert not [path for path in pack.parent.rglob("*") if path.suffix in (".tmp", ".lock")]


# A full disk


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 600, 5000, 20000])
@pytest.mark.parametrize("with_pack", [False, True])
def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, pack: Path, limit: int, with_pack: bool
) -> None:
    """No file may grow beyond a limit, which stops the journal, the pack, a layer, or the hashes."""
    music = songs(tmp_path / "music", range(4))
    if with_pack:
        run(music, pack)
        songs(music, range(4, 8))
    before = names(pack) if with_pack else set()
    result = subprocess.run(
        [sys.executable, indexing_fakes.__file__, "cli", "index", str(music), "--jobs", "0"],
        env={**ENVIRONMENT, "OVERHEARD_DATA_DIR": str(pack.parents[1])},
        preexec_fn=lambda: limit_files(limit),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stderr
    assert result.returncode in (0, 2)
    if result.returncode:
        assert result.stderr.count("\n") == 1
        assert (names(pack) if pack.exists() else set()) == before
    report = run(music, pack)
    assert names(pack) == {path.name for path in music.iterdir()}
    assert report.failed == ()


def limit_files(n_bytes: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails instead
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


# A share that vanishes


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("before", [0, 2])
def test_a_share_that_vanishes_ends_the_run_and_loses_no_track(
    tmp_path: Path, pack: Path, prune: bool, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_run, "MAX_ABSENT", 3)
    music = songs(tmp_path / "music", range(3))
    run(music, pack)
    songs(music, range(3, 12))

    def unplug(state: Any) -> None:
        if state.done == before and music.exists():
            music.rename(tmp_path / "unplugged")
            music.mkdir()  # the empty folder on which it was mounted

    report = run(music, pack, prune=prune, progress=unplug)
    assert report.interrupted
    assert (report.tracks, report.removed, len(report.failed)) == (3 + before, 0, 3)
    assert "check that the drive or share is still connected" in report.notes[0]
    music.rmdir()
    (tmp_path / "unplugged").rename(music)
    report = run(music, pack, prune=prune)
    assert (report.tracks, report.removed, report.failed) == (12, 0, ())


def test_a_folder_that_cannot_be_listed_midway_loses_no_track(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    songs(music / "a", range(2))
    songs(music / "b", range(2, 4))
    run(music, pack)
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("/b"):
            raise OSError(116, "Stale file handle", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = run(music, pack, prune=True)
    assert (report.tracks, report.removed, report.missing) == (4, 0, 0)
    assert report.failed == ((str(music / "b"), "Stale file handle"),)


# Two runs at once


@pytest.mark.slow
def test_of_two_runs_at_once_one_is_refused_and_nothing_is_lost(music: Path, pack: Path) -> None:
    command = [sys.executable, indexing_fakes.__file__, "cli", "index", str(music), "--jobs", "1"]
    environment = {**ENVIRONMENT, "OVERHEARD_DATA_DIR": str(pack.parents[1]), "FAKE_DELAY_S": "0.5"}
    processes = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    results = [(process.communicate()[1], process.returncode) for process in processes]
    assert {code for _, code in results} <= {0, 2}
    assert any(code == 0 for _, code in results)
    for err, code in results:
        if code == 2:
            assert "another overheard process is" in err
            assert err.count("\n") == 1
    assert names(pack) == {path.name for path in music.iterdir()}


# Hashes of the files


def test_hashes_of_an_earlier_release_are_used_and_converted(music: Path, pack: Path) -> None:
    import hashlib
    import json

    run(music, pack)
    hashes = FileHashes(pack)
    rows = [[path, h.size, h.mtime_ns, h.audio_hash] for path, h in hashes.load()]
    body = json.dumps({"files": rows}, separators=(",", ":")).encode("ascii")
    json_path(pack).write_bytes(
        f"overheard file hashes 1 {hashlib.sha256(body).hexdigest()}".encode() + b"\n" + body
    )
    hashes.path.unlink()
    (music / "0.wav").rename(music / "moved.wav")
    report = run(music, pack)
    assert (report.moved, report.audio_s) == (1, 0)
    assert not json_path(pack).exists()
    assert {Path(path).name for path, _ in hashes.load()} == {"1.wav", "2.wav", "3.wav", "moved.wav"}


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\xff" * 4000])
def test_damaged_hashes_are_replaced(music: Path, pack: Path, content: bytes) -> None:
    run(music, pack)
    FileHashes(pack).path.write_bytes(content)
    songs(music, range(4, 5))
    report = run(music, pack)
    assert (report.added, report.unchanged, report.notes) == (1, 4, ())
    assert {Path(path).name for path, _ in FileHashes(pack).load()} == {"4.wav"}


def test_hashes_are_written_row_by_row(tmp_path: Path) -> None:
    hashes = FileHashes(tmp_path / "x.pack")
    many = {f"/music/{number:06}.flac": FileHash(number, number, f"{number:032x}") for number in range(20000)}
    hashes.update(many, ())
    assert dict(hashes.load()) == many
    before = hashes.path.read_bytes()
    changed = FileHash(1, 2**70, "ab" * 16)  # no such time fits into SQLite
    hashes.update({"/music/000005.flac": FileHash(1, -5, "ab" * 16), "/x": changed}, ["/music/000007.flac"])
    after = hashes.path.read_bytes()
    pages = range(0, len(before), 4096)
    assert sum(before[i : i + 4096] != after[i : i + 4096] for i in pages) <= 3
    found = dict(hashes.load())
    assert len(found) == 19999
    assert found["/music/000005.flac"] == FileHash(1, -5, "ab" * 16)
    assert hashes.path.stat().st_mode & 0o777 == 0o600


def test_a_folder_in_place_of_the_hashes_is_a_note(music: Path, pack: Path) -> None:
    run(music, pack)
    FileHashes(pack).path.unlink()
    FileHashes(pack).path.mkdir()
    songs(music, range(4, 5))
    report = run(music, pack)
    assert report.tracks == 5
    assert "cannot be written" in report.notes[0]


def test_a_pack_that_cannot_be_locked_is_an_error(music: Path, pack: Path) -> None:
    (pack.parent / "music.lock").mkdir(parents=True)
    with pytest.raises(PackError, match="cannot be created"):
        run(music, pack)
