"""Run `index` on damaged journals, and print what happened to each as a line of JSON.

    mutated_journals.py FIRST [--seconds S | --count N]

Each run must succeed, and alter no track: every damaged journal can be moved aside.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from attempts import ACCEPTED, repeat

import audio_files
from indexing_fakes import FakeFingerprinter
from overheard.catalogue.pack import open_pack
from overheard.catalogue.track_list import metadata_of
from overheard.index.journal import Journal
from overheard.index.run import index

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


def write_music(folder: Path) -> Path:
    """Write a few short files."""
    folder.mkdir(exist_ok=True)
    for seed in range(N_FILES):
        audio_files.encode(folder / f"{seed}.wav", audio_files.music(3.0, seed), 8000, "pcm_s16le", "mono")
    return folder


def interrupted_journal(music: Path, folder: Path) -> bytes:
    """Return the journal of a run that was interrupted after the last file."""
    folder.mkdir(exist_ok=True)

    def interrupt(state: object) -> None:
        if getattr(state, "done") == N_FILES:  # noqa: B009
            raise Interrupted

    with suppress(Interrupted):
        index([music], folder / "music.pack", FakeFingerprinter, 0, interrupt)
    path = folder / "music.indexing.sqlite"
    journal = Journal(path, KEY)
    assert len(list(journal.tracks())) == N_FILES
    return path.read_bytes()


def tracks(pack: Path) -> list[tuple[str, object]]:
    """Return all that a pack says about its tracks."""
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


@contextmanager
def in_memory() -> Iterator[Path]:
    """Create a folder without a disk, if there is such: hundreds of runs would wait for `fsync`."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


class Runs:
    """Runs of `index` on damaged journals, all in one folder."""

    def __init__(self, folder: Path) -> None:
        self.music, self.packs = write_music(folder / "music"), folder / "packs"
        self.journal = interrupted_journal(self.music, folder / "interrupted")
        index([self.music], folder / "right.pack", FakeFingerprinter, 0)
        self.right = tracks(folder / "right.pack")

    def prepare(self, number: int) -> None:
        """Write the damaged journal with a number."""
        shutil.rmtree(self.packs, ignore_errors=True)
        self.packs.mkdir()
        mutated(self.journal, number, self.packs / "music.indexing.sqlite")

    def attempt(self) -> str:
        """Index; a fault raises AssertionError."""
        # Every one of these can be moved aside, so not even an error for the user is right.
        report = index([self.music], self.packs / "music.pack", FakeFingerprinter, 0)
        assert tracks(self.packs / "music.pack") == self.right, "a track is altered"
        assert len(report.notes) <= 1
        assert not any("\n" in note for note in report.notes)
        assert not (self.packs / "music.indexing.sqlite").exists()
        return ACCEPTED


def main() -> None:
    """Index with one damaged journal after the other."""
    with in_memory() as folder:
        runs = Runs(folder)
        repeat(runs.prepare, runs.attempt)


if __name__ == "__main__":
    main()
