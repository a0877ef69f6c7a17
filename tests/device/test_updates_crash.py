"""Updates that are killed, and updates while somebody listens."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from overheard.catalogue.layers import write_layer
from overheard.catalogue.pack import TrackEntry, open_pack
from overheard.demo.synth import synthesize
from overheard.events import PlayEnded, PlayStarted
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.recognize.open import open_recognizer
from overheard.recognize.reload import watching_packs
from overheard.settings import Settings
from repositories import Publisher, entries, pack_of, serving, titles, trust, update

CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "fcntl.flock"}


def add_layers(path: Path) -> None:
    for number in (40, 41, 42):
        write_layer(open_pack(path), entries(range(number, number + 1)))


def replace_pack(path: Path) -> None:
    pack_of(path, entries(range(60, 100)))
    write_layer(open_pack(path), entries(range(100, 103)))


def update_killed_at(settings: Settings, nth: int) -> int:
    """Update in a child that is killed at the nth access to the user's files; return how many there were."""
    before, after = os.pipe()
    child = os.fork()
    if not child:
        count, folder = 0, str(settings.data_dir)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal count
            if event in CHANGES and folder in str(arguments):
                count += 1
                os.write(after, b".")
                if count == nth:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            update(settings)
        finally:
            os._exit(0)
    os.close(after)
    _, status = os.waitpid(child, 0)
    with os.fdopen(before, "rb") as pipe:
        count = len(pipe.read())
    assert os.WIFSIGNALED(status) == (count == nth)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("change", [add_layers, replace_pack])
def test_a_killed_update_leaves_the_old_or_the_new_pack(
    tmp_path: Path, change: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    default_model()  # in this process, so that the children need not load it
    publisher, path = Publisher(tmp_path), tmp_path / "music.pack"
    publisher.publish(pack_of(path, entries(range(40))))
    start = Settings(data_dir=tmp_path / "start")
    trust(start, str(publisher.out))
    update(start)
    change(path)
    publisher.publish(path)
    old, new = titles(start), sorted(track.title for track in open_pack(path).tracks)

    def copy(name: str) -> Settings:
        shutil.copytree(start.data_dir, tmp_path / name)
        return Settings(data_dir=tmp_path / name)

    n_points = update_killed_at(copy("counted"), 0)
    assert n_points > 20
    points = np.random.default_rng(n_points).permutation(n_points)[:10] + 1
    for nth in sorted(points.tolist()):
        settings = copy(f"killed {nth}")
        update_killed_at(settings, nth)
        assert titles(settings) in (old, new), nth
        update_killed_at(settings, nth // 2 + 1)
        assert titles(settings) in (old, new), nth
        assert update(settings)["music"].kind in ("updated", "current")
        assert titles(settings) == new
        assert update(settings)["music"].kind == "current"
        assert {*os.listdir(settings.packs_dir), "music.lock"} == {"music.pack", "music.layers", "music.lock"}


def test_a_killed_download_continues(tmp_path: Path) -> None:
    publisher, path = Publisher(tmp_path), tmp_path / "music.pack"
    publisher.publish(pack_of(path, entries(range(400))))
    settings = Settings(data_dir=tmp_path / "data")
    with serving(publisher.out) as server:
        trust(settings, server.url)
        publisher.publish()
        whole = path.stat().st_size
        parts = settings.packs_dir / ".updates"
        parts.mkdir(parents=True)
        (file,) = (publisher.out / "files").iterdir()
        # As after a kill: some of the file has arrived.
        (parts / f"{file.stem}.part").write_bytes(file.read_bytes()[: whole // 2])
        server.n_bytes = 0
        update(settings)
        assert server.n_bytes < 0.6 * whole
    assert len(titles(settings)) == 400


def test_a_listener_uses_the_update_and_keeps_its_open_play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overheard.catalogue.selection.shipped_packs_dir", lambda: tmp_path / "none")
    model, rate, tracks, music = default_model(), 8000, [], []
    for seed in (1, 2):
        piece = synthesize(seed, 26.0, rate)
        cells, codes = model.encode_track(fingerprint(Embedder(model), piece.waveform))
        tracks.append(
            TrackEntry(title=piece.title, path="x.wav", duration_s=26.0, packed_cells=cells, codes=codes)
        )
        music.append(piece.waveform[: 20 * rate])
    publisher, path, settings = (
        Publisher(tmp_path),
        tmp_path / "music.pack",
        Settings(data_dir=tmp_path / "data"),
    )
    publisher.publish(pack_of(path, tracks[:1]))
    with serving(publisher.out) as server:
        trust(settings, server.url)
        update(settings)
        recognizer = open_recognizer(settings)
        listener, events = recognizer.listener(), []

        def hear(waveform: FloatArray) -> None:
            for start in range(0, len(waveform), rate):
                events.extend(listener.process(waveform[start : start + rate]))

        with watching_packs(recognizer, settings, check_s=0.02):
            hear(music[0][: 10 * rate])
            write_layer(open_pack(path), tracks[1:])
            publisher.publish(path)
            update(settings)
            end = time.monotonic() + 30
            while recognizer.packs[0].n_tracks == 1 and time.monotonic() < end:
                time.sleep(0.01)
            hear(music[0][10 * rate :])
            assert [type(e) for e in events if isinstance(e, PlayStarted | PlayEnded)] == [PlayStarted]
            hear(music[1])
    events += listener.finish()
    plays = [event.play for event in events if isinstance(event, PlayEnded)]
    assert [play.track.title for play in plays] == [track.title for track in tracks]
    assert plays[0].end_s - plays[0].start_s == pytest.approx(20, abs=3)
