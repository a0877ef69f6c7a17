"""Run `index` on damaged journals, 200 in the suite: each run succeeds, and no track is altered."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import audio_files
from indexing_fakes import FakeFingerprinter
from overheard.catalogue.pack import open_pack
from overheard.catalogue.track_list import metadata_of
from overheard.index.journal import Journal
from overheard.index.run import index

SECONDS = float(os.environ.get("OVERHEARD_FUZZ_SECONDS", "0"))
N_MUTATIONS = 200
N_FILES = 3
KEY = f"{FakeFingerprinter().digest}/{FakeFingerprinter().code_bytes}"
STATEMENTS = (
    "UPDATE tracks SET metadata = CAST(replace(CAST(metadata AS TEXT), '0', '1') AS BLOB)",
    "UPDATE tracks SET metadata = x'80ff'",
    "UPDATE tracks SET metadata = '{}'",
    "UPDATE tracks SET path = x'2f78'  WHERE rowid = 1",
    "UPDATE tracks SET codes = (SELECT codes FROM tracks WHERE rowid = 2)",
    "UPDATE tracks SET codes = x'', cells = x''",
    "UPDATE tracks SET codes = 1e300, cells = 7",
    "UPDATE tracks SET cells = substr(cells, 2)",
    "UPDATE tracks SET audio_hash = x'00ff'",
    "UPDATE tracks SET digest = NULL WHERE 0; DELETE FROM tracks WHERE rowid = 1",
    "UPDATE facts SET value = '1' WHERE name = 'format'",
    "UPDATE facts SET value = x'ff' WHERE name = 'digest'",
    "UPDATE facts SET value = 'beef/6' WHERE name = 'digest'",
    "DELETE FROM facts",
    "DROP TABLE facts",
    "DROP TABLE tracks",
    "ALTER TABLE tracks DROP COLUMN digest",
    "ALTER TABLE tracks ADD COLUMN more TEXT",
    "CREATE TRIGGER t AFTER INSERT ON tracks BEGIN UPDATE tracks SET codes = x'00'; END",
    "DROP TABLE tracks; CREATE VIEW tracks AS SELECT 1 AS path, 2 AS metadata, 3 AS cells, 4 AS codes, "
    "5 AS audio_hash, 6 AS digest",
    "PRAGMA journal_mode = WAL",
    "PRAGMA user_version = 9",
)


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed in range(N_FILES):
        audio_files.encode(folder / f"{seed}.wav", audio_files.music(3.0, seed), 8000, "pcm_s16le", "mono")
    return folder


@pytest.fixture(scope="module")
def journal(music: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the journal of a run that was interrupted after the last file."""
    pack = tmp_path_factory.mktemp("interrupted") / "music.pack"

    def interrupt(state: object) -> None:
        if getattr(state, "done") == N_FILES:  # noqa: B009
            raise Interrupted

    with pytest.raises(Interrupted):
        index([music], pack, FakeFingerprinter, 0, interrupt)
    path = pack.parent / "music.indexing.sqlite"
    assert len(list(Journal(path, KEY).tracks())) == N_FILES
    return path.read_bytes()


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Return a folder without a disk, if there is such: hundreds of runs would wait for `fsync`."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


def tracks(pack: Path) -> list[tuple[str, object]]:
    return [(entry.id, metadata_of(entry)) for entry in open_pack(pack).entries()]


def mutated(content: bytes, seed: int, path: Path) -> None:
    """Write a damaged copy of a journal."""
    rng = np.random.default_rng(seed)
    path.write_bytes(content)
    if seed < len(STATEMENTS):
        with sqlite3.connect(path) as db:
            db.executescript(STATEMENTS[seed])
        db.close()
        return
    data = bytearray(content)
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 2000))
    kind = seed % 6
    if kind == 0:
        data[start] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        for position in rng.integers(0, len(data), 20):
            data[position] = int(rng.integers(256))
    elif kind == 2:
        data[start : start + length] = bytes(len(data[start : start + length]))
    elif kind == 3:
        del data[start:]
    elif kind == 4:
        data[start:start] = rng.bytes(length)
    else:  # the header, which says how to read everything else
        data[int(rng.integers(100))] = int(rng.integers(256))
    path.write_bytes(data)


def numbers() -> Iterator[int]:
    """Yield the numbers of the mutations: 200 of them, or as many as the given time allows."""
    end_s = time.monotonic() + SECONDS
    number = 0
    while number < N_MUTATIONS or time.monotonic() < end_s:
        yield number
        number += 1
    print(f"{number} journals")


def test_no_damaged_journal_stops_a_run_or_alters_a_track(
    music: Path, journal: bytes, in_memory: Path
) -> None:
    tmp_path = in_memory
    index([music], tmp_path / "right.pack", FakeFingerprinter, 0)
    right = tracks(tmp_path / "right.pack")
    for seed in numbers():
        folder = tmp_path / "packs"
        folder.mkdir()
        mutated(journal, seed, folder / "music.indexing.sqlite")
        # Every one of these can be moved aside, so not even an error for the user is right.
        report = index([music], folder / "music.pack", FakeFingerprinter, 0)
        assert tracks(folder / "music.pack") == right, seed
        assert len(report.notes) <= 1
        assert not any("\n" in note for note in report.notes)
        assert not (folder / "music.indexing.sqlite").exists()
        shutil.rmtree(folder)


def test_intact_rows_of_a_damaged_journal_are_used(music: Path, journal: bytes, tmp_path: Path) -> None:
    path = tmp_path / "music.indexing.sqlite"
    path.write_bytes(journal)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE tracks SET codes = zeroblob(length(codes)) WHERE rowid = 2")
    db.close()
    report = index([music], tmp_path / "music.pack", FakeFingerprinter, 0)
    assert report.tracks == N_FILES
    assert 0 < report.audio_s < 4.0  # one of three files
    assert "2 tracks recovered from it" in report.notes[0]
    (aside,) = tmp_path.glob("*.unusable-*")
    assert aside.name in report.notes[0]
    assert aside.read_bytes() != journal


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_a_journal_that_is_no_file_is_moved_aside(music: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "music.indexing.sqlite"
    os.mkfifo(path) if kind == "fifo" else path.mkdir()
    report = index([music], tmp_path / "music.pack", FakeFingerprinter, 0)
    assert report.tracks == N_FILES
    assert "not a regular file" in report.notes[0]


def test_only_the_owner_can_read_the_journal_and_the_hashes(music: Path, tmp_path: Path) -> None:
    with_journal = Journal(tmp_path / "music.indexing.sqlite", KEY)
    assert (tmp_path / "music.indexing.sqlite").stat().st_mode & 0o777 == 0o600
    with_journal.close()
    index([music], tmp_path / "music.pack", FakeFingerprinter, 0)
    assert (tmp_path / "music.index.sqlite").stat().st_mode & 0o777 == 0o600


def test_damaged_hashes_are_left_out(music: Path, tmp_path: Path) -> None:
    pack, hashes = tmp_path / "music.pack", tmp_path / "music.index.sqlite"
    index([music], pack, FakeFingerprinter, 0)
    content, right = hashes.read_bytes(), tracks(pack)
    rng = np.random.default_rng(0)
    for _ in range(30):
        data = bytearray(content)
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        hashes.write_bytes(data[: int(rng.integers(len(data)))] if rng.random() < 0.3 else data)
        (music / "0.wav").touch()  # with its hash, it would not be decoded
        index([music], pack, FakeFingerprinter, 0)
        assert sorted(track[0] for track in tracks(pack)) == sorted(track[0] for track in right)
    assert hashes.read_bytes().startswith(b"SQLite format 3")
