from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from overheard.catalogue import layer_files, layers, pack_format
from overheard.catalogue.layer import open_layer
from overheard.catalogue.layer_files import layers_folder
from overheard.catalogue.layers import compact, merge_layers, write_layer
from overheard.catalogue.pack import Pack, TrackEntry, open_pack, write_pack
from overheard.catalogue.pack_file import Stamp
from overheard.catalogue.track_list import metadata_of
from overheard.errors import PackError
from overheard.fingerprint.spec import SPEC

DIGEST = "0123456789abcdef"


def entry(seed: int, n: int = 5) -> TrackEntry:
    rng = np.random.default_rng(seed)
    return TrackEntry(
        title=f"Title {seed}",
        path=f"/music/{seed}.flac",
        duration_s=n + 0.5,
        packed_cells=rng.integers(0, 1 << 16, n, dtype=np.uint16),
        codes=rng.integers(0, 256, (n, 4), dtype=np.uint8),
    )


def base(folder: Path, *entries: TrackEntry) -> Path:
    path = folder / "music.pack"
    write_pack(path, "music", DIGEST, SPEC, entries)
    return path


def add(path: Path, *entries: TrackEntry, removed: tuple[str, ...] = ()) -> Path:
    return write_layer(open_pack(path), entries, removed)


def titles(path: Path) -> list[str]:
    return [track.title for track in open_pack(path).tracks]


def files(path: Path) -> list[str]:
    folder = layers_folder(path)
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_layers_add_replace_and_remove_tracks(tmp_path: Path) -> None:
    one, two, three = entry(1), entry(2, 7), entry(3)
    path = base(tmp_path, one, two, three)
    add(path, entry(4), dataclasses.replace(two, title="Tagged again"), removed=(one.id,))
    pack = open_pack(path)
    assert [track.title for track in pack.tracks] == ["Title 3", "Title 4", "Tagged again"]
    assert [track.title for track in pack.tracks[1:]] == ["Title 4", "Tagged again"]
    assert [mask.tolist() for mask in pack.hidden] == [[True, True, False], [False, False]]
    assert (pack.n_tracks, pack.n_segments, len(pack.tracks)) == (3, 17, 3)
    assert pack.hours == pytest.approx((5.5 + 5.5 + 7.5) / 3600)
    assert pack.bytes == path.stat().st_size + (layers_folder(path) / "00000001.pack").stat().st_size
    for again, wanted in zip(pack.entries(), (three, entry(4), two), strict=True):
        np.testing.assert_array_equal(again.packed_cells, wanted.packed_cells)
        np.testing.assert_array_equal(again.codes, wanted.codes)
    add(path, one)  # was removed, and is back
    assert titles(path) == ["Title 3", "Title 4", "Tagged again", "Title 1"]


def test_an_addition_writes_its_own_size_and_leaves_the_base_alone(tmp_path: Path) -> None:
    path = base(tmp_path, *[entry(n, 200) for n in range(100)])
    before = Stamp.of(path.stat())  # not the time of the last access, which reading changes
    added = add(path, entry(1000, 200))
    assert added.stat().st_size < before.size / 50
    assert Stamp.of(path.stat()) == before
    assert [added.name] == files(path)


def test_merging_keeps_the_contents(tmp_path: Path) -> None:
    path = base(tmp_path, entry(1), entry(2))
    for number in range(3, 12):
        add(path, entry(number), removed=(entry(number - 2).id,) if number in {4, 7} else ())
    before = open_pack(path)
    wanted = [(track.id, track.title) for track in before.tracks]
    assert "Title 2" not in titles(path)
    assert "Title 5" not in titles(path)
    merged = merge_layers(before)
    assert merged is not None
    assert files(path) == ["00000001-00000009.pack"] == [merged.name]
    assert [(track.id, track.title) for track in open_pack(path).tracks] == wanted
    assert open_layer(merged).removed == {entry(2).id}  # of the others, no lower layer knows
    compact(path)
    compacted = open_pack(path)
    assert files(path) == []
    assert [(track.id, track.title) for track in compacted.tracks] == wanted
    assert not compacted.hidden[0].any()
    assert (compacted.layers[0].first, compacted.layers[0].last) == (0, 9)
    assert compacted.layers[0].lineage == before.layers[0].lineage
    assert add(path, entry(50)).name == "00000010.pack"


def test_a_merge_rewrites_only_layers_of_similar_size(tmp_path: Path) -> None:
    path = base(tmp_path, entry(0))
    written = 0
    for number in range(100):
        written += add(path, entry(number + 1, 200)).stat().st_size
        merged = merge_layers(open_pack(path))
        written += merged.stat().st_size if merged else 0
        assert len(files(path)) <= layers.MAX_LAYERS
    assert len(titles(path)) == 101
    assert written < 6 * sum((layers_folder(path) / name).stat().st_size for name in files(path))


def test_merging_does_nothing_while_there_are_few_layers(tmp_path: Path) -> None:
    path = base(tmp_path, entry(1))
    add(path, entry(2))
    assert merge_layers(open_pack(path)) is None
    assert files(path) == ["00000001.pack"]


def test_after_a_gap_layers_are_not_used_and_the_next_writer_deletes_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = base(tmp_path, entry(1))
    second = [add(path, entry(n)) for n in (2, 3, 4)][1]
    second.unlink()
    assert titles(path) == ["Title 1", "Title 2"]
    (message,) = [record.getMessage() for record in caplog.records]
    assert "its layer 00000002.pack is missing; 1 later layer cannot be used either" in message
    assert "overheard index FOLDER --pack music" in message
    add(path, entry(5))
    assert titles(path) == ["Title 1", "Title 2", "Title 5"]
    assert files(path) == ["00000001.pack", "00000002.pack"]


def test_layers_left_over_from_a_merge_or_a_compaction_are_ignored(tmp_path: Path) -> None:
    path = base(tmp_path, entry(1))
    for number in range(2, 11):
        add(path, entry(number))
    wanted = titles(path)
    shutil.copytree(layers_folder(path), tmp_path / "saved")
    assert merge_layers(open_pack(path))
    shutil.copytree(tmp_path / "saved", layers_folder(path), dirs_exist_ok=True)
    assert titles(path) == wanted
    assert len(open_pack(path).layers) == 2
    compact(path)
    shutil.copytree(tmp_path / "saved", layers_folder(path), dirs_exist_ok=True)
    assert titles(path) == wanted
    assert len(open_pack(path).layers) == 1
    add(path, entry(20))
    assert files(path) == ["00000010.pack"]


def test_the_layers_of_a_replaced_base_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = base(tmp_path, entry(1))
    add(path, entry(2))
    base(tmp_path / "other", entry(3)).replace(path)
    assert titles(path) == ["Title 3"]
    assert not caplog.records
    add(path, entry(4))
    assert titles(path) == ["Title 3", "Title 4"]
    write_pack(path, "music", DIGEST, SPEC, [entry(3)])  # the same base again, without its layers
    assert titles(path) == ["Title 3"]


@pytest.mark.parametrize("part", ["header", "manifest", "cells", "codes", "segments", "tracks"])
def test_a_damaged_layer_and_those_above_it_are_not_used(
    tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = base(tmp_path, entry(1))
    damaged = [add(path, entry(n)) for n in (2, 3, 4)][1]
    content = bytearray(damaged.read_bytes())
    manifest = pack_format.read_manifest(memoryview(content))
    places = {
        name: where.start for name, where in pack_format.find_parts(memoryview(content), manifest).items()
    }
    content[{"header": 20, "manifest": 70, **places}[part]] ^= 4
    damaged.write_bytes(content)
    assert titles(path) == ["Title 1", "Title 2"]
    assert "00000002.pack" in caplog.records[0].getMessage()
    assert "1 later layer cannot be used either" in caplog.records[0].getMessage()


def rewritten(file: Path, **layer: object) -> None:
    """Give a layer another place in the manifest, with correct checksums."""
    view = memoryview(file.read_bytes())
    manifest = pack_format.read_manifest(view)
    parts = {n: pack_format.Part.of([bytes(p)]) for n, p in pack_format.read_parts(view, manifest).items()}
    with file.open("wb") as out:
        pack_format.write_parts(out, {**manifest, "layer": {**manifest["layer"], **layer}}, parts)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ({"first": 2, "last": 2}, None),  # not what its name says
        ({"last": 10**11}, "00000001-100000000000.pack"),
        ({"last": 10**30}, None),
        ({"first": -1}, None),
        ({"first": 1, "last": 0}, None),
        ({"lineage": "x"}, None),
        ({"lineage": "f" * 16}, None),
        ({"lineage": 3}, None),
        ({"first": True}, None),
    ],
)
def test_a_layer_with_a_strange_place_is_not_used_or_used_whole(
    tmp_path: Path, place: dict[str, object], name: str | None
) -> None:
    path = base(tmp_path, entry(1))
    file = add(path, entry(2))
    rewritten(file, **place)
    if name is None:
        assert titles(path) == ["Title 1"]
        add(path, entry(3))
        assert titles(path) == ["Title 1", "Title 3"]
    else:
        file.rename(file.with_name(name))
        assert titles(path) == ["Title 1", "Title 2"]
        assert add(path, entry(3)).name == f"{10**11 + 1}.pack"
        assert titles(path) == ["Title 1", "Title 2", "Title 3"]


def test_of_overlapping_layers_the_longest_is_used(tmp_path: Path) -> None:
    path = base(tmp_path, entry(1))
    one, two = add(path, entry(2)), add(path, entry(3))
    wide = one.with_name("00000001-00000003.pack")
    shutil.copy(one, wide)
    rewritten(wide, last=3)
    crossing = one.with_name("00000002-00000009.pack")
    shutil.copy(two, crossing)
    rewritten(crossing, last=9)
    assert titles(path) == ["Title 1", "Title 2"]
    wide.write_bytes(b"damaged")
    assert titles(path) == ["Title 1", "Title 2", "Title 3"]  # by way of those that it replaced
    assert [layer.last for layer in open_pack(path).layers] == [0, 1, 9]


def test_a_pack_that_another_program_has_changed_is_not_changed(tmp_path: Path) -> None:
    path = base(tmp_path, entry(1))
    stale = open_pack(path)
    add(path, entry(2))
    with pytest.raises(PackError, match="another program has changed it"):
        write_layer(stale, [entry(3)])
    assert titles(path) == ["Title 1", "Title 2"]


def test_readers_see_one_state_while_files_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = base(tmp_path, entry(1))
    for number in range(2, 11):
        add(path, entry(number))
    wanted = titles(path)
    real, changes = layer_files.open_layer, [lambda: merge_layers(open_pack(path)), lambda: compact(path)]

    def meanwhile(file: Path) -> object:
        layer = real(file)
        if file == path and changes:
            changes.pop(0)()
        return layer

    monkeypatch.setattr(layer_files, "open_layer", meanwhile)
    assert titles(path) == wanted
    assert changes == []


def test_a_full_disk_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = base(tmp_path, entry(1))
    for number in range(2, 11):
        add(path, entry(number))
    wanted = titles(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    pack: Pack = open_pack(path)
    monkeypatch.setattr(os, "fsync", full)
    for change in (
        lambda: write_layer(pack, [entry(20)]),
        lambda: merge_layers(pack),
        lambda: compact(path),
    ):
        with pytest.raises(PackError, match="No space left"):
            change()
        assert titles(path) == wanted
    assert not [name for name in (*files(path), *os.listdir(tmp_path)) if name.endswith(".tmp")]


def test_metadata_survives_layers_merges_and_compaction(tmp_path: Path) -> None:
    odd = dataclasses.replace(
        entry(2),
        path=os.fsdecode(b"/music/\xff.ogg"),
        extras={"licence": "CC0"},
        also=(("/b", 3, 4),),
        size=5,
    )
    path = base(tmp_path, entry(1))
    add(path, odd)
    compact(path)
    again = list(open_pack(path).entries())[1]
    assert metadata_of(again) == metadata_of(odd)
    assert again.id == odd.id
