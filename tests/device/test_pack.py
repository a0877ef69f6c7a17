from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overheard.catalogue import pack as packs
from overheard.catalogue import pack_format
from overheard.catalogue.track_list import metadata_of
from overheard.errors import PackError
from overheard.fingerprint.spec import SPEC

DIGEST = "0123456789abcdef"


def entry(seed: int = 0, n: int = 5, code_bytes: int = 4, **metadata: Any) -> packs.TrackEntry:
    rng = np.random.default_rng(seed)
    known = {
        "title": f"Title {seed}",
        "artist": "Artist",
        "path": f"/music/{seed}.flac",
        "duration_s": n + 0.6,
    }
    return packs.TrackEntry(
        **{**known, **metadata},
        packed_cells=rng.integers(0, 1 << 16, n, dtype=np.uint16),
        codes=rng.integers(0, 256, (n, code_bytes), dtype=np.uint8),
    )


def written(path: Path, *entries: packs.TrackEntry, digest: str = DIGEST) -> packs.Pack:
    packs.write_pack(path, path.stem, digest, SPEC, entries)
    return packs.open_pack(path, digest)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packs") / "music.pack"
    written(path, entry(1, 3), entry(2, 40), entry(3, 1))
    return path


# Titles as people write them, and paths as file systems allow: also bytes that are no UTF-8.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
paths = st.binary(min_size=1, max_size=30).map(os.fsdecode)
tracks = st.builds(
    entry,
    seed=st.integers(0, 1 << 30),
    n=st.integers(1, 30),
    code_bytes=st.just(3),
    title=texts,
    artist=texts,
    album=texts,
    path=paths,
    duration_s=st.floats(0, 1e5).map(lambda value: round(value, 2)),
    size=st.integers(0, 1 << 50),
    mtime_ns=st.integers(0, 1 << 62),
    extras=st.dictionaries(texts, texts, max_size=3),
    also=st.lists(st.tuples(paths, st.integers(0, 1 << 50), st.integers(0, 1 << 62)), max_size=2).map(tuple),
)


@settings(max_examples=50, deadline=None)
@given(entries=st.lists(tracks, max_size=5))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, entries: list[packs.TrackEntry]) -> None:
    path = tmp_path_factory.mktemp("packs") / "a name.pack"
    packs.write_pack(path, "a name", DIGEST, SPEC, entries, code_bytes=3)
    pack = packs.open_pack(path, DIGEST)
    assert (pack.name, pack.digest, pack.spec, pack.path) == ("a name", DIGEST, SPEC, path)
    assert pack.bytes == path.stat().st_size
    assert pack.codes.shape == (len(pack.packed_cells), 3)
    assert pack.first_segment[0] == 0
    assert pack.first_segment[-1] == len(pack.packed_cells)
    assert len(pack.tracks) == len(entries) == pack.manifest["n_tracks"]
    for again, wanted, track in zip(pack.entries(), entries, pack.tracks, strict=True):
        assert metadata_of(again) == metadata_of(wanted)
        np.testing.assert_array_equal(again.packed_cells, wanted.packed_cells)
        np.testing.assert_array_equal(again.codes, wanted.codes)
        assert again.id == wanted.id == track.id
        assert track.n_segments == len(wanted.packed_cells)


def test_any_flipped_byte_is_refused(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    path = tmp_path / "flipped.pack"
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(PackError, match="overheard packs remove") as caught:
            packs.open_pack(path, DIGEST)
        assert "\n" not in str(caught.value)


def test_any_cut_is_refused(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    path = tmp_path / "cut.pack"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(PackError, match="overheard packs remove"):
            packs.open_pack(path, DIGEST)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_damage_is_refused(
    good: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = good.read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    damaged = content[:start] + data.draw(st.binary(max_size=100)) + content[end:]
    path = tmp_path_factory.mktemp("packs") / "damaged.pack"
    path.write_bytes(damaged)
    if damaged == content:
        packs.open_pack(path, DIGEST)
    else:
        with pytest.raises(PackError):
            packs.open_pack(path, DIGEST)


def test_foreign_version_and_digest_are_refused_with_what_to_do(good: Path, tmp_path: Path) -> None:
    content = bytearray(good.read_bytes())
    content[16] = 2
    path = tmp_path / "future.pack"
    path.write_bytes(content)
    with pytest.raises(PackError, match="version 2 and this overheard reads 1 .update overheard"):
        packs.open_pack(path)
    with pytest.raises(PackError, match="made for another model .*: type overheard index FOLDER --pack"):
        packs.open_pack(good, "f" * 16)
    packs.open_pack(good, None)


def test_missing_folder_and_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="No such file"):
        packs.open_pack(tmp_path / "nowhere.pack")
    with pytest.raises(PackError, match="Is a directory"):
        packs.open_pack(tmp_path)
    (tmp_path / "empty.pack").touch()
    with pytest.raises(PackError, match="it is empty"):
        packs.open_pack(tmp_path / "empty.pack")


@pytest.mark.parametrize(
    "metadata", [b"", b"no zlib", b"[]", b'{"columns":["id"],"rows":[["a"],["b"],["c"]]}', b"[" * 100_000]
)
def test_malformed_but_well_signed_metadata_is_refused(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: bytes
) -> None:
    import zlib

    stored = metadata if metadata == b"no zlib" else zlib.compress(metadata)
    monkeypatch.setattr(packs, "pack_metadata", lambda tracks: stored)
    pack = written(tmp_path / "odd.pack", entry(1), entry(2), entry(3))  # opens: it is parsed when needed
    with pytest.raises(PackError, match="list of tracks is malformed"):
        _ = pack.tracks


@pytest.mark.parametrize(
    "manifest", [b"[]", b"{}", b"nonsense", b'{"parts": 3}', b'{"parts": {"cells": {"offset": "x"}}}']
)
def test_malformed_but_well_signed_manifest_is_refused(tmp_path: Path, manifest: bytes) -> None:
    path = tmp_path / "odd.pack"
    header = pack_format.HEADER.pack(
        b"OVERHEARD PACK\n\0", 1, len(manifest), 64 + len(manifest), hashlib.sha256(manifest).digest()
    )
    path.write_bytes(header + manifest)
    with pytest.raises(PackError, match="overheard packs remove"):
        packs.open_pack(path)


def test_parts_are_aligned_and_what_the_manifest_says(good: Path) -> None:
    content = good.read_bytes()
    _, version, length, n_bytes, _ = pack_format.HEADER.unpack_from(content)
    manifest = json.loads(content[64 : 64 + length])
    assert version == 1
    assert n_bytes == len(content)
    assert manifest["fingerprint_digest"] == DIGEST
    assert manifest["n_segments"] == 44
    base = -(-(64 + length) // 64) * 64
    for part in manifest["parts"].values():
        start = base + part["offset"]
        assert start % 64 == 0
        assert hashlib.sha256(content[start : start + part["length"]]).hexdigest() == part["sha256"]


def test_arrays_are_read_only(good: Path) -> None:
    pack = packs.open_pack(good)
    with pytest.raises(ValueError):
        pack.codes[0, 0] = 1


def test_pack_without_tracks(tmp_path: Path) -> None:
    packs.write_pack(tmp_path / "none.pack", "none", DIGEST, SPEC, [], code_bytes=24)
    pack = packs.open_pack(tmp_path / "none.pack", DIGEST)
    assert pack.tracks == ()
    assert pack.codes.shape == (0, 24)
    assert pack.first_segment.tolist() == [0]


def test_metadata_is_small(tmp_path: Path) -> None:
    """1,800 bytes a minute with everything: of the 240 that codes leave, metadata may take a fraction."""
    rng = np.random.default_rng(0)
    words = [
        "night",
        "river",
        "stone",
        "amber",
        "glass",
        "winter",
        "harbour",
        "silver",
        "echo",
        "garden",
        "north",
        "falling",
        "light",
    ]

    def name(n: int) -> str:
        return " ".join(rng.choice(words, n)).title()

    entries = []
    for number in range(1000):
        if number % 12 == 0:
            artist, album = name(2), name(3)
        title = name(3)
        entries.append(
            entry(
                number,
                n=180,
                code_bytes=24,
                title=title,
                artist=artist,
                album=album,
                path=f"/home/someone/Music/{artist}/{album}/{number % 12 + 1:02d} - {title}.flac",
                size=int(rng.integers(2e7, 4e7)),
                mtime_ns=int(rng.integers(1.6e18, 1.7e18)),
            )
        )
    pack = written(tmp_path / "many.pack", *entries)
    assert pack.manifest["parts"]["tracks"]["length"] / 1000 < 90
    assert pack.bytes / (1000 * 180.6 / 60) < 1600


def test_failed_write_leaves_the_old_pack(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "music.pack"
    written(path, entry(1))
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PackError, match="No space left"):
        packs.write_pack(path, "music", DIGEST, SPEC, [entry(2)])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["music.pack"]


def test_fingerprints_of_another_shape_are_refused(tmp_path: Path) -> None:
    for odd in (entry(2, code_bytes=7), entry(2, n=0)):
        with pytest.raises(PackError, match="wrong shape"):
            packs.write_pack(tmp_path / "odd.pack", "odd", DIGEST, SPEC, [entry(1), odd])
    (tmp_path / "nowhere").write_bytes(b"a file, no folder")
    with pytest.raises(PackError, match="cannot be written"):
        packs.write_pack(tmp_path / "nowhere" / "odd.pack", "odd", DIGEST, SPEC, [entry(1)])


def test_open_pack_outlives_its_replacement(tmp_path: Path) -> None:
    path = tmp_path / "music.pack"
    old = written(path, entry(1, 100))
    packed_cells = old.packed_cells.copy()
    written(path, entry(2, 50))
    np.testing.assert_array_equal(old.packed_cells, packed_cells)
    assert old.tracks[0].title == "Title 1"


def test_same_tracks_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    contents = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        pack = written(tmp_path / folder / "music.pack", entry(1), entry(2))
        contents.append(pack.path.read_bytes())
        assert pack.manifest["created"] == "2023-11-14T22:13:20+00:00"
    assert contents[0] == contents[1]


def test_track_of_a_pack_becomes_the_track_of_events(good: Path) -> None:
    track = packs.open_pack(good).tracks[1].to_track("music")
    assert (track.title, track.artist, track.pack, track.duration_s) == ("Title 2", "Artist", "music", 40.6)
    assert len(track.id) == 12
    assert int(track.id, 16) >= 0


def test_reading_packs_needs_no_decoder_and_no_runtime() -> None:
    heavy = "av soxr scipy sqlite3 mutagen"
    program = f"import sys, overheard.catalogue.pack; print([m for m in {heavy.split()} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert out.stdout.strip() == "[]"
