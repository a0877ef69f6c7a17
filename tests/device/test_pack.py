from __future__ import annotations

import datetime
import gc
import hashlib
import json
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overheard.catalogue import layer, pack_file, pack_format, pack_write, selection, track_list
from overheard.catalogue import pack as packs
from overheard.catalogue.track_list import metadata_of
from overheard.errors import REINSTALL, PackError
from overheard.fingerprint.model import default_model
from overheard.fingerprint.spec import SPEC
from overheard.settings import Settings

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


# Any text in tags, and any bytes in paths, because file systems allow bytes that are not UTF-8.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
paths = st.binary(min_size=1, max_size=30).map(lambda name: os.fsdecode(name.replace(b"\0", b"0")))
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
    (base,) = pack.layers
    assert base.first_segment[0] == 0
    assert base.first_segment[-1] == base.n_segments == pack.n_segments
    assert [each.shape for each in base.read(0, pack.n_segments)] == [
        (pack.n_segments,),
        (pack.n_segments, 3),
    ]
    assert len(pack.tracks) == len(entries) == pack.n_tracks == pack.manifest["n_tracks"]
    for again, wanted, track in zip(pack.entries(), entries, pack.tracks, strict=True):
        assert metadata_of(again) == metadata_of(wanted)
        np.testing.assert_array_equal(again.packed_cells, wanted.packed_cells)
        np.testing.assert_array_equal(again.codes, wanted.codes)
        assert again.id == wanted.id == track.id
        assert track.n_segments == len(wanted.packed_cells)


def test_any_flipped_byte_is_refused(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    path = tmp_path / "flipped.pack"
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        with pytest.raises(PackError, match=r"overheard packs remove|update overheard") as caught:
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


def test_a_pack_of_another_version_or_model_is_refused_with_a_remedy(good: Path, tmp_path: Path) -> None:
    content = bytearray(good.read_bytes())
    content[16] = 2
    path = tmp_path / "future.pack"
    path.write_bytes(content)
    with pytest.raises(PackError, match="version 2; this overheard supports version 1") as caught:
        packs.open_pack(path)
    assert caught.value.remedy == "update overheard"
    with pytest.raises(PackError, match="made for another model") as caught:
        packs.open_pack(good, "f" * 16)
    assert "overheard index FOLDER --pack music" in str(caught.value.remedy)
    assert "overheard packs remove music" in str(caught.value.remedy)
    packs.open_pack(good, None)


def test_missing_folder_and_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="No such file"):
        packs.open_pack(tmp_path / "nowhere.pack")
    with pytest.raises(PackError, match="Is a directory"):
        packs.open_pack(tmp_path)
    (tmp_path / "empty.pack").touch()
    with pytest.raises(PackError, match="the file is empty"):
        packs.open_pack(tmp_path / "empty.pack")


ROW = [
    "0123456789ab",
    "Title",
    "Artist",
    "Album",
    "/a.flac",
    5.6,
    3,
    4,
    {"licence": "CC0"},
    [["/b.flac", 3, 4]],
]


def metadata_with(column: int, value: object) -> bytes:
    """Return the metadata of one track in which a column has another value."""
    row = [*ROW[:column], value, *ROW[column + 1 :]]
    return json.dumps({"columns": track_list._COLUMNS, "rows": [row]}).encode()


def pack_with(metadata: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> packs.Pack:
    """Write a pack of one track with this metadata and correct checksums."""
    monkeypatch.setattr(pack_write, "pack_metadata", lambda tracks, removed: metadata)
    return written(path, entry(1))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (b"", "not|invalid JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"rows":[]}', "columns is missing"),
        (b'{"columns":["id"],"rows":[["a"],["b"]]}', "2 rows for 1 tracks"),
        (b'{"columns":["id"],"rows":[["0123456789ab"]]}', "title is missing"),
        (b'{"columns":["id"],"rows":["a"]}', "a row must be an array"),
        (b'{"columns":["id"],"rows":[["a", "b"]]}', "at most 1 values"),
        (b'{"columns":[["id"]],"rows":[["a"]]}', "column's name must be a string"),
        (metadata_with(0, 12), "id must be a string"),
        (metadata_with(5, "long"), "duration_s must be a finite number"),
        (metadata_with(5, float("nan")), "duration_s must be a finite number"),
        (metadata_with(5, True), "duration_s must be an integer"),
        (metadata_with(5, float("inf")), "duration_s must be a finite number"),
        (metadata_with(5, float("-inf")), "duration_s must be a finite number"),
        (metadata_with(5, 12345.0).replace(b"12345.0", b"1e400"), "duration_s must be a finite number"),
        (metadata_with(5, 1e300), "duration_s is out of range"),
        (metadata_with(5, -(10**17)), "duration_s is out of range"),
        (metadata_with(5, 10**30), "duration_s is out of range"),
        (metadata_with(0, "\x1b[2J"), "id must be 12 hex digits"),
        (metadata_with(1, "\ud800"), "title is not valid text"),
        (metadata_with(2, "\udc80"), "artist is not valid text"),
        (metadata_with(4, "/a\ud800"), "path is not a valid path"),
        (metadata_with(4, "/a\0"), "path is not a valid path"),
        (metadata_with(8, {"\ud800": "x"}), "a name in extras is not valid text"),
        (metadata_with(8, {"licence": "\udfff"}), "licence is not valid text"),
        (metadata_with(9, [["/b\ud800", 3, 4]]), "path is not a valid path"),
        (metadata_with(6, 1.5), "size must be an integer"),
        (metadata_with(7, None), "mtime_ns must be an integer"),
        (metadata_with(8, ["licence"]), "extras must be an object"),
        (metadata_with(8, {"licence": 1}), "licence must be a string"),
        (metadata_with(9, [["/b.flac", 3]]), "path, size and mtime_ns"),
        (b'{"columns":[],"rows":[],"removed":[]}', "0 rows for 1 tracks"),
        (metadata_with(0, "0" * 12)[:-1] + b',"removed":["x"]}', "id must be 12 hex digits"),
        (metadata_with(0, "0" * 12)[:-1] + b',"removed":[["x"]]}', "id must be 12 hex digits"),
        (metadata_with(0, "0" * 12)[:-1] + b',"removed":{}}', "removed must be an array"),
    ],
)
def test_invalid_metadata_with_correct_checksums_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: bytes, reason: str
) -> None:
    with pytest.raises(PackError, match=f"list of tracks is invalid: .*({reason})") as caught:
        pack_with(zlib.compress(metadata), tmp_path / "odd.pack", monkeypatch)
    assert "overheard packs remove odd" in str(caught.value.remedy)


@pytest.mark.parametrize("stored", [b"no zlib", zlib.compress(b"{}")[:-4], zlib.compress(b"\xff\xff")])
def test_metadata_that_cannot_be_decompressed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bytes
) -> None:
    with pytest.raises(PackError, match="list of tracks is invalid"):
        pack_with(stored, tmp_path / "odd.pack", monkeypatch)


def test_metadata_that_decompresses_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(track_list, "_MIN_VALUES", 100)
    with pytest.raises(PackError, match=r"more than 6\d{6} bytes when uncompressed"):
        pack_with(zlib.compress(b" " * (1 << 28)), tmp_path / "bomb.pack", monkeypatch)
    for values in (b"[],", b"{},", b"0,", b'["",0,0],'):
        with pytest.raises(PackError, match=r"too many values \(\d+\)"):
            pack_with(zlib.compress(values * 1000), tmp_path / "bomb.pack", monkeypatch)


def test_complete_and_shortened_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (track,) = pack_with(zlib.compress(metadata_with(0, "a" * 12)), tmp_path / "a.pack", monkeypatch).tracks
    assert (track.id, track.size, track.mtime_ns, track.n_segments) == ("a" * 12, 3, 4, 5)
    assert (track.extras, track.also) == ({"licence": "CC0"}, (("/b.flac", 3, 4),))
    short = json.dumps({"columns": track_list._COLUMNS, "rows": [ROW[:6]]}).encode()
    (track,) = pack_with(zlib.compress(short), tmp_path / "b.pack", monkeypatch).tracks
    assert (track.size, track.mtime_ns, track.extras, track.also) == (0, 0, {}, ())


def test_a_bug_in_reading_metadata_is_not_reported_as_a_damaged_pack(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def buggy(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(layer, "unpack_metadata", buggy)
    with pytest.raises(TypeError, match="a bug"):
        _ = packs.open_pack(good).tracks


def with_facts(path: Path, **changes: object) -> Path:
    """Rewrite a pack with other values in its manifest and correct checksums; None removes a value."""
    view = memoryview(path.read_bytes())
    manifest = pack_format.read_manifest(view)
    parts = {
        name: pack_format.Part.of([bytes(part)])
        for name, part in pack_format.read_parts(view, manifest).items()
    }
    facts = {name: value for name, value in {**manifest, **changes}.items() if value is not None}
    with path.open("wb") as file:
        pack_format.write_parts(file, facts, parts)
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n_tracks": None}, "n_tracks is missing"),
        ({"n_tracks": "2"}, "n_tracks must be an integer"),
        ({"n_tracks": True}, "n_tracks must be an integer"),
        ({"n_tracks": 2}, "part 'segments' has 4 bytes instead of 8"),
        ({"n_segments": 6}, "part 'cells' has 10 bytes instead of 12"),
        ({"n_segments": -5}, "n_segments is out of range"),
        ({"n_segments": 10**30}, "n_segments is out of range"),
        ({"code_bytes": 3}, "part 'codes' has 20 bytes instead of 15"),
        ({"code_bytes": 2**40}, "code_bytes is more than"),
        ({"duration_s": float("inf")}, "duration_s must be a finite number"),
        ({"code_bytes": -1}, "code_bytes is out of range"),
        ({"code_bytes": 22.9}, "code_bytes must be an integer"),
        ({"code_bytes": "22"}, "code_bytes must be an integer"),
        ({"duration_s": float("nan")}, "duration_s must be a finite number"),
        ({"duration_s": -(10**17)}, "duration_s is out of range"),
        ({"duration_s": 1e300}, "duration_s is out of range"),
        ({"duration_s": "12"}, "duration_s must be a finite number"),
        ({"created": None}, "created is missing"),
        ({"created": 2024}, "created must be a string"),
        ({"created": "yesterday"}, "created must be a date and time"),
        ({"created": "2024-01-01T00:00:00"}, "created must be a date and time with a time zone"),
        ({"created": "9999-12-31T23:59:59-12:00"}, "created must be a date and time"),
        ({"created": "0001-01-01T00:00:00+12:00"}, "created must be a date and time"),
        ({"fingerprint_digest": 7}, "fingerprint_digest must be a string"),
        ({"fingerprint_digest": "\x1b[2J0123456789ab"}, "must be 16 hex digits"),
        ({"fingerprint_digest": "\ud800"}, "fingerprint_digest is not valid text"),
        ({"padding": "x" * (1 << 18)}, "the manifest has more than 262144 bytes"),
    ],
)
def test_wrong_facts_with_correct_checksums_are_refused(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    path = written(tmp_path / "odd.pack", entry(1)).path
    with pytest.raises(PackError, match=reason):
        packs.open_pack(with_facts(path, **changes))


def test_counts_that_do_not_add_up_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, fewer = pack_write.Contents.parts, pack_format.Part.of([b"\4\0\0\0"])
    monkeypatch.setattr(pack_write.Contents, "parts", lambda contents: {**parts(contents), "segments": fewer})
    with pytest.raises(PackError, match="do not add up"):
        written(tmp_path / "odd.pack", entry(1, n=5))


@pytest.mark.parametrize("spec", [None, 3, {}, {**SPEC.to_dict(), "colour": 1}])
def test_unsupported_fingerprint_parameters_are_refused_when_they_are_used(
    tmp_path: Path, spec: object
) -> None:
    path = written(tmp_path / "odd.pack", entry(1)).path
    pack = packs.open_pack(with_facts(path, spec=spec))
    with pytest.raises(PackError, match="fingerprint parameters are not supported"):
        _ = pack.spec


def test_the_shipped_pack_is_read_and_written_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = packs.open_pack(selection.shipped_packs_dir() / "starter.pack", default_model().digest)
    assert len(pack.tracks) == pack.manifest["n_tracks"] > 500
    assert pack.spec == SPEC
    created = datetime.datetime.fromisoformat(pack.created)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(created.timestamp())))
    copy = tmp_path / "copy.pack"
    packs.write_pack(copy, pack.manifest["name"], pack.digest, pack.spec, pack.entries())
    # The manifest's parts include the SHA-256 of each part. Only the durations were rounded in between.
    written_again = packs.open_pack(copy).manifest
    assert written_again.pop("layer") == {
        "lineage": packs.open_pack(copy).layers[0].lineage,
        "first": 0,
        "last": 0,
    }
    assert written_again == {**pack.manifest, "duration_s": pytest.approx(pack.manifest["duration_s"], abs=3)}


@pytest.mark.parametrize(
    "manifest", [b"[]", b"{}", b"nonsense", b'{"parts": 3}', b'{"parts": {"cells": {"offset": "x"}}}']
)
def test_invalid_manifest_with_correct_checksums_is_refused(tmp_path: Path, manifest: bytes) -> None:
    path = tmp_path / "odd.pack"
    header = pack_format.HEADER.pack(
        b"OVERHEARD PACK\n\0", 1, len(manifest), 64 + len(manifest), hashlib.sha256(manifest).digest()
    )
    path.write_bytes(header + manifest)
    with pytest.raises(PackError, match="overheard packs remove"):
        packs.open_pack(path)


def test_parts_are_aligned_and_match_the_manifest(good: Path) -> None:
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


def contents(pack: packs.Pack) -> tuple[bytes, bytes]:
    """Return all packed cells and codes of the base."""
    cells, codes = pack.layers[0].read(0, pack.layers[0].n_segments)
    return cells.tobytes(), codes.tobytes()


def test_a_small_open_pack_stays_as_it_was_when_its_file_is_overwritten_shortened_or_deleted(
    tmp_path: Path,
) -> None:
    pack = written(tmp_path / "music.pack", entry(1, 30_000))
    before = contents(pack)
    for change in (lambda path: path.write_bytes(b"x" * 10), lambda path: os.truncate(path, 0), Path.unlink):
        change(pack.path)
        assert contents(pack) == before
    assert list(tmp_path.iterdir()) == []


def test_a_large_open_pack_outlives_its_deletion_and_reads_as_zeros_where_its_file_was_shortened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A memory map of the file itself would end the process with SIGBUS."""
    monkeypatch.setattr(pack_file, "MAX_IN_MEMORY", 0)
    pack = written(tmp_path / "music.pack", entry(1, 30_000))
    before = contents(pack)
    pack.path.rename(tmp_path / "moved.pack")
    assert contents(pack) == before
    (tmp_path / "moved.pack").unlink()
    assert contents(pack) == before

    pack = written(tmp_path / "music.pack", entry(1, 30_000))
    os.truncate(pack.path, 30_000)
    cells, codes = contents(pack)
    assert (cells[:20_000], len(cells), len(codes)) == (before[0][:20_000], len(before[0]), len(before[1]))
    assert codes == bytes(len(codes))
    assert [record.getMessage() for record in caplog.records].count(
        f"{pack.path}: a part cannot be read (the file was shortened while it was in use); "
        "its music is not recognized"
    ) == 1


def test_a_large_pack_that_is_closed_leaves_no_descriptor_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_file, "MAX_IN_MEMORY", 0)
    descriptors = set(os.listdir("/proc/self/fd"))
    pack = written(tmp_path / "music.pack", entry(1))
    assert set(os.listdir("/proc/self/fd")) != descriptors
    del pack
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) == descriptors


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.pack")
    with pytest.raises(PackError, match="not a regular file"):
        packs.open_pack(tmp_path / "a.pack")


def test_a_file_that_only_claims_to_be_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.pack"
    for n_bytes, header in ((1 << 40, b"movie"), (1 << 35, pack_format.PACK.magic)):
        manifest_bytes, declared = 10, n_bytes
        path.write_bytes(pack_format.HEADER.pack(header, 1, manifest_bytes, declared, bytes(32)))
        os.truncate(path, n_bytes)
        with pytest.raises(PackError, match=r"not an overheard pack|more than \d+ bytes"):
            packs.open_pack(path)


def test_packs_and_new_folders_are_private(tmp_path: Path) -> None:
    path = tmp_path / "data" / "packs" / "music.pack"
    (tmp_path / "data").parent.chmod(0o755)
    path.parent.mkdir(parents=True)
    path.parent.rmdir()
    path.parent.parent.rmdir()
    for _ in range(2):
        written(path, entry(1))
        modes = [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent, path.parent.parent)]
        assert modes == [0o600, 0o700, 0o700]
        path.chmod(0o644)  # as earlier versions wrote it
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_damaged_shipped_pack_asks_for_a_new_installation(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "shipped_packs_dir", lambda: tmp_path)
    path = tmp_path / "starter.pack"
    path.write_bytes(good.read_bytes()[:-1])
    with pytest.raises(PackError, match=REINSTALL):
        packs.open_pack(path)
    path.write_bytes(good.read_bytes())
    with pytest.raises(PackError, match="made for another model") as caught:
        packs.open_pack(path, "f" * 16)
    assert "packs remove" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "cells", "reason"),
    [
        ({"spec": {**SPEC.to_dict(), "dim": 97}}, 0, "fingerprint parameters are not those of its model"),
        ({"spec": "none"}, 0, "fingerprint parameters are not those of its model"),
        ({}, 0, None),
        ({}, 65535, "contains cells that its model does not have"),
    ],
)
def test_a_pack_that_its_model_cannot_have_written_is_skipped(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, object],
    cells: int,
    reason: str | None,
) -> None:
    model: Any = SimpleNamespace(
        digest=DIGEST, spec=SPEC, quantizer=SimpleNamespace(widths=(4, 8), cells=range(1000))
    )
    overheard_settings = Settings(data_dir=tmp_path, packs=())
    good_one, odd = entry(1), entry(2)
    for each, number in ((good_one, 0), (odd, cells)):
        each.packed_cells[:] = number
    written(tmp_path / "packs" / "good.pack", good_one)
    with_facts(written(tmp_path / "packs" / "odd.pack", odd).path, **changes)
    written(tmp_path / "packs" / "empty.pack")  # its codes have no bytes
    opened = selection.open_packs(overheard_settings, model)
    assert [pack.name for pack in opened] == ["empty", "good", *([] if reason else ["odd"])]
    messages = [r.getMessage() for r in caplog.records if "odd.pack" in r.getMessage()]
    assert len(messages) == bool(reason)
    assert all(str(reason) in message and "\n" not in message for message in messages)


def test_arrays_are_read_only(good: Path) -> None:
    pack = packs.open_pack(good)
    with pytest.raises(ValueError, match="read-only"):
        pack.layers[0].codes(0, 1)[0, 0] = 1


def test_pack_without_tracks(tmp_path: Path) -> None:
    packs.write_pack(tmp_path / "none.pack", "none", DIGEST, SPEC, [], code_bytes=24)
    pack = packs.open_pack(tmp_path / "none.pack", DIGEST)
    assert pack.tracks == ()
    assert pack.code_bytes == 24
    assert pack.layers[0].codes(0, 0).shape == (0, 24)
    assert pack.layers[0].first_segment.tolist() == [0]


def test_metadata_is_small(tmp_path: Path) -> None:
    """A minute takes 1,440 bytes of codes and cells; metadata may add only a fraction."""
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
                size=int(rng.integers(2 * 10**7, 4 * 10**7)),
                mtime_ns=int(rng.integers(16 * 10**17, 17 * 10**17)),
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
    packed_cells = old.layers[0].packed_cells(0, 100).copy()
    written(path, entry(2, 50))
    np.testing.assert_array_equal(old.layers[0].packed_cells(0, 100), packed_cells)
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
    heavy = "av soxr scipy sqlite3"
    program = f"import sys, overheard.catalogue.pack; print([m for m in {heavy.split()} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert out.stdout.strip() == "[]"
