"""`overheard calibrate`: gate and caution for a room."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import wave
from pathlib import Path

import numpy as np
import pytest

from overheard import cli
from overheard.catalogue.pack import open_pack, shipped_packs_dir, write_pack
from overheard.catalogue.track_list import TrackEntry
from overheard.commands import calibrate
from overheard.demo.room import cafe
from overheard.demo.synth import synthesize
from overheard.errors import SettingsError
from overheard.events import EvidencePoint, Match, Play, PlayEnded, PlayStarted, Track
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.history.marks import mark_wrong
from overheard.history.writer import HistorySink
from overheard.recognize.plays.tracker import PlayTracker
from overheard.recognize.recognizer import Recognizer
from overheard.recognize.room_calibration import FalseRate, caution_for, gate_levels, window_scores
from overheard.settings import ListenSettings, Settings, TrackSettings
from overheard.settings.rooms import parse_rooms

RATE = 8000


def noise(length_s: float, level_db: float) -> FloatArray:
    sound = np.random.default_rng(1).standard_normal(round(length_s * RATE))
    return np.asarray(sound * 10 ** (level_db / 20), np.float32)


def save(path: Path, waveform: FloatArray) -> str:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return str(path)


def test_the_gate_opens_above_the_noise_of_a_quiet_room() -> None:
    levels = gate_levels(noise(20, -50), RATE)
    assert levels is not None
    assert -45 <= levels[0] <= -42
    assert levels[1] == levels[0] - 3
    assert gate_levels(np.zeros(RATE, np.float32), RATE) is None


def test_more_sound_and_lower_scores_lower_the_bound_and_caution_too() -> None:
    minute, hour = FalseRate(-4.0, 6, 6.0), FalseRate(-4.0, 360, 6.0)
    assert hour.at(0) < minute.at(0)
    assert minute.at(3) == pytest.approx(minute.at(0) * math.exp(-3), rel=0.1)
    assert FalseRate(-8.0, 6, 6.0).at(0) < minute.at(0)
    caution = caution_for(minute, 0.1)
    assert minute.at(caution) <= 0.1 < minute.at(caution - 0.5)
    assert caution_for(hour, 1000.0) == 0.0
    assert caution_for(hour, 1000.0, wrong=[3.3]) == 1.0  # the play that was wrong would not have started


def test_caution_prevents_plays_that_barely_start() -> None:
    track = Track("a" * 12, "Alpha", "", "", "a", "music", 200.0)
    match = Match(track, 0.0, 5.0, 30.0, 8.0, 4.0, 0.9, 0.1)
    assert isinstance(PlayTracker().update(match, 0, 5)[0], PlayStarted)
    assert PlayTracker(TrackSettings(caution=2.0)).update(match, 0, 5) == []


def test_recordings_are_calibrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OVERHEARD_DATA_DIR", str(tmp_path))
    model, song = default_model(), synthesize(700, 30.0).waveform
    cells, codes = model.encode_track(fingerprint(Embedder(model), song))
    entry = TrackEntry(title="song", path="s", duration_s=30.0, packed_cells=cells, codes=codes)
    write_pack(tmp_path / "packs" / "music.pack", "music", model.digest, model.spec, [entry])
    files = {
        "quiet": noise(5, -60),
        "talk": cafe(np.random.default_rng(2), 20 * RATE, RATE) * np.float32(0.1),
        "music": song[3 * RATE : 23 * RATE],
    }
    args = [arg for kind, sound in files.items() for arg in (f"--{kind}", save(tmp_path / kind, sound))]
    assert cli.main(["calibrate", *args]) == 0
    out = capsys.readouterr().out
    assert "open_db = -5" in out
    assert "caution = " in out
    assert "of 6 windows recognized" in out
    assert "At most" in out


def recordings(folder: Path, **sounds: FloatArray) -> list[str]:
    """Save recordings, which are noise by default; return the arguments."""
    known = {"quiet": noise(5, -60), "talk": noise(20, -30), "music": noise(20, -20), **sounds}
    return [arg for kind, sound in known.items() for arg in (f"--{kind}", save(folder / kind, sound))]


@pytest.mark.parametrize(
    ("sounds", "message"),
    [
        ({"quiet": noise(4, -60)}, "4.0 s of quiet are too short; record at least 5 s"),
        ({"talk": noise(0.1, -30)}, "0.1 s of talk are too short; record at least 10 s"),
        ({"music": noise(9, -20)}, "9.0 s of music are too short; record at least 10 s"),
        ({"music": np.zeros(20 * RATE, np.float32)}, "the music is digital silence; check the input"),
        ({"quiet": noise(5, -20), "music": noise(20, -30)}, "hardly louder than the quiet; play it louder"),
    ],
)
def test_recordings_from_which_nothing_follows_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sounds: dict[str, FloatArray], message: str
) -> None:
    assert cli.main(["calibrate", *recordings(tmp_path, **sounds)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x"])
@pytest.mark.parametrize("option", ["--false-per-day", "--hours"])
def test_numbers_that_make_no_sense_are_an_error(
    capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["calibrate", f"{option}={value}"])
    assert stopped.value.code == 2
    assert f"argument {option}: must be a number above 0" in capsys.readouterr().err


def test_a_rate_that_no_caution_ensures_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("overheard.recognize.room_calibration.window_scores", lambda *_: [12.5])
    assert cli.main(["calibrate", *recordings(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"At most \d,\d{3} false positives a day", out)
    assert "No value of track.caution ensures 1 a day" in out


def test_long_recordings_are_compared_in_blocks() -> None:
    """The scores are those of the whole recording at once, in less memory."""
    model, scores = default_model(), []
    recognizer = Recognizer(model, [open_pack(shipped_packs_dir() / "starter.pack", model.digest)])
    sound = synthesize(701, 25.0).waveform
    for block_s in (3.0, 100.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("overheard.recognize.room_calibration.BLOCK_S", block_s)
            scores.append(window_scores(recognizer, sound))
    assert scores[0]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


ROOMS = Settings(listen=ListenSettings(rooms=("kitchen=left@pulse:card", "bath=pulse:usb")))


def chosen(*arguments: str, settings: Settings = ROOMS) -> str:
    parser = argparse.ArgumentParser()
    calibrate.add_parser(parser.add_subparsers())
    room = calibrate.chosen_room(parser.parse_args(["calibrate", *arguments]), settings)
    return "" if room is None else f"{room.channel}@{room.input}"


def test_a_room_is_calibrated_with_its_own_input() -> None:
    assert chosen("--room", "kitchen") == "left@pulse:card"
    assert chosen("--input", "default") == ""
    assert chosen("--quiet", "a", "--talk", "b", "--music", "c") == ""
    assert chosen(settings=Settings()) == ""
    with pytest.raises(SettingsError, match=r"several rooms: kitchen, bath; choose one with --room"):
        chosen()
    with pytest.raises(SettingsError, match=r"no room 'attic'; use one of kitchen, bath"):
        chosen("--room", "attic")
    with pytest.raises(SettingsError, match=r"no room 'attic'; set listen.rooms"):
        chosen("--room", "attic", settings=Settings())


def test_wrong_plays_of_the_room_count(tmp_path: Path) -> None:
    settings = dataclasses.replace(ROOMS, data_dir=tmp_path)
    sink = HistorySink(settings.history_path, "")
    points = (
        EvidencePoint(5.0, 1.0, 7.0, 5.0, 0.9, 0.1),
        EvidencePoint(6.0, 1.0, 9.0, 10.0, 0.9, 0.0, verification=True),
    )
    for start_s, room in enumerate(("kitchen", "bath")):
        play = Play(Track("a" * 12, "Alpha", "", "", "", "m", 60.0), start_s, start_s + 9.0, 0.0, 7.0, 0.9)
        sink.handle(PlayStarted(play, room=room), 1e9)
        sink.handle(PlayEnded(play, evidence=points, room=room), 1e9)
    sink.close()
    mark_wrong(settings.history_path, [2])
    kitchen, bath = parse_rooms(ROOMS.listen.rooms)
    scores = [calibrate._wrong_scores(settings, room) for room in (None, kitchen, bath)]
    assert scores == [[2.0], [], [2.0]]
