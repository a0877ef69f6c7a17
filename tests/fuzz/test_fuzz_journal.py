"""Run `index` on damaged journals, 200 in the suite: each run succeeds, and no track is altered."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from mutated_journals import KEY, N_FILES, Runs, in_memory, interrupted_journal, tracks, write_music

from indexing_fakes import FakeFingerprinter
from overheard.index.journal import Journal
from overheard.index.run import index

SECONDS = float(os.environ.get("OVERHEARD_FUZZ_SECONDS", "0"))
N_MUTATIONS = 200


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def journal(music: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return interrupted_journal(music, tmp_path_factory.mktemp("interrupted"))


def numbers() -> Iterator[int]:
    """Yield the numbers of the mutations: 200 of them, or as many as the given time allows."""
    end_s = time.monotonic() + SECONDS
    number = 0
    while number < N_MUTATIONS or time.monotonic() < end_s:
        yield number
        number += 1
    print(f"{number} journals")


def test_no_damaged_journal_stops_a_run_or_alters_a_track() -> None:
    with in_memory() as folder:
        runs = Runs(folder)
        for number in numbers():
            runs.prepare(number)
            runs.attempt()


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
