"""Unknown music that returns is the same unknown music, and can be given a name."""

from __future__ import annotations

import functools
import stat
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overheard import cli
from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.selection import LABELLED
from overheard.catalogue.track_list import TrackEntry
from overheard.demo.room import cafe
from overheard.demo.synth import synthesize
from overheard.events import Event, MusicUnknown, PlayEnded
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model, load_model
from overheard.history.writer import HistorySink, read_plays
from overheard.recognize import unknown_store
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.unknown_store import UnknownPiece, UnknownStore
from overheard.settings import MODELS_DIR, Settings

pytestmark = pytest.mark.slow

RATE = 8000
KNOWN = 0


@functools.cache
def song(number: int) -> FloatArray:
    return synthesize(400 + number, 60.0).waveform


def noisy(wave: FloatArray, seed: int) -> FloatArray:
    """Return the music as another day's microphone hears it."""
    noise = cafe(np.random.default_rng(seed), len(wave), RATE)
    noise *= np.float32(np.sqrt(np.mean(wave**2) / np.mean(noise**2)) / 3)
    return np.asarray((wave + noise) / 2, np.float32)


def silence(length_s: float) -> FloatArray:
    return np.zeros(round(length_s * RATE), np.float32)


@pytest.fixture
def store(tmp_path: Path) -> UnknownStore:
    return UnknownStore(tmp_path / "unknown" / "unknown.pack", default_model(), max_pieces=200)


@pytest.fixture
def recognizer(tmp_path: Path, store: UnknownStore) -> Recognizer:
    model = default_model()
    cells, codes = model.encode_track(fingerprint(Embedder(model), song(KNOWN)))
    entry = TrackEntry(title="known", path="k", duration_s=60.0, packed_cells=cells, codes=codes)
    write_pack(tmp_path / "music.pack", "music", model.digest, model.spec, [entry])
    found = Recognizer(model, [open_pack(tmp_path / "music.pack", model.digest)])
    found.unknown_store = store
    return found


def listen(recognizer: Recognizer, *parts: FloatArray) -> list[Event]:
    listener, events = recognizer.listener(), []
    wave = np.concatenate(parts).astype(np.float32)
    for begin in range(0, len(wave), RATE // 4):
        events += listener.process(wave[begin : begin + RATE // 4])
    return events + listener.finish()


def unknown(events: list[Event]) -> list[tuple[int | None, int]]:
    return [(event.unknown_id, event.times_heard) for event in events if isinstance(event, MusicUnknown)]


def test_unknown_music_that_returns_has_the_same_id(recognizer: Recognizer, store: UnknownStore) -> None:
    evening = [song(1), silence(20), song(2), silence(20), noisy(song(1), 3), silence(20), song(KNOWN)]
    events = listen(recognizer, *evening)
    assert unknown(events) == [(1, 1), (2, 1), (1, 2)]
    assert [event.play.track.title for event in events if isinstance(event, PlayEnded)] == ["known"]
    later = listen(recognizer, noisy(song(2)[7 * RATE :], 4), silence(20), song(3))  # from its middle
    assert unknown(later) == [(2, 2), (3, 1)]
    first = next(event.first_heard for event in later if isinstance(event, MusicUnknown))
    assert [(piece.unknown_id, piece.times, piece.first_heard == first) for piece in store.pieces()] == [
        (1, 2, False),
        (2, 2, True),
        (3, 1, False),
    ]


@pytest.mark.parametrize(("first", "later"), [("small", "overheard"), ("overheard", "small")])
def test_unknown_music_returns_after_a_change_of_the_network(tmp_path: Path, first: str, later: str) -> None:
    digest = default_model().digest
    write_pack(tmp_path / "music.pack", "music", digest, default_model().spec, [])
    for name, expected in ((first, [(1, 1)]), (later, [(1, 2)])):
        model = load_model(MODELS_DIR / f"{name}.json")
        recognizer = Recognizer(model, [open_pack(tmp_path / "music.pack", digest)])
        recognizer.unknown_store = UnknownStore(tmp_path / "unknown" / "unknown.pack", model, max_pieces=200)
        heard = song(1) if name == first else noisy(song(1), 3)
        assert unknown(listen(recognizer, heard)) == expected


def test_only_fingerprints_are_stored_and_only_the_user_can_read_them(
    recognizer: Recognizer, store: UnknownStore
) -> None:
    listen(recognizer, song(1))
    files = sorted(path for path in store.path.parent.iterdir())
    assert [path.name for path in files] == ["unknown.json", "unknown.pack"]
    assert sum(path.stat().st_size for path in files) < 10_000  # a minute of audio takes 960 kB
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_recording_leaves_nothing(recognizer: Recognizer, store: UnknownStore) -> None:
    assert recognizer.identify(song(1)).verdict == "unknown"
    assert not store.path.parent.exists()


def test_the_store_is_bounded_and_ids_are_never_used_again(tmp_path: Path) -> None:
    model = default_model()
    store = UnknownStore(tmp_path / "u" / "unknown.pack", model, max_pieces=2)
    rows = fingerprint(Embedder(model), song(1))[:10]
    for number in range(4):
        piece = UnknownPiece(store.new_id(), 1 + (number == 0), 100.0 + number, 100.0 + number)
        store.put(piece, rows)
    assert [piece.unknown_id for piece in store.pieces()] == [1, 4]  # 1 was heard twice
    assert store.remove([1, 4]) == 2
    assert not store.path.exists()
    assert store.new_id() == 5


def test_a_full_store_learns_new_pieces(tmp_path: Path) -> None:
    store = UnknownStore(tmp_path / "u" / "unknown.pack", default_model(), max_pieces=2)
    rows = fingerprint(Embedder(default_model()), song(1))[:10]
    for number, times in ((1, 3), (2, 2), (3, 1), (4, 1)):
        store.put(UnknownPiece(number, times, 100.0 + number, 100.0 + number), rows)
        assert store.entry(number) is not None
    assert [piece.unknown_id for piece in store.pieces()] == [1, 4]


def test_a_damaged_store_is_replaced(recognizer: Recognizer, store: UnknownStore) -> None:
    listen(recognizer, song(1))
    store.path.write_bytes(b"damaged")
    assert unknown(listen(recognizer, song(1))) == [(2, 1)]
    assert unknown(listen(recognizer, song(1))) == [(2, 2)]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OVERHEARD_DATA_DIR", str(tmp_path))
    return tmp_path


def hear(recognizer: Recognizer, data_dir: Path, *parts: FloatArray) -> list[Event]:
    """Listen with a history."""
    sink = HistorySink(data_dir / "history.sqlite", "mic")
    events = listen(recognizer, *parts)
    for event in events:
        sink.handle(event, 1_700_000_000.0)
    sink.close()
    return events


def test_unknown_music_is_named_and_recognized_from_then_on(
    recognizer: Recognizer, store: UnknownStore, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hear(recognizer, data_dir, song(1), silence(20), song(1), silence(20), song(2))
    assert read_plays(data_dir / "history.sqlite") == ([], 0)
    assert cli.main(["history", "unknown"]) == 0
    assert "heard 2 times, first on 14 November 2023" in capsys.readouterr().out
    assert cli.main(["history", "name", "1", "Ann - Alpha"]) == 0
    assert "2 plays of unknown music 1 named Ann - Alpha" in capsys.readouterr().out
    rows, _ = read_plays(data_dir / "history.sqlite")
    assert [(row.artist, row.title, row.pack) for row in rows] == [("Ann", "Alpha", LABELLED)] * 2
    assert [piece.unknown_id for piece in store.pieces()] == [2]
    pack = open_pack(Settings(data_dir).packs_dir / f"{LABELLED}.pack", recognizer.model.digest)
    recognizer.search([*recognizer.packs, pack])
    ended = [event.play for event in hear(recognizer, data_dir, song(1)) if isinstance(event, PlayEnded)]
    assert [(play.track.name, play.track.id) for play in ended] == [("Ann - Alpha", rows[0].track_id)]
    assert cli.main(["history"]) == 0
    lines = [line.split()[2:] for line in capsys.readouterr().out.splitlines() if "Ann - Alpha" in line]
    assert sorted(line[:-3] for line in lines) == [[], [], ["100%"]]  # no confidence without a recognition
    assert cli.main(["history", "name", "9", "Ann - Beta"]) == 2
    assert "no unknown music has the id 9" in capsys.readouterr().err


def test_a_name_is_corrected_in_the_history_and_in_the_catalogue(
    recognizer: Recognizer, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hear(recognizer, data_dir, song(1))
    path = Settings(data_dir).packs_dir / f"{LABELLED}.pack"
    for name in ("Ann - Alhpa", "Ann - Alpha"):
        assert cli.main(["history", "name", "1", name]) == 0
        assert "from now on, it is recognized" in capsys.readouterr().out
        pack = open_pack(path, recognizer.model.digest)
        assert [f"{track.artist} - {track.title}" for track in pack.tracks] == [name]
        recognizer.search([*recognizer.packs[:1], pack])
    hear(recognizer, data_dir, song(1))  # the name of what is recognized is corrected too
    assert cli.main(["history", "name", "1", "Ann - Beta"]) == 0
    assert "2 plays of unknown music 1 named Ann - Beta" in capsys.readouterr().out
    rows, _ = read_plays(data_dir / "history.sqlite")
    assert {(row.artist, row.title) for row in rows} == {("Ann", "Beta")}
    path.unlink()
    assert cli.main(["history", "name", "1", "Ann - Gamma"]) == 0
    assert "not stored any more" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [("x" * 301, "longer than 300"), ("a" * 301 + " - b", "longer than 300"), ("a - \x1b", "no title")],
)
def test_a_name_that_cannot_be_one_is_refused(
    data_dir: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert cli.main(["history", "name", "1", name]) == 2
    assert message in capsys.readouterr().err
    assert not Settings(data_dir).packs_dir.exists()


def test_forgetting_the_history_forgets_unknown_music(
    recognizer: Recognizer, store: UnknownStore, data_dir: Path
) -> None:
    hear(recognizer, data_dir, song(1))
    assert cli.main(["history", "forget", "--since", "2100-01-01"]) == 0
    assert len(store.pieces()) == 1
    assert cli.main(["history", "forget", "--since", "1h"]) == 0
    assert store.pieces() == []


@pytest.fixture
def one_piece(data_dir: Path) -> UnknownStore:
    """Return the store of the data folder, with one piece."""
    store = UnknownStore(Settings(data_dir).unknown_path, default_model(), max_pieces=200)
    store.put(UnknownPiece(1, 1, 0.0, 0.0), np.eye(20, default_model().spec.dim, dtype=np.float32))
    return store


def test_everything_is_forgotten_without_a_model(
    one_piece: UnknownStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVERHEARD_MODEL", "/missing/model.json")
    assert cli.main(["history", "forget", "--since", "1970-01-01"]) == 2
    assert one_piece.path.exists()
    assert cli.main(["history", "forget", "--all"]) == 0
    assert not one_piece.path.exists()


def test_what_is_forgotten_is_not_written_back(
    one_piece: UnknownStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, original = threading.Event(), unknown_store.write_pack

    def slow(*args: Any, **kwargs: Any) -> None:
        reading.set()
        time.sleep(0.5)
        original(*args, **kwargs)

    monkeypatch.setattr(unknown_store, "write_pack", slow)
    writer = threading.Thread(target=one_piece.put, args=(UnknownPiece(1, 2, 0.0, 1.0),))
    writer.start()
    assert reading.wait(10)
    assert cli.main(["history", "forget", "--all"]) == 0
    writer.join()
    assert not one_piece.path.exists()


def test_a_wrong_play_is_kept_but_not_listed(
    recognizer: Recognizer, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hear(recognizer, data_dir, song(KNOWN))
    assert cli.main(["history", "wrong", "1"]) == 0
    assert cli.main(["history"]) == 0
    assert "no plays" in capsys.readouterr().out
    assert cli.main(["history", "--all"]) == 0
    assert "known  [wrong]" in capsys.readouterr().out
    assert cli.main(["history", "wrong", "--undo", "1"]) == 0
    assert cli.main(["history"]) == 0
    assert "known" in capsys.readouterr().out
    assert cli.main(["history", "wrong", "5"]) == 2
