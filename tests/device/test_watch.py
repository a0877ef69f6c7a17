"""Packs that change while they are in use."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from overheard.catalogue.layers import compact, merge_layers, write_layer
from overheard.catalogue.pack import TrackEntry, open_pack, write_pack
from overheard.catalogue.selection import open_packs
from overheard.catalogue.watch import PackWatcher
from overheard.demo.synth import Piece, synthesize
from overheard.events import MusicUnknown, PlayEnded, PlayStarted
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.fingerprint.spec import SPEC
from overheard.recognize.open import open_recognizer
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.reload import watching_packs
from overheard.settings import Settings

RATE = 8000
MODEL: Any = SimpleNamespace(
    path=Path("m.json"),
    digest="feed" * 4,
    spec=SPEC,
    quantizer=SimpleNamespace(widths=(4,), cells=range(1024)),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's packs, where no pack ships with overheard."""
    monkeypatch.setattr("overheard.catalogue.selection.shipped_packs_dir", lambda: tmp_path / "none")
    (tmp_path / "packs").mkdir()
    return tmp_path / "packs"


def pack_of(path: Path, n_tracks: int, seed: int = 0, digest: str = MODEL.digest) -> bytes:
    """Write a pack and return its bytes."""
    rng = np.random.default_rng(seed)
    entries = [
        TrackEntry(
            title=f"Title {number}",
            path=f"/{number}.flac",
            duration_s=20.0,
            packed_cells=rng.integers(0, 1 << 16, 20, dtype=np.uint16),
            codes=rng.integers(0, 256, (20, 4), dtype=np.uint8),
        )
        for number in range(n_tracks)
    ]
    write_pack(path, path.stem, digest, SPEC, entries)
    return path.read_bytes()


def counts(packs: list | None) -> dict[str, int] | None:
    return None if packs is None else {pack.name: len(pack.tracks) for pack in packs}


def watcher_of(folder: Path, names: list[str] | None = None) -> PackWatcher:
    settings = Settings(data_dir=folder.parent)
    return PackWatcher(settings, MODEL, names, open_packs(settings, MODEL, names))


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_added_replaced_and_removed_packs_are_noticed(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    pack_of(folder / "a.pack", 1)
    watcher = watcher_of(folder)
    assert [watcher.changed() for _ in range(3)] == [None] * 3
    pack_of(folder / "b.pack", 2)
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {"a": 1, "b": 2}, None]
    (folder / "a.pack").write_bytes(pack_of(folder / "other", 3))  # in place, as cp does
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {"a": 3, "b": 2}, None]
    (folder / "b.pack").replace(folder / "a.pack")
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {"a": 2}, None]
    (folder / "a.pack").unlink()
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {}, None]
    pack_of(folder / "a.pack", 4)
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {"a": 4}, None]
    assert all(record.getMessage().count("\n") == 0 for record in caplog.records)


def test_layers_are_noticed(folder: Path) -> None:
    path = folder / "a.pack"
    pack_of(path, 2)
    watcher = watcher_of(folder)
    added = list(open_pack(pack_at(folder / "other", 3, seed=1)).entries())
    write_layer(open_pack(path), added)
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {"a": 5}, None]
    write_layer(open_pack(path), [], [track.id for track in open_pack(path).tracks[:2]])
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {"a": 3}, None]
    merge_layers(open_pack(path), max_layers=1)
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {"a": 3}, None]
    compact(path)
    assert [counts(watcher.changed()) for _ in range(3)] == [None, {"a": 3}, None]
    assert watcher.changed() is None


def pack_at(path: Path, n_tracks: int, seed: int) -> Path:
    pack_of(path, n_tracks, seed)
    return path


def test_only_the_selected_packs_are_watched(folder: Path) -> None:
    pack_of(folder / "a.pack", 1)
    watcher = watcher_of(folder, ["a"])
    pack_of(folder / "b.pack", 2)
    assert [watcher.changed() for _ in range(3)] == [None] * 3
    pack_of(folder / "a.pack", 5)
    assert [counts(watcher.changed()) for _ in range(2)] == [None, {"a": 5}]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: os.truncate(path, 100),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" * 5000),
        lambda path: pack_of(path, 1, digest="beef" * 4),
        replace_by_fifo,
        replace_by_folder,
    ],
)
def test_an_unusable_new_pack_is_reported_once_and_the_open_one_stays(
    folder: Path, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], object]
) -> None:
    pack_of(folder / "a.pack", 2)
    watcher = watcher_of(folder)
    spoil(folder / "a.pack")
    assert [watcher.changed() for _ in range(5)] == [None] * 5
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("the earlier version stays in use: ")
    (folder / "a.pack").rmdir() if (folder / "a.pack").is_dir() else (folder / "a.pack").unlink()
    pack_of(folder / "a.pack", 3)
    assert {"a": 3} in [counts(watcher.changed()) for _ in range(3)]


def test_a_pack_that_is_being_written_is_not_opened(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = pack_of(folder / "a.pack", 2)
    watcher = watcher_of(folder)
    with (folder / "a.pack").open("wb") as file:
        for part in np.array_split(np.frombuffer(content, np.uint8), 5):
            file.write(part.tobytes())
            file.flush()
            assert watcher.changed() is None
    assert not caplog.records
    assert [counts(watcher.changed()) for _ in range(2)] in ([{"a": 2}, None], [None, {"a": 2}])


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    return [synthesize(seed, 75.0) for seed in (200, 201)]


@pytest.fixture(scope="module")
def contents(pieces: list[Piece], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytes of packs with the first piece, the second, and both."""
    model, path = default_model(), tmp_path_factory.mktemp("made") / "x.pack"
    entries = []
    for piece in pieces:
        cells, codes = model.encode_track(fingerprint(Embedder(model), piece.waveform))
        path_in_pack = f"{piece.title}.wav"
        entries.append(
            TrackEntry(title=piece.title, path=path_in_pack, duration_s=75.0, packed_cells=cells, codes=codes)
        )
    found = {}
    for name, chosen in (("first", entries[:1]), ("second", entries[1:]), ("both", entries)):
        write_pack(path, name, model.digest, model.spec, chosen)
        found[name] = path.read_bytes()
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_a_listener_uses_the_new_pack_and_keeps_its_open_play(
    folder: Path, pieces: list[Piece], contents: dict[str, bytes]
) -> None:
    settings, path = Settings(data_dir=folder.parent), folder / "music.pack"
    path.write_bytes(contents["first"])
    recognizer = open_recognizer(settings)
    listener, events = recognizer.listener(), []
    music = [piece.waveform[: 30 * RATE] for piece in pieces]

    def hear(waveform: np.ndarray) -> None:
        for start in range(0, len(waveform), RATE):
            events.extend(listener.process(waveform[start : start + RATE]))

    with watching_packs(recognizer, settings, check_s=0.02):
        hear(music[0][: 15 * RATE])
        before = recognizer.index
        path.write_bytes(contents["both"])
        wait_for(lambda: recognizer.index is not before)
        hear(music[0][15 * RATE :])
        assert [type(e) for e in events if isinstance(e, PlayStarted | PlayEnded)] == [PlayStarted]
        hear(music[1])
        path.unlink()
        wait_for(lambda: not recognizer.packs)
        hear(np.concatenate(music))  # searched in nothing
        path.write_bytes(contents["second"])
        wait_for(lambda: bool(recognizer.packs))
        hear(music[1])
    events += listener.finish()
    plays = [event.play for event in events if isinstance(event, PlayEnded)]
    assert [play.track.title for play in plays] == [pieces[i].title for i in (0, 1, 1)]
    assert plays[0].end_s - plays[0].start_s == pytest.approx(30, abs=3)
    assert any(isinstance(event, MusicUnknown) for event in events)


def recognized(recognizer: Recognizer, waveform: FloatArray) -> list[str]:
    return [play.track.title for play in recognizer.identify(waveform).plays]


def test_changing_a_pack_in_use_fifty_times_stops_nothing(
    folder: Path, pieces: list[Piece], contents: dict[str, bytes]
) -> None:
    settings, path = Settings(data_dir=folder.parent), folder / "music.pack"
    path.write_bytes(contents["first"])
    recognizer = open_recognizer(settings)
    listener, music = recognizer.listener(), pieces[0].waveform
    n_threads = threading.active_count()
    with watching_packs(recognizer, settings, check_s=0.005):
        for turn in range(50):
            changes = (
                lambda: path.write_bytes(contents["both"]),
                lambda: os.truncate(path, 1000),
                path.unlink,
                lambda: shutil.copyfile(__file__, path),
                lambda: path.write_bytes(contents["first"]),
            )
            changes[turn % len(changes)]()
            listener.process(music[(turn % 70) * RATE :][: RATE // 2])
            time.sleep(0.01)
        # The watcher may still be busy with an earlier change, so the last one counts when it is in use.
        wait_for(lambda: recognized(recognizer, music[20 * RATE : 30 * RATE]) == [pieces[0].title])
    assert threading.active_count() == n_threads


def test_the_first_error_is_not_hidden_by_one_at_the_end(
    folder: Path, pieces: list[Piece], contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "music.pack").write_bytes(contents["first"])
    recognizer = open_recognizer(Settings(data_dir=folder.parent))
    listener = recognizer.listener()
    events = listener.process(pieces[0].waveform[: 20 * RATE])

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(recognizer.embedder, "query", broken)
    monkeypatch.setattr(recognizer.matcher, "match", broken)
    with pytest.raises(RuntimeError, match="broken"):
        listener.process(pieces[0].waveform[20 * RATE : 24 * RATE])
    events += listener.finish()
    assert [type(e) for e in events if isinstance(e, PlayStarted | PlayEnded)] == [PlayStarted, PlayEnded]
