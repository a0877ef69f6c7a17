"""`overheard packs`: which packs are searched, browsing, export, merge, compact and verify."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import audio_files
import indexing_fakes
from overheard import cli
from overheard.catalogue.layers import write_layer
from overheard.catalogue.pack import TrackEntry, open_pack, write_pack
from overheard.catalogue.pack_lock import pack_lock
from overheard.catalogue.pack_state import change_state, load_state
from overheard.catalogue.selection import choose_packs, enabled_packs, open_packs
from overheard.catalogue.watch import PackWatcher
from overheard.commands import packs as packs_command
from overheard.errors import PackError
from overheard.files import atomic_write, partials, remove_partial
from overheard.fingerprint.spec import SPEC
from overheard.index import worker as index_worker
from overheard.index.file_hashes import FileHash, FileHashes
from overheard.settings import Settings, load

MODEL: Any = SimpleNamespace(
    name="fake",
    digest="feed" * 4,
    space=SimpleNamespace(name="fake"),
    spec=SPEC,
    quantizer=SimpleNamespace(widths=(4,), cells=range(16)),
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder; one pack, the starter pack, ships with overheard."""
    shipped = tmp_path / "shipped"
    write_pack(shipped / "starter.pack", "starter", MODEL.digest, SPEC, [entry("Starter", seed=90)])
    monkeypatch.setenv("OVERHEARD_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OVERHEARD_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").touch()
    monkeypatch.setattr("overheard.catalogue.selection.shipped_packs_dir", lambda: shipped)
    monkeypatch.setattr(packs_command, "_model", lambda settings: MODEL)
    monkeypatch.setattr(index_worker, "ModelFingerprinter", indexing_fakes.SlowFake)
    return tmp_path / "data"


def entry(title: str, artist: str = "", album: str = "", seed: int = 0, **facts: Any) -> TrackEntry:
    rng = np.random.default_rng(seed)
    facts.setdefault("path", f"/home/me/Music/{artist}/{album}/{title}.flac")
    return TrackEntry(
        title=title,
        artist=artist,
        album=album,
        duration_s=200.0,
        packed_cells=rng.integers(0, 1 << 16, 20, dtype=np.uint16),
        codes=rng.integers(0, 256, (20, 4), dtype=np.uint8),
        **facts,
    )


def make(data: Path, name: str, entries: Sequence[TrackEntry] = (), digest: str = MODEL.digest) -> Path:
    path = data / "packs" / f"{name}.pack"
    write_pack(path, name, digest, SPEC, list(entries) or [entry(name)], 4)
    return path


def searched() -> list[str]:
    """Return the names of the packs that are searched."""
    settings, _ = load()
    return list(choose_packs(settings))


def overheard(*argv: str) -> int:
    return cli.main(list(argv))


# Which packs are searched


def test_the_starter_pack_is_searched_until_there_is_an_own_pack(data: Path) -> None:
    assert searched() == ["starter"]
    make(data, "mine")
    assert searched() == ["mine"]
    assert overheard("packs", "enable", "starter") == 0
    assert searched() == ["mine", "starter"]
    assert overheard("packs", "disable", "starter") == 0
    assert searched() == ["mine"]
    assert overheard("packs", "remove", "mine") == 0
    with pytest.raises(PackError, match="overheard packs enable"):
        searched()


def test_packs_are_disabled_and_enabled(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        make(data, name)
    assert overheard("packs", "disable", "a") == 0
    assert searched() == ["b"]
    assert overheard("packs", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()[1:]]
    assert {row["name"]: row["enabled"] for row in rows} == {"a": False, "b": True, "starter": False}
    assert overheard("packs", "list") == 0
    assert "overheard packs enable a" in capsys.readouterr().out
    assert overheard("packs", "disable", "b") == 0
    with pytest.raises(PackError, match="all packs are disabled"):
        searched()
    assert list(choose_packs(load()[0], ["a"])) == ["a"]  # --pack overrides it
    assert overheard("packs", "enable", "a", "b") == 0
    assert searched() == ["a", "b"]
    assert overheard("packs", "enable", "none") == 2
    assert "no pack named none; choose one of a, b, starter" in capsys.readouterr().err


def test_the_setting_overrides_what_is_enabled(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(data, "a")
    make(data, "b")
    (tmp_path / "config.toml").write_text('packs = ["starter", "b"]\n')
    assert overheard("packs", "disable", "b") == 0
    assert "the setting packs overrides this; it selects starter, b" in capsys.readouterr().err
    assert searched() == ["starter", "b"]


def test_a_removed_pack_leaves_no_state(data: Path) -> None:
    make(data, "a")
    make(data, "b")
    overheard("packs", "disable", "a")
    overheard("packs", "remove", "a")
    make(data, "a")
    assert searched() == ["a", "b"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[" * 10**5, b'{"enabled": [1], "disabled": []}', b"\xff\xfe"]
)
def test_a_damaged_state_is_one_line(
    data: Path, content: bytes, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    make(data, "a")
    settings, _ = load()
    watcher = PackWatcher(settings, MODEL, None, open_packs(settings, MODEL, None))
    (data / "packs" / "enabled.json").write_bytes(content)
    assert overheard("packs") == 2
    assert capsys.readouterr().err.count("\n") == 1
    watcher.changed()  # a listener goes on


def test_a_running_listener_follows(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(data, "a")
    make(data, "b")
    settings, _ = load()
    watcher = PackWatcher(settings, MODEL, None, open_packs(settings, MODEL))
    overheard("packs", "disable", "b")
    overheard("packs", "enable", "starter")
    states = [watcher.changed() for _ in range(4)]
    assert [sorted(pack.name for pack in packs) for packs in states if packs is not None][-1] == [
        "a",
        "starter",
    ]
    assert "the pack b was disabled" in caplog.text


def test_the_first_index_says_that_the_starter_pack_is_not_searched(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "music").mkdir()
    audio_files.write_music(tmp_path / "music" / "a.wav", 3.0)
    for said in (True, False):
        assert overheard("index", str(tmp_path / "music"), "--jobs", "1", "--pack", f"p{said}") == 0
        assert ("overheard packs enable starter" in capsys.readouterr().err) == said


def test_two_packs_with_the_same_recording_report_that_of_the_own_pack(data: Path) -> None:
    make(data, "mine", [entry("Starter", seed=90)])
    overheard("packs", "enable", "starter")
    assert list(enabled_packs(load()[0])) == ["mine", "starter"]  # the first of equal tracks is reported


# Browse, info, verify


@pytest.fixture
def library(data: Path) -> Path:
    return make(
        data,
        "mine",
        [
            entry("So What", "Miles Davis", "Kind of Blue", 1),
            entry("Blue in Green", "Miles Davis", "Kind of Blue", 2),
            entry("Blue Train", "John Coltrane", "Blue Train", 3),
            entry("Ärger", "Die Ärzte", "\x1b[31mRed\n", 4),
        ],
    )


def titles(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    overheard("packs", "browse", *words, "--json")
    return [json.loads(line)["title"] for line in capsys.readouterr().out.splitlines()]


def test_browse_finds_words_in_title_artist_and_album(
    library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert titles(capsys, "BLUE", "davis") == ["So What", "Blue in Green"]
    assert titles(capsys, "train") == ["Blue Train"]
    assert titles(capsys, "ÄRZTE") == ["Ärger"]
    assert len(titles(capsys)) == 4
    assert titles(capsys, "train", "davis") == []
    assert titles(capsys, "starter") == []  # it is not searched
    assert titles(capsys, "starter", "--pack", "starter") == ["Starter"]
    assert overheard("packs", "browse", "nothing") == 1
    assert "no track found" in capsys.readouterr().err
    assert overheard("packs", "browse", "blue", "--limit", "1") == 0
    out, err = capsys.readouterr()
    assert [line[:7] for line in out.splitlines()] == ["TITLE  ", "So What"]
    assert "2 more tracks; --limit 0 shows all" in err


def test_browse_prints_one_safe_line_per_track(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overheard("packs", "browse")
    out = capsys.readouterr().out
    assert out.count("\n") == 5
    assert "\x1b" not in out


def test_info_shows_layers(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = open_pack(library)
    write_layer(pack, [entry("New", seed=5)], [pack.tracks[0].id])
    assert overheard("packs", "info", "mine", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["tracks"], facts["model"], facts["code_bytes"]) == (4, f"fake ({MODEL.digest})", 4)
    assert [(each["tracks"], each["removed"]) for each in facts["layers"]] == [(4, 0), (1, 1)]
    assert facts["bytes"] == sum(each["bytes"] for each in facts["layers"])
    assert facts["hours"] == pytest.approx(4 * 200 / 3600, abs=0.001)
    assert overheard("packs", "info", "mine") == 0
    assert "00000001.pack: 1 track, 1 track removed" in capsys.readouterr().out
    assert overheard("packs", "info", "none") == 2


def test_verify_finds_a_flipped_bit(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert overheard("packs", "verify") == 0
    assert "mine: intact, 1 file" in capsys.readouterr().out
    content = bytearray(library.read_bytes())
    content[-9] ^= 4
    library.write_bytes(content)
    assert overheard("packs", "verify", "mine") == 2
    assert "modified or damaged" in capsys.readouterr().err


def test_verify_finds_a_flipped_bit_in_a_large_pack_that_was_verified_before(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overheard.catalogue.pack_file.MAX_IN_MEMORY", 100)
    path = make(data, "mine", [entry(str(seed), seed=seed) for seed in range(30)])
    open_pack(path)
    stamp = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # a bad sector changes no time
    open_pack(path)
    assert overheard("packs", "verify", "mine") == 2
    assert "modified or damaged" in capsys.readouterr().err


def test_verify_finds_a_damaged_or_missing_layer(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (5, 6):
        last = write_layer(open_pack(library), [entry(str(seed), seed=seed)])
    assert overheard("packs", "verify", "mine") == 0
    content = last.read_bytes()
    last.write_bytes(content[:-1])
    assert overheard("packs", "verify", "mine") == 2
    last.write_bytes(content)
    (last.parent / "00000001.pack").unlink()
    assert overheard("packs", "verify", "mine") == 2
    assert "1 layer from 00000002.pack on cannot be used" in capsys.readouterr().err


def test_remove_leaves_nothing_behind(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("overheard.catalogue.pack_file.MAX_IN_MEMORY", 100)
    path = make(data, "mine", [entry(str(seed), seed=seed) for seed in range(30)])
    write_layer(open_pack(path), [entry("new", seed=99)])
    FileHashes(path).update({"/x": FileHash(1, 2, "ab" * 16)}, ())
    open_pack(path)
    assert overheard("packs", "remove", "mine") == 0
    assert [file for file in path.parent.rglob("*") if file.is_file()] == []


def test_a_link_to_nowhere_is_listed_and_removed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = data / "packs" / "gone.pack"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/nowhere.pack")
    assert overheard("packs") == 0
    assert "cannot be used: cannot be opened" in capsys.readouterr().out
    assert overheard("packs", "remove", "gone") == 0
    assert not link.is_symlink()


# Export, merge, compact


def test_an_exported_pack_contains_nothing_private(data: Path, tmp_path: Path) -> None:
    facts: dict[str, Any] = {"size": 123456, "mtime_ns": 987654321}
    also = (("/home/me/Backup/x.flac", 5, 6),)
    path = make(
        data,
        "mine",
        [
            entry("One", "Artist", "Album", 1, **facts, also=also),
            entry("Two", "Artist", "Album", 2, **facts, extras={"licence": "CC BY"}),
        ],
    )
    write_layer(open_pack(path), [entry("Three", "Other", "Album", 3, **facts)])
    target = tmp_path / "shared.pack"
    assert overheard("packs", "export", "mine", str(target)) == 0
    assert target.stat().st_mode & 0o044  # a web server can read it
    exported = open_pack(target)
    assert [track.path for track in exported.tracks] == [
        "Artist/Album/One.flac",
        "Artist/Album/Two.flac",
        "Other/Album/Three.flac",
    ]
    for track in exported.tracks:
        assert (track.size, track.mtime_ns, track.also) == (0, 0, ())
    assert exported.tracks[1].extras == {"licence": "CC BY"}
    for old, new in zip(open_pack(path).entries(), exported.entries(), strict=True):
        assert old.id == new.id
    assert b"/home/me" not in target.read_bytes()
    assert overheard("packs", "export", "mine", str(target)) == 2  # it exists


def test_paths_without_a_common_folder_show_no_more_than_artist_and_album(data: Path, tmp_path: Path) -> None:
    paths = ["/home/me/Music/Artist/Album/1.flac", "/mnt/usb/2.flac", "relative/3.flac"]
    make(data, "mine", [entry(str(i), seed=i, path=path) for i, path in enumerate(paths)])
    assert overheard("packs", "export", "mine", str(tmp_path / "x")) == 0
    assert [track.path for track in open_pack(tmp_path / "x.pack").tracks] == [
        "Artist/Album/1.flac",
        "mnt/usb/2.flac",
        "relative/3.flac",
    ]
    assert overheard("packs", "export", "mine", str(tmp_path / "y.pack"), "--base", "/home/me/Music/") == 0
    assert open_pack(tmp_path / "y.pack").tracks[0].path == "Artist/Album/1.flac"


def test_merged_packs_contain_each_track_once(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two, three = (entry(str(i), seed=i, path=f"/{i}.flac", size=i, mtime_ns=i) for i in (1, 2, 3))
    copy = entry("1 again", seed=1, path="/copy.flac", size=9, mtime_ns=9)
    path = make(data, "a", [one])
    write_layer(open_pack(path), [two])
    make(data, "b", [copy, three])
    FileHashes(data / "packs" / "b.pack").update({"/3.flac": FileHash(3, 3, "ab" * 16)}, ())
    assert overheard("packs", "merge", "a", "b", "--into", "all") == 0
    merged = open_pack(data / "packs" / "all.pack")
    assert [track.title for track in merged.tracks] == ["1", "2", "3"]
    assert merged.tracks[0].also == (("/copy.flac", 9, 9),)
    assert [track.id for track in merged.tracks] == [one.id, two.id, three.id]
    assert dict(FileHashes(data / "packs" / "all.pack").load()) == {"/3.flac": FileHash(3, 3, "ab" * 16)}
    assert overheard("packs", "merge", "b", "--into", "all") == 2
    assert "already exists" in capsys.readouterr().err
    assert overheard("packs", "merge", "a", "b", "--into", "a") == 0  # into one of them
    assert [track.title for track in open_pack(path).tracks] == ["1", "2", "3"]
    assert len(open_pack(path).layers) == 1


def test_two_packs_of_one_name_are_both_used(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = make(data, "a", [entry("1", seed=1)])
    other = tmp_path / "usb" / "a.pack"
    other.parent.mkdir()
    write_pack(other, "a", MODEL.digest, MODEL.spec, [entry("2", seed=2)])
    for number, names in enumerate((["a", str(other)], [str(other), "a"])):
        assert overheard("packs", "merge", *names, "--into", f"all{number}") == 0
        titles = [track.title for track in open_pack(data / "packs" / f"all{number}.pack").tracks]
        assert sorted(titles) == ["1", "2"]
    capsys.readouterr()
    assert overheard("packs", "browse", "--pack", "a", str(other), str(own)) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3  # with the heading


def test_packs_of_different_models_or_lengths_are_not_merged(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(data, "a")
    make(data, "b", digest="beef" * 4)
    assert overheard("packs", "merge", "a", "b", "--into", "c") == 2
    assert "different models" in capsys.readouterr().err
    assert not (data / "packs" / "c.pack").exists()


def test_compact_writes_one_file(data: Path) -> None:
    path = make(data, "a", [entry("1", seed=1), entry("2", seed=2)])
    for seed in (3, 4):
        write_layer(open_pack(path), [entry(str(seed), seed=seed)], [open_pack(path).tracks[0].id])
    before = [(track.id, track.title) for track in open_pack(path).tracks]
    assert overheard("packs", "compact", "a") == 0
    pack = open_pack(path)
    assert [(track.id, track.title) for track in pack.tracks] == before
    assert len(pack.layers) == 1
    assert sorted(os.listdir(path.parent)) in (["a.layers", "a.pack"], ["a.pack"])


# Locks

HOLD = """
import sys, time
from pathlib import Path
from overheard.catalogue.pack_lock import pack_lock
with pack_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("action", [["remove", "a"], ["compact", "a"], ["merge", "a", "--into", "b"]])
def test_a_pack_that_another_process_changes_is_left_alone(
    data: Path, capsys: pytest.CaptureFixture[str], action: list[str]
) -> None:
    path = make(data, "a")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, env=environment
    )
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        assert overheard("packs", *action) == 2
        assert "another overheard process is changing this pack; wait for it" in capsys.readouterr().err
        assert path.exists()
    finally:
        holder.kill()
        holder.wait()
    assert overheard("packs", *action) == 0  # the lock of a killed process is free


@pytest.mark.parametrize(
    "action",
    [["compact", "a"], ["merge", "a", "b", "--into", "a"], ["export", "b", "a.pack"], ["remove", "a"]],
)
def test_what_a_killed_command_has_left_is_deleted_by_the_next_one(
    data: Path, monkeypatch: pytest.MonkeyPatch, action: list[str]
) -> None:
    path = make(data, "a")
    make(data, "b")
    monkeypatch.chdir(path.parent)
    if action[0] == "export":
        path.unlink()
    write_layer(open_pack(path if path.exists() else path.with_name("b.pack")), [entry("new", seed=99)])
    Path("a.pack.tmp").write_bytes(bytes(1000))
    with monkeypatch.context() as patch:  # it writes nothing of this name itself
        patch.setattr("overheard.catalogue.pack_write.atomic_write", no_write)
        assert overheard("packs", *action) == (0 if action[0] == "remove" else 2)
    assert not Path("a.pack.tmp").exists()


@contextlib.contextmanager
def no_write(path: Path, private: bool = False) -> Iterator[Any]:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    yield


def test_a_merge_that_was_killed_can_be_removed(data: Path) -> None:
    make(data, "a")
    for name in ("all.pack.tmp", "all.pack.123-0123abcd.tmp"):
        left = data / "packs" / name
        left.write_bytes(bytes(1000))
        assert overheard("packs", "remove", "all") == 0
        assert not left.exists()


def test_two_writers_of_a_file_both_write_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.pack"
    with atomic_write(path) as first:
        first.write(b"first")
        with atomic_write(path) as second:
            second.write(b"second")
        remove_partial(path)  # not what is being written
        assert path.read_bytes() == b"second"
        assert len(partials(path)) == 1
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a.pack"]


@pytest.mark.parametrize("name", ["a.pack.tmp", "a.pack.1-0123abcd.tmp"])  # the first: of earlier versions
def test_the_next_writer_deletes_what_a_killed_one_has_left(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(1000))
    (tmp_path / f"b{name}").write_bytes(b"of another file")
    with atomic_write(tmp_path / "a.pack") as file:
        file.write(b"new")
    assert sorted(os.listdir(tmp_path)) == ["a.pack", f"b{name}"]


def test_changes_of_the_state_at_the_same_time_are_all_kept(data: Path) -> None:
    names = [f"pack{number}" for number in range(8)]

    def disable(name: str) -> None:
        change_state(data / "packs", lambda state: state.changed(name, enable=False))

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(disable, names))
    assert load_state(data / "packs").disabled == set(names)
    assert os.listdir(data / "packs") == ["enabled.json"]


def test_a_pack_whose_name_is_not_text_can_be_disabled(data: Path) -> None:
    name = os.fsdecode(b"x\xff")
    make(data, "a").rename(data / "packs" / f"{name}.pack")
    assert overheard("packs", "disable", name) == 0
    assert load_state(data / "packs").disabled == {name}
    assert overheard("packs", "enable", name) == 0
    assert load_state(data / "packs").enabled == {name}


def test_the_lock_leaves_no_file(tmp_path: Path) -> None:
    for _ in range(2):
        with pack_lock(tmp_path / "a.pack"):
            assert os.listdir(tmp_path) == ["a.lock"]
            with pytest.raises(PackError), pack_lock(tmp_path / "a.pack"):
                pass
        assert os.listdir(tmp_path) == []


def test_no_packs_at_all(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overheard.catalogue.selection.shipped_packs_dir", lambda: data / "none")
    assert overheard("packs") == 0
    assert "no packs yet" in capsys.readouterr().out
    with pytest.raises(PackError, match="make one"):
        choose_packs(Settings(data_dir=data))
