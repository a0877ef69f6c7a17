from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kills import killed_at
from overheard.catalogue import derived, derived_lists, layer, pack_file, pack_format, search_plan, track_list
from overheard.catalogue.derived import derived_folder
from overheard.catalogue.derived_lists import lists_of
from overheard.catalogue.layers import compact, merge_layers, write_layer
from overheard.catalogue.lists import build_lists
from overheard.catalogue.pack import Pack, TrackEntry, open_pack, verify_pack, write_pack
from overheard.catalogue.search import Catalogue
from overheard.commands.packs_change import remove
from overheard.errors import PackError
from overheard.fingerprint.codebooks import CodebookStage
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.hubness import pack_cells
from overheard.fingerprint.neighbourhood import Neighbourhood
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.spec import SPEC
from overheard.settings import Settings

DIM, N_CELLS, WORDS = 8, 64, 16
DIGEST = "0123456789abcdef"


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    vectors = rng.standard_normal((n, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    rng = np.random.default_rng(0)
    words = rng.normal(0, 0.3, (WORDS, 256, DIM)) * 0.8 ** np.arange(WORDS)[:, None, None]
    return Quantizer(
        unit(rng, N_CELLS), CodebookStage(words.astype(np.float32)), neighbourhoods=[Neighbourhood.none(DIM)]
    )


@pytest.fixture(scope="module")
def tracks(quantizer: Quantizer) -> list[TrackEntry]:
    rng = np.random.default_rng(1)
    made = []
    for number in range(60):
        cells, codes = quantizer.encode(unit(rng, 50))
        packed_cells = pack_cells(cells, rng.uniform(0.2, 0.8, 50).astype(np.float32), N_CELLS)
        path, title = f"/music/{number}\udcff.ogg", f"Title {number}"
        made.append(
            TrackEntry(title=title, path=path, duration_s=50.0, packed_cells=packed_cells, codes=codes)
        )
    return made


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_file, "MAX_IN_MEMORY", 0)
    monkeypatch.setattr(search_plan, "SMALL_CATALOGUE", 0)


@pytest.fixture
def path(tmp_path: Path, tracks: list[TrackEntry]) -> Path:
    path = tmp_path / "packs" / "music.pack"
    write_pack(path, "music", DIGEST, SPEC, tracks)
    return path


def catalogue(quantizer: Quantizer, *packs: Pack) -> Catalogue:
    cells, codes = quantizer.encode(unit(np.random.default_rng(2), 40))
    cohort = Cohort(pack_cells(cells, np.full(40, 0.5, np.float32), N_CELLS), codes)
    return Catalogue(packs, quantizer, cohort)


def found(quantizer: Quantizer, *packs: Pack) -> np.ndarray:
    return catalogue(quantizer, *packs).candidates(unit(np.random.default_rng(3), 20)).segments


def files(path: Path) -> list[Path]:
    """Return the derived files."""
    return sorted(file for file in derived_folder(path).iterdir() if file.suffix != ".json")


def test_a_large_pack_is_searched_like_a_small_one(
    quantizer: Quantizer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = open_pack(path)
    assert not large.layers[0].in_memory
    wanted = found(quantizer, large)
    assert (wanted >= 0).all()
    assert [file.suffix for file in files(path)] == [".lists", ".tracks"]
    monkeypatch.setattr(pack_file, "MAX_IN_MEMORY", 1 << 30)
    small = open_pack(path)
    assert small.layers[0].in_memory
    np.testing.assert_array_equal(found(quantizer, small), wanted)
    assert list(large.tracks) == list(small.tracks)
    assert large.tracks[-1].title == "Title 59"
    assert large.tracks[3:5] == small.tracks[3:5]
    np.testing.assert_array_equal(large.layers[0].ids, small.layers[0].ids)


def test_lists_are_sorted_in_several_sweeps_as_in_memory(
    quantizer: Quantizer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(derived_lists, "READ_AT_ONCE", 700)
    monkeypatch.setattr(derived_lists, "SORTED_AT_ONCE", 5000)
    base = open_pack(path).layers[0]
    lists, wanted = lists_of(base, quantizer), build_lists(base, quantizer)
    for name in ("bounds", "segments", "words", "more_words", "lengths"):
        np.testing.assert_array_equal(getattr(lists, name), getattr(wanted, name))
    assert lists.words.shape == (3000, 8)
    assert lists.more_words.shape == (3000, 4)
    rows = np.arange(3000)
    _, codes = base.take(wanted.segments[rows].astype(np.int64))
    np.testing.assert_array_equal(codes[:, 1:9], lists.words)
    np.testing.assert_array_equal(codes[:, 9:13], lists.more_words)


def test_a_second_start_reads_neither_checksums_nor_rows(
    quantizer: Quantizer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = found(quantizer, open_pack(path))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    for module, name in ((layer, "verify_parts"), (derived, "verify_parts"), (derived, "write_parts")):
        monkeypatch.setattr(module, name, never)
    np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssertionError, match="read again"):
        open_pack(path)


def flip(file: Path, layout: pack_format.Layout, part: str) -> None:
    content = bytearray(file.read_bytes())
    manifest = pack_format.read_manifest(memoryview(content), layout)
    parts = pack_format.find_parts(memoryview(content), manifest, layout)
    places = {"header": 33, "manifest": 70, **{name: (p.start + p.stop) // 2 for name, p in parts.items()}}
    content[places[part]] ^= 16
    file.write_bytes(content)


@pytest.mark.parametrize("part", ["header", "manifest", *pack_format.PARTS])
def test_a_flipped_bit_in_a_large_pack_is_found(quantizer: Quantizer, path: Path, part: str) -> None:
    found(quantizer, open_pack(path))
    flip(path, pack_format.PACK, part)
    with pytest.raises(PackError, match=r"damaged|invalid"):
        open_pack(path)


def instead(file: Path, make: Callable[[Path], None]) -> None:
    file.unlink()
    make(file)


def test_verifying_finds_what_the_time_of_a_file_does_not_show(quantizer: Quantizer, path: Path) -> None:
    wanted = found(quantizer, open_pack(path))
    before = path.stat()
    flip(path, pack_format.PACK, "codes")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    open_pack(path)  # as after bits on a disk have changed
    with pytest.raises(PackError, match="part 'codes' is modified or damaged"):
        verify_pack(path)
    flip(path, pack_format.PACK, "codes")
    verify_pack(path)
    lists = files(path)[0]
    content, old = lists.read_bytes(), lists.stat()
    flip(lists, derived_lists.LAYOUT, "words")
    os.utime(lists, ns=(old.st_atime_ns, old.st_mtime_ns))
    np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)
    assert lists.read_bytes() == content


def test_a_pack_is_removed_with_all_that_belongs_to_it(
    quantizer: Quantizer, path: Path, tracks: list[TrackEntry]
) -> None:
    write_layer(open_pack(path), tracks[:3])
    found(quantizer, open_pack(path))
    remove("music", Settings(data_dir=path.parent.parent))
    assert [str(file) for file in path.parent.rglob("*") if not file.is_dir()] == []


DAMAGES: dict[str, Callable[[Path], object]] = {
    **{
        part: lambda file, part=part: flip(file, derived_lists.LAYOUT, part)  # type: ignore[misc]
        for part in ("header", "manifest", "bounds", "segments", "words", "more_words", "lengths")
    },
    "missing": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "of a future version": lambda file: file.write_bytes(b"x" * 16 + file.read_bytes()[16:]),
    "a folder": lambda file: instead(file, Path.mkdir),
    "a pipe": lambda file: instead(file, os.mkfifo),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_again(
    quantizer: Quantizer, path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = found(quantizer, open_pack(path))
    lists = files(path)[0]
    content = lists.read_bytes()
    DAMAGES[damage](lists)
    np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)
    if damage != "a folder":
        assert lists.read_bytes() == content
        caplog.clear()
        np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)
        assert not caplog.records


@pytest.mark.parametrize("part", ["columns", "offsets", "rows", "ids", "removed"])
def test_a_damaged_table_of_tracks_is_made_again(path: Path, tracks: list[TrackEntry], part: str) -> None:
    write_layer(open_pack(path), [], [tracks[0].id])
    wanted = list(open_pack(path).tracks)
    assert len(wanted) == 59
    for table in [file for file in files(path) if file.suffix == ".tracks"]:
        content = table.read_bytes()
        parts = pack_format.find_parts(
            memoryview(content),
            pack_format.read_manifest(memoryview(content), derived_table()),
            derived_table(),
        )
        if parts[part].stop > parts[part].start:
            flip(table, derived_table(), part)
        assert list(open_pack(path).tracks) == wanted
        assert table.read_bytes() == content


def derived_table() -> pack_format.Layout:
    from overheard.catalogue import track_table

    return track_table.LAYOUT


def test_the_index_of_another_pack_is_not_used(
    quantizer: Quantizer, path: Path, tmp_path: Path, tracks: list[TrackEntry]
) -> None:
    other = tmp_path / "other" / "music.pack"
    write_pack(other, "music", DIGEST, SPEC, tracks[::-1])
    wanted = found(quantizer, open_pack(path))
    found(quantizer, open_pack(other))
    for mine, theirs in zip(files(path), files(other), strict=True):
        shutil.copy(theirs, mine)
    np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)


def test_an_index_with_correct_checksums_that_contradicts_itself_is_made_again(
    quantizer: Quantizer, path: Path
) -> None:
    wanted = found(quantizer, open_pack(path))
    lists = files(path)[0]
    view = memoryview(lists.read_bytes())
    manifest = pack_format.read_manifest(view, derived_lists.LAYOUT)
    where = pack_format.find_parts(view, manifest, derived_lists.LAYOUT)
    contents = {name: bytes(view[part]) for name, part in where.items()}
    for bounds in (
        b"\xff" * len(contents["bounds"]),
        contents["bounds"][:-4],
        contents["bounds"][:-3],
        b"\0" * len(contents["bounds"]),
    ):
        parts = {n: pack_format.Part.of([b]) for n, b in {**contents, "bounds": bounds}.items()}
        with lists.open("wb") as file:
            pack_format.write_parts(file, manifest, parts, layout=derived_lists.LAYOUT)
        np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)
    contents["segments"] = b"\xff" * len(contents["segments"])  # wrong candidates, and no crash
    with lists.open("wb") as file:
        parts = {n: pack_format.Part.of([b]) for n, b in contents.items()}
        pack_format.write_parts(file, manifest, parts, layout=derived_lists.LAYOUT)
    assert found(quantizer, open_pack(path)).max() < 3000


def test_an_index_of_an_earlier_release_is_made_again(quantizer: Quantizer, path: Path) -> None:
    wanted = found(quantizer, open_pack(path))
    lists = files(path)[0]
    content = lists.read_bytes()
    view = memoryview(content)
    manifest = pack_format.read_manifest(view, derived_lists.LAYOUT)
    where = pack_format.find_parts(view, manifest, derived_lists.LAYOUT)
    earlier = pack_format.Layout(derived_lists.LAYOUT.magic, "an index", derived_lists.LAYOUT.parts[:-1])
    with lists.open("wb") as file:
        parts = {name: pack_format.Part.of([bytes(view[where[name]])]) for name in earlier.parts}
        pack_format.write_parts(file, manifest, parts, layout=earlier)
    np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)
    assert lists.read_bytes() == content


@pytest.mark.parametrize("temporary", [True, False])
def test_without_a_place_to_write_the_index_is_temporary_or_in_memory(
    quantizer: Quantizer, path: Path, monkeypatch: pytest.MonkeyPatch, temporary: bool
) -> None:
    derived_folder(path).write_bytes(b"a file, no folder")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if not temporary:
        monkeypatch.setattr(tempfile, "TemporaryFile", fails)
    pack = open_pack(path)
    wanted = found(quantizer, pack)
    assert pack.tracks[0].title == "Title 0"
    assert sorted(os.listdir(path.parent)) == [".derived", "music.pack"]
    derived_folder(path).unlink()
    np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)


def test_a_full_disk_leaves_no_part_of_an_index(
    quantizer: Quantizer, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        wanted = found(quantizer, open_pack(path))
    assert list(derived_folder(path).iterdir()) == []
    assert any("No space left on device" in record.getMessage() for record in caplog.records)
    np.testing.assert_array_equal(found(quantizer, open_pack(path)), wanted)


def test_hidden_tracks_are_no_candidates_in_large_catalogues(
    quantizer: Quantizer, path: Path, tracks: list[TrackEntry]
) -> None:
    write_layer(open_pack(path), tracks[5:8], [track.id for track in tracks[:5]])
    pack = open_pack(path)
    assert [mask.sum() for mask in pack.hidden] == [8, 0]
    index = catalogue(quantizer, pack)
    segments = index.candidates(unit(np.random.default_rng(3), 40)).segments
    shown = np.unique(np.searchsorted(index.first_segment, segments, side="right") - 1)
    assert shown.min() == 8
    assert {60, 61, 62} <= set(shown.tolist())
    excluded = index.candidates(unit(np.random.default_rng(3), 40), without=(61,)).segments
    assert 61 not in np.searchsorted(index.first_segment, excluded, side="right") - 1


def test_small_layers_on_a_large_base_are_searched_together(
    quantizer: Quantizer, path: Path, tracks: list[TrackEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = open_pack(path)
    wanted = found(quantizer, whole)
    parts = path.with_name("parts.pack")
    write_pack(parts, "parts", DIGEST, SPEC, tracks[:50])
    monkeypatch.setattr(pack_file, "MAX_IN_MEMORY", parts.stat().st_size - 1)
    write_layer(open_pack(parts), tracks[50:58])
    write_layer(open_pack(parts), [])
    write_layer(open_pack(parts), tracks[58:])
    pack = open_pack(parts)
    assert [each.in_memory for each in pack.layers] == [False, True, True, True]
    np.testing.assert_array_equal(found(quantizer, pack), wanted)
    assert [track.title for track in pack.tracks] == [track.title for track in whole.tracks]


@pytest.mark.parametrize("small", [0, 1 << 17])
def test_a_catalogue_without_tracks_has_no_candidates(
    quantizer: Quantizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(search_plan, "SMALL_CATALOGUE", small)
    assert (found(quantizer) == -1).all()
    write_pack(tmp_path / "none.pack", "none", DIGEST, SPEC, [], code_bytes=WORDS)
    assert (found(quantizer, open_pack(tmp_path / "none.pack")) == -1).all()


def test_the_derived_files_of_packs_that_are_gone_are_deleted(
    quantizer: Quantizer, path: Path, tracks: list[TrackEntry]
) -> None:
    found(quantizer, open_pack(path))
    old = files(path)
    abandoned = derived_folder(path) / f"{'0' * 64}.lists.123"
    abandoned.touch()
    write_layer(open_pack(path), tracks[:3])
    found(quantizer, open_pack(path))
    assert set(old) < set(files(path))  # of the base, which is still there
    compact(path)
    for file in derived_folder(path).iterdir():
        os.utime(file, (1, 1))
    found(quantizer, open_pack(path))
    assert [file.suffix for file in files(path)] == [".lists", ".tracks"]
    assert not set(old) & set(files(path))
    assert not abandoned.exists()


def change_until_killed(path: Path, quantizer: Quantizer, entries: list[TrackEntry]) -> None:
    """Add tracks one by one, remove the oldest of 30, and merge, compact and search in between."""
    while True:
        pack = open_pack(path)
        newest = int(pack.tracks[-1].title.removeprefix("Title "))
        if newest % 3 == 2:
            merge_layers(pack, max_layers=1)
        elif newest % 7 == 5:
            compact(path)
        found(quantizer, open_pack(path))
        added, removed = (entries[number % len(entries)] for number in (newest + 1, newest - 29))
        write_layer(open_pack(path), [added], [removed.id])


@pytest.mark.slow
def test_after_a_kill_at_any_point_the_pack_is_in_the_old_or_the_new_state(
    quantizer: Quantizer, tmp_path: Path, tracks: list[TrackEntry]
) -> None:
    """In every state, the numbers of the tracks are consecutive, and there are at most 30."""
    path = tmp_path / "music.pack"
    write_pack(path, "music", DIGEST, SPEC, tracks[:1])
    rng, added, newest = np.random.default_rng(4), 0, 0
    for turn in range(40):
        number = int(rng.integers(1, 60))
        assert killed_at(number, lambda: change_until_killed(path, quantizer, tracks))
        numbers = [int(track.title.removeprefix("Title ")) for track in open_pack(path).tracks]
        assert numbers == [(numbers[0] + i) % 60 for i in range(len(numbers))]
        added += (numbers[-1] - newest) % 60
        newest = numbers[-1]
        assert len(numbers) == min(30, added + 1)
        if turn % 8 == 7:
            found(quantizer, open_pack(path))
    assert added >= 20, "no child got anywhere"


def metadata_pack(path: Path, metadata: bytes, monkeypatch: pytest.MonkeyPatch) -> Pack:
    from overheard.catalogue import pack_write

    monkeypatch.setattr(pack_write, "pack_metadata", lambda tracks, removed: metadata)
    rng = np.random.default_rng(0)
    entry = TrackEntry(
        title="a",
        path="/a",
        duration_s=1.0,
        packed_cells=rng.integers(0, 99, 5, dtype=np.uint16),
        codes=rng.integers(0, 99, (5, 4), dtype=np.uint8),
    )
    write_pack(path, "odd", DIGEST, SPEC, [entry])
    return open_pack(path)


ROW = '["0123456789ab","Title","Artist","Album","/a.flac",5.6]'
COLUMNS = json.dumps(track_list._COLUMNS)


@pytest.mark.parametrize(
    "text",
    [
        f'{{"columns":{COLUMNS},"rows":[{ROW}]}}',
        f' {{ "columns" : {COLUMNS} ,\n"rows" : [ {ROW} ] , "removed" : [] }}',
        f'{{"removed":["0123456789ab"],"columns":{COLUMNS},"rows":[{ROW}],"more":{{}}}}',
    ],
)
def test_any_spelling_of_valid_metadata_is_read(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = metadata_pack(tmp_path / "odd.pack", zlib.compress(text.encode()), monkeypatch)
    assert [track.title for track in pack.tracks] == ["Title"]
    assert pack.layers[0].removed == ({"0123456789ab"} if text.startswith('{"removed"') else set())


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "nonsense", '{"columns":', "[" * 100_000, '{"a":' * 100_000, "9" * 100_000),
        *(f'{{"rows":[{ROW}]}}', f'{{"rows":[{ROW}],"columns":{COLUMNS}}}', f'{{"columns":{COLUMNS}}}'),
        *(f'{{"columns":{COLUMNS},"rows":[{ROW},{ROW}]}}', f'{{"columns":{COLUMNS},"rows":[]}}'),
        *(f'{{"columns":{COLUMNS},"rows":[{ROW}]', f'{{"columns":{COLUMNS},"rows":[{ROW}]}} x'),
        *(f'{{"columns":{COLUMNS},"rows":[{ROW} {ROW}]}}', f'{{"columns":{COLUMNS},"rows":{ROW}}}'),
        f'{{"columns":{COLUMNS},"rows":[{ROW.replace("5.6", "1e999")}]}}',
        f'{{"columns":{COLUMNS},"rows":[{ROW}],"removed":["x"]}}',
        f'{{"columns":{COLUMNS},"rows":[{ROW}],"removed":{{"a":1}}}}',
        f'{{"columns":{COLUMNS},"rows":[{ROW}],"removed":[1,2]}}',
        f'{{"columns":{COLUMNS},"rows":[{ROW}],{",".join(f"{chr(34)}{n}{chr(34)}:0" for n in range(99))}}}',
        f'{{"columns":{COLUMNS},"rows":[{ROW}],"removed":[{",".join(["0"] * 400_000)}]}}',
    ],
)
def test_invalid_metadata_of_a_large_pack_is_refused(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PackError, match="list of tracks is invalid"):
        metadata_pack(tmp_path / "odd.pack", zlib.compress(text.encode()), monkeypatch)
    assert not list(derived_folder(tmp_path / "odd.pack").glob("*.tracks*"))
