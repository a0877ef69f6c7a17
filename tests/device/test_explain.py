"""`overheard explain`: what fits, how well, and what is missing."""

from __future__ import annotations

import functools
import re
import wave
from pathlib import Path

import numpy as np
import pytest
import soxr

from overheard import cli
from overheard.catalogue.pack import open_pack, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.commands.explain import to_text
from overheard.commands.explain_picture import Picture
from overheard.demo.room import cafe
from overheard.demo.synth import Piece, synthesize
from overheard.events import MusicUnknown
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.hear.decode import load
from overheard.history.writer import HistorySink
from overheard.recognize.explain import explain
from overheard.recognize.recognizer import Recognizer

pytestmark = pytest.mark.slow

RATE = 8000
N_KNOWN = 2


@functools.cache
def piece(number: int) -> Piece:
    """A piece; the first two are in the catalogue."""
    return synthesize(500 + number, 40.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, folder = default_model(), tmp_path_factory.mktemp("data")
    embedder = Embedder(model)
    entries = []
    for each in map(piece, range(N_KNOWN)):
        cells, codes = model.encode_track(fingerprint(embedder, each.waveform))
        entries.append(
            TrackEntry(title=each.title, path=each.title, duration_s=40.0, packed_cells=cells, codes=codes)
        )
    write_pack(folder / "packs" / "music.pack", "music", model.digest, model.spec, entries)
    return folder


@pytest.fixture(scope="module")
def recognizer(folder: Path) -> Recognizer:
    model = default_model()
    return Recognizer(model, [open_pack(folder / "packs" / "music.pack", model.digest)])


@pytest.fixture(autouse=True)
def data_dir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVERHEARD_DATA_DIR", str(folder))


def cut(number: int, start_s: float, end_s: float) -> FloatArray:
    return piece(number).waveform[round(start_s * RATE) : round(end_s * RATE)]


def save(path: Path, waveform: FloatArray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def test_what_is_recognized_is_explained_by_its_segments(recognizer: Recognizer) -> None:
    found = explain(recognizer, cut(1, 8.0, 30.0))
    assert found.accepted
    assert found.match is not None
    assert found.evidence is not None
    assert found.match.track.title == piece(1).title
    assert found.rival is not None
    assert found.rival.title == piece(0).title
    assert found.evidence.similarity > found.rival_similarity + 0.2
    assert len(found.segments) >= 20
    assert all(abs(one.position_s - one.at_s - 8.0) < 0.1 for one in found.segments)  # the diagonal
    assert np.mean([one.similarity for one in found.segments]) > 0.6
    assert found.reasons == ()


def test_music_at_another_speed_is_explained_at_its_speed(recognizer: Recognizer) -> None:
    faster = soxr.resample(cut(0, 5, 18), RATE * 1.045, RATE).astype(np.float32)
    found = explain(recognizer, faster)
    assert found.accepted
    assert found.speed == pytest.approx(1.045, abs=0.004)
    assert all(abs(one.position_s - 5 - one.at_s * 1.045) < 0.2 for one in found.segments)
    assert to_text(found)[0].startswith(f"recognized: {piece(0).title}")
    assert "speed about +4" in to_text(found)[0]


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [
        (cut(0, 5, 15) * np.float32(1e-5), "level"),
        (cut(0, 5, 5.1), "length: 0.1 s"),
        (soxr.resample(cut(0, 5, 20), 1.12, 1.0).astype(np.float32), "speed: about +1"),
        (np.sin(np.arange(80_000) * 0.35, dtype=np.float32) / 4, "music: it sounds like a tone"),
        (cut(2, 5, 15), "not in the catalogue"),
        (
            cut(0, 5, 8) / 40 + cafe(np.random.default_rng(1), 3 * RATE, RATE) * np.float32(0.05),
            "length: 3.0 s",
        ),
        (
            cut(0, 5, 8) / 40 + cafe(np.random.default_rng(1), 3 * RATE, RATE) * np.float32(0.05),
            "noise",
        ),
    ],
)
def test_what_is_not_recognized_lacks_something(
    recognizer: Recognizer, waveform: FloatArray, reason: str
) -> None:
    found = explain(recognizer, waveform)
    assert not found.accepted
    assert reason in "; ".join(found.reasons)


def test_another_speed_at_which_the_score_is_too_low_is_the_reason(
    recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("overheard.recognize.speed_search.SPEED_PENALTY", 30.0)
    found = explain(recognizer, soxr.resample(cut(0, 5, 14), 1.065, 1.0).astype(np.float32))
    assert not found.accepted
    assert "speed: about +6.5%; at another speed, the score must be" in found.reasons[0]
    assert to_text(found)[0].startswith(f"not recognized; the best match is {piece(0).title}")


def test_a_short_recording_has_an_aligned_segment(recognizer: Recognizer) -> None:
    for start_s in np.arange(8.0, 9.0, 0.125):
        found = explain(recognizer, cut(1, start_s, start_s + 2))
        assert found.accepted
        assert 1 <= len(found.segments) <= 2
        assert found.segments[0].position_s == pytest.approx(start_s, abs=0.7)


def test_only_the_beginning_of_a_long_recording_is_read_and_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(save(tmp_path / "a.wav", np.concatenate([cut(0, 0, 12), cut(2, 0, 40), cut(2, 0, 40)])))
    assert cli.main(["explain", file]) == 0
    assert "the first" not in capsys.readouterr().out
    monkeypatch.setattr("overheard.recognize.explain.MAX_S", 12.0)
    assert len(load(file, longest_s=12.0)) == 12 * RATE
    assert cli.main(["explain", file]) == 0
    assert "only the first 0.2 minutes are explained" in capsys.readouterr().out


def test_close_levels_of_a_picture_are_labelled_above_and_below() -> None:
    points = [(0.0, 1.0, 0.2), (1.0, 2.0, 0.25)]
    text = Picture("title", "subtitle", points, [("mean", 0.22), ("next track", 0.21)], (0.0, 1.0)).to_svg()
    heights = [float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="end" fill', text)]
    assert len(heights) == 2
    assert heights[1] - heights[0] > 12
    one = Picture("title", "subtitle", points[:1]).to_svg()
    assert one.count("<polyline") == one.count("<circle") == 1


def test_a_picture_of_what_matches_nothing_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = save(tmp_path / "a.wav", np.zeros(RATE, np.float32)), tmp_path / "why.svg"
    assert cli.main(["explain", str(file), "--picture", str(picture)]) == 1
    assert "no picture" in capsys.readouterr().out
    assert not picture.exists()
    assert cli.main(["explain", ""]) == 2
    assert "the name of the file is empty" in capsys.readouterr().err


def test_a_file_is_explained_in_words_and_as_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = save(tmp_path / "a.wav", cut(0, 4.0, 24.0)), tmp_path / "why.svg"
    assert cli.main(["explain", str(file), "--picture", str(picture)]) == 0
    out = capsys.readouterr().out
    assert f"recognized: {piece(0).title}" in out
    assert "the threshold is" in out
    assert f", {piece(1).title}" in out
    assert picture.read_text().count("<circle") >= 18
    assert cli.main(["explain", str(save(tmp_path / "b.wav", cut(2, 4.0, 24.0)))]) == 1
    assert "  reason " in capsys.readouterr().out
    assert cli.main(["explain", str(file), "--picture", "why.png"]) == 2


@pytest.mark.parametrize("digits", ["12", "9" * 5000])
def test_an_id_that_no_play_has_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], digits: str
) -> None:
    monkeypatch.setenv("OVERHEARD_DATA_DIR", str(tmp_path))
    assert cli.main(["explain", digits]) == 2
    error = capsys.readouterr().err
    assert f"no play has the id {digits[:10]}" in error
    assert len(error) < 200


def test_a_play_is_explained_from_the_history(
    recognizer: Recognizer, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener, sink = recognizer.listener(), HistorySink(folder / "history.sqlite", "mic")
    for begin in range(0, len(piece(0).waveform), RATE // 2):
        for event in listener.process(piece(0).waveform[begin : begin + RATE // 2]):
            sink.handle(event, 0.0)
    for event in listener.finish():
        sink.handle(event, 0.0)
    sink.close()
    picture = tmp_path / "why.svg"
    assert cli.main(["explain", "1", "--picture", str(picture)]) == 0
    out = capsys.readouterr().out
    assert piece(0).title in out
    assert "accepted" in out
    assert 8 <= picture.read_text().count("<circle") <= 24
    unknown = HistorySink(folder / "history.sqlite", "mic")
    unknown.handle(MusicUnknown(0.0, 15.0, unknown_id=7, first_heard=0.0), 100.0)
    unknown.close()
    assert cli.main(["explain", "2"]) == 0
    assert "unknown music 7: it matched no track" in capsys.readouterr().out
    assert cli.main(["explain", "3"]) == 2
    assert "no play has the id 3" in capsys.readouterr().err
