"""What the benchmarks of the detector and of a day count, on made-up sounds and plays."""

from __future__ import annotations

import numpy as np
import pytest

from indexed_songs import recognizer, songs
from overheard.demo.synth import synthesize
from overheard.events import Track
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.model import default_model
from overheard.hear.detector import MusicDetector
from overheard.recognize.recognizer import Recognizer
from overheard_bench import day, day_mistakes, day_report, detector, detector_report
from overheard_bench.corpus import SAMPLE_RATE, Part
from overheard_bench.day import HeardPlay, Scene
from overheard_bench.detector_sounds import SOUNDS

__all__ = ["recognizer", "songs"]  # fixtures

PART = Part(("a", "b"), ("c",), ("n",), ("s",), (), (), ())


def play(path: str, start_s: float, end_s: float, reported_s: float = 0.0) -> HeardPlay:
    return HeardPlay(Track("0" * 12, path, "", "", path, "p", 60.0), start_s, end_s, reported_s)


def path_of(track: Track) -> str:
    return track.path


def judged(plays, unknown=()):
    begins = [
        (Scene("talk", 0, 100.0), 0.0, 5.0, 1.0),
        (Scene("known mic5", 1, 60.0, "a"), 100.0, 50.0, 2.0),
        (Scene("unknown", 2, 60.0, "c"), 160.0, 40.0, 3.0),
    ]
    return day.judge(begins, plays, unknown, lambda track: {track}, path_of)


def test_correct_late_split_and_false_plays_are_counted():
    plays = [
        play("a", 103, 120, 125),
        play("a", 130, 158, 140),
        play("b", 120, 125, 126),  # another track in this scene
        play("a", 170, 180, 175),  # its own track, in another scene
    ]
    outcomes, wrong = judged(
        plays, [(30.0, 45.0), (158.0, 173.0)]
    )  # the second reaches back into the scene before
    known = outcomes[1]
    assert (known.correct_plays, known.correct_s, known.delay_s, known.is_late) == (2, 45.0, 25.0, True)
    assert [place for _, place in wrong] == ["known mic5", "unknown"]
    table = day.summary(outcomes, wrong)
    assert table["known mic5"]["split"] == table["known mic5"]["late"] == 1
    assert table["known mic5"]["correct_percent_of_time"] == 75.0
    assert table["talk"]["unknown_events"] == table["unknown"]["unknown_events"] == 1
    assert table["unknown"]["false_plays"] == 1
    assert table["talk"]["music_percent"] == 5.0


def test_a_track_that_is_never_shown_is_missed_and_overlapping_plays_count_once():
    outcomes, _ = judged([])
    assert day.summary(outcomes, [])["known mic5"]["missed"] == 1
    outcomes, _ = judged([play("a", 90, 130), play("a", 120, 170)])
    assert outcomes[1].correct_s == 60.0


def test_a_day_has_its_length_its_shares_and_the_same_scenes_for_a_seed():
    scenes = day.plan(PART, lambda path: 60.0, 4.0, seed=1)
    assert scenes == day.plan(PART, lambda path: 60.0, 4.0, seed=1)
    assert scenes != day.plan(PART, lambda path: 60.0, 4.0, seed=2)
    hours = sum(scene.seconds for scene in scenes) / 3600
    assert hours == pytest.approx(4.0, rel=0.1)
    assert {scene.kind for scene in scenes} == set(day.SHARES)
    assert all((scene.track in PART.known) == scene.is_known for scene in scenes)


def test_the_tables_show_every_kind(tmp_path):
    outcomes, wrong = judged([play("a", 103, 150, 110), play("b", 10, 20)])
    result = {
        "scenes": day.summary(outcomes, wrong),
        "hours": 0.06,
        "false_plays_per_day": 400.0,
        "catalogue": {"tracks": 2},
        "seed": 1,
        "timelines": [day_report.timeline(outcomes, wrong)],
    }
    table = day_report.table(result)
    assert all(kind in table for kind in ("talk", "known mic5", "unknown"))
    pytest.importorskip("matplotlib")
    assert day_report.plot(tmp_path / "day.png", result)
    assert (tmp_path / "day.png").stat().st_size > 1000


def test_mistakes_are_listed_with_their_scene_and_reason():
    false = play("b", 120, 125, 126)
    false.score, false.confidence = 8.25, 0.9
    outcomes, wrong = judged([play("a", 103, 120, 125), play("a", 130, 158, 140), false])
    found = day_mistakes.mistakes(outcomes, wrong, lambda one: f"noise in {one.scene.kind}", path_of)
    assert {kind: len(ones) for kind, ones in found.items()} == {
        "false": 1,
        "missed": 0,
        "late": 1,
        "split": 1,
    }
    assert found["false"][0] == {
        **{"track": "b", "scene": "known mic5", "playing": "a", "start_s": 120, "seconds": 5},
        "why": "score 8.2, confidence 90%",
    }
    text = day_mistakes.listed({"mistakes": [found]})
    assert "- false, known mic5, listener 1, 0:02:00: b; while a played; score 8.2, confidence 90%" in text
    assert (
        "- late, known mic5, listener 1, 0:01:40: a; after 25.0 s; music detected for 83.3% of 60.0 s" in text
    )
    assert "; 2 plays; " in text
    outcomes, wrong = judged([])
    missed = day_mistakes.mistakes(outcomes, wrong, lambda one: "too quiet", path_of)
    assert [one["why"] for one in missed["missed"]] == ["too quiet"]
    assert day_mistakes.listed({}) == ""  # results of earlier versions


def test_the_reason_is_that_of_explain(recognizer: Recognizer, songs: list[FloatArray]):
    quiet, unknown, late = ("quiet", None), ("unknown", None), ("late", 12.0)
    sounds = {"quiet": songs[0] * np.float32(1e-5), "unknown": songs[3][: 20 * SAMPLE_RATE]}
    sounds["late"] = np.concatenate([np.zeros(6 * SAMPLE_RATE, np.float32), songs[0]])
    why = day_mistakes.reason(recognizer, lambda scene: sounds[scene.kind], path_of)
    words = [
        why(day.Outcome(Scene(kind, 0, 60.0, "0.wav"), 0.0, 0, 0.0, delay_s, 0, 0.0, 0.0))
        for kind, delay_s in (quiet, unknown, late)
    ]
    assert "level" in words[0]
    assert "best match" in words[1]
    assert "not in the catalogue" in words[1]
    assert "best match 0.wav" in words[2]
    assert "is recognized, but no play starts" in words[2]


@pytest.mark.parametrize("name", list(SOUNDS))
def test_sixteen_synthetic_sounds_are_finite_and_not_silent(name: str):
    assert len(SOUNDS) == 16
    sound = SOUNDS[name](np.random.default_rng(0), 10 * SAMPLE_RATE)
    assert sound.shape == (10 * SAMPLE_RATE,)
    assert np.isfinite(sound).all()
    assert np.std(sound) > 0


def test_what_the_detector_hears_is_timed_from_the_beginning(monkeypatch: pytest.MonkeyPatch):
    made = iter([False, True, True, False, True, False, False, False, False])
    monkeypatch.setattr(MusicDetector, "process", lambda self, frames: next(made))
    heard = detector.hear(MusicDetector(), np.zeros(9 * SAMPLE_RATE, np.float32), "clean", "")
    assert (heard.wake_ups, heard.music_s) == (2, 3.0)
    assert heard.delay_s == pytest.approx(1.97, abs=0.01)
    summary = detector.summary_of_tracks([heard])
    assert summary["in_time_percent"] == 100.0
    without = detector.summary_without_music([heard])
    assert without["wake_ups_per_hour"] == pytest.approx(800, rel=0.01)


def test_a_listener_with_the_second_opinion_hears_talk_and_music():
    both = detector.WithOpinion(default_model())
    music = both.hear(synthesize(5, 40.0).waveform, "clean", "")
    assert music.delay_s is not None
    assert music.delay_s <= 3
    assert music.music_s > 35
    assert music.unknown == 1
    hiss = np.random.default_rng(1).standard_normal(20 * SAMPLE_RATE, dtype=np.float32)
    noise = both.hear(hiss * np.float32(0.05), "noise", "direct")
    assert (noise.music_s, noise.wake_ups, noise.unknown) == (0, 0, 0)


def test_the_detectors_tables_are_rendered():
    heard = detector.DetectorAnswer("clean", "", 100.0, 90.0, 1, None)
    alone = {
        "tracks": {"clean": detector.summary_of_tracks([heard])},
        "without_music": {"talk": detector.summary_without_music([heard])},
        "synthetic": {"hum": detector.summary_without_music([heard])},
    }
    result = {
        **alone,
        "with_opinion": alone,
        "cost": {"ms_per_s": 0.1, "frontend_ms_per_s": 0.3, "ratio": 0.33},
        "detector": {"bytes": 7000},
    }
    table = detector_report.table(result)
    assert "none" in table
    assert "7,000 bytes" in table
