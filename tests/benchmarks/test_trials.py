"""Test the trials: a query of a track in the catalogue is asked twice, one of other music once."""

from __future__ import annotations

from pathlib import Path

import trials
from indexed_songs import RATE, write_songs
from overheard.catalogue.pack import open_pack
from overheard.demo.synth import synthesize
from overheard.fingerprint.model import default_model
from overheard.recognize.recognizer import Recognizer
from overheard_bench.protocol import Query

SONG_S = 12.0


def test_a_left_out_track_has_one_trial_and_a_known_one_two(tmp_path: Path) -> None:
    model, songs = default_model(), [synthesize(seed, SONG_S).waveform for seed in (310, 311, 312)]
    write_songs(tmp_path / "songs.pack", songs[:2])
    recognizer = Recognizer(model, [open_pack(tmp_path / "songs.pack", model.digest)])
    clips = [song[4 * RATE : 7 * RATE + 77] for song in songs]
    known, unknown = (
        Query("q", "clean", 3, "1.wav", 4.0, "1.wav", clips[1]),
        Query("q", "clean", 3, None, 4.0, "2.wav", clips[2]),
    )
    with_own, without = trials.ask(recognizer, known, 1, ())
    assert with_own[:3] == (3, True, True)
    assert without[:3] == (3, False, False)
    (alone,) = trials.ask(recognizer, unknown, None, ())
    assert alone[:3] == (3, False, False)
    similarity = 0  # of the features
    assert with_own[3][similarity] > max(without[3][similarity], alone[3][similarity])
