"""Test the reliability of confidences, and the synthetic sounds, without measuring anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from corpus_fakes import MemoryCorpus
from overheard_bench import reliability, sounds_report, synthetic
from overheard_bench.corpus import SAMPLE_RATE, Part
from overheard_bench.render import Renderer
from overheard_bench.score import Answer
from overheard_bench.sounds_report import SoundAnswer


def answer(confidence: float | None, right: bool, known: bool = True, recognized: bool = False) -> Answer:
    best = None if confidence is None else ("music/a.ogg" if right else "music/b.ogg")
    outcome = ("right" if right else "wrong") if recognized else "none"
    return Answer(
        id="q", condition="clean", length_s=5, source="music/a.ogg", in_catalogue=known,
        recognized=(best,) if recognized and best else (), outcome=outcome, right_offset=False,
        near_duplicate=False, best=best, score=None, threshold=None, confidence=confidence,
    )  # fmt: skip


def answers() -> list[Answer]:
    """Return 200 matches: the sure ones are right in 97 of 100 cases, the doubtful ones in 20."""
    sure = [answer(0.96, number >= 3, recognized=True) for number in range(100)]
    doubtful = [answer(0.3, number < 20) for number in range(100)]
    return [*sure, *doubtful, answer(None, False)]


def test_a_tenth_has_the_mean_confidence_and_the_observed_rate() -> None:
    found = reliability.reliability(answers())
    tenths = found["best_matches"]["tenths"]
    assert [row["n"] for row in tenths] == [0, 0, 0, 100, 0, 0, 0, 0, 0, 100]
    assert (tenths[3]["confidence_percent"], tenths[3]["right_percent"]) == (30.0, 20.0)
    assert tenths[3]["error_points"] == 10.0
    assert tenths[9]["error_points"] == -1.0
    assert found["recognized"]["n"] == 100
    brier = (97 * 0.04**2 + 3 * 0.96**2 + 20 * 0.7**2 + 80 * 0.3**2) / 200
    assert found["best_matches"]["brier"] == pytest.approx(brier, abs=1e-5)


def test_confidence_one_is_in_the_last_tenth_and_unknown_music_is_never_right() -> None:
    tenths = reliability.summary([answer(1.0, True), answer(1.0, True, known=False)])["tenths"]
    assert (tenths[9]["n"], tenths[9]["right"]) == (2, 1)


def test_only_tenths_with_enough_queries_count_for_the_target() -> None:
    (one,) = reliability.targets(reliability.reliability(answers()))
    assert (one["measured"], one["met"]) == (10.0, False)
    (one,) = reliability.targets(reliability.reliability(answers()[:140]))
    assert (one["measured"], one["met"]) == (1.0, True)
    assert reliability.targets(reliability.reliability(answers()[:20])) == []


def test_table_and_picture(tmp_path: Path) -> None:
    result = {"reliability": reliability.reliability(answers())}
    table = reliability.table(result)
    assert "| 30-40% | 100 | 30.0 | 20.0 (13-29) | 0 |  |  |" in table
    assert "0.0292 for recognized tracks alone" in table
    pytest.importorskip("matplotlib")
    assert reliability.plot(tmp_path / "reliability.png", result)
    assert (tmp_path / "reliability.png").stat().st_size > 1000


def renderer() -> Renderer:
    """Return a renderer with one room and one microphone."""
    decay = np.exp(-np.arange(4000) / 300) * np.random.default_rng(0).uniform(-1, 1, 4000)
    impulse = (20000 * decay).astype(np.int16)
    corpus = MemoryCorpus(audio={"room.wav": impulse, "microphone.wav": impulse})
    return Renderer(corpus, Part((), (), (), (), ("room.wav",), ("room.wav",), ("microphone.wav",)))


@pytest.mark.parametrize("name", synthetic.SOUNDS)
def test_clips_of_a_sound_differ_and_are_the_same_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "speech_program", lambda: None)
    made = [synthetic.clip(renderer(), name, number, 2) for number in (1, 2, 4, 7, 1)]
    assert all(len(clip) == 2 * SAMPLE_RATE and np.abs(clip).max() <= 1 for clip in made)
    np.testing.assert_array_equal(made[0], made[-1])
    assert all(not np.array_equal(made[0], other) for other in made[1:-1])
    assert max(np.sqrt(np.mean(clip**2)) for clip in made) > 0.001


def test_the_first_tone_is_a_sine_of_440_hz() -> None:
    spectrum = np.abs(np.fft.rfft(synthetic.clip(renderer(), "tone", 0, 5)))
    assert np.argmax(spectrum) == 5 * 440


def test_espeak_speaks() -> None:
    if synthetic.speech_program() is None:
        pytest.skip("espeak-ng is not installed")
    spoken = synthetic.speech(np.random.default_rng(1), 3 * SAMPLE_RATE)
    assert len(spoken) == 3 * SAMPLE_RATE
    assert np.sqrt(np.mean(spoken**2)) > 0.01


def test_sounds_are_counted_by_length_and_listening_separately() -> None:
    heard = [
        SoundAnswer("tone", 0, 2, False, None, 0.1),
        SoundAnswer("tone", 0, 10, False, "music/a.ogg", 0.8),
        SoundAnswer("hum", 0, 2, False, None, 0.2),
        SoundAnswer("hum", 0, 10, False, None, 0.3),
        SoundAnswer("tone", 0, 30, True, None, 0.0, 2),
        SoundAnswer("hum", 0, 30, True, "music/b.ogg", 0.9, 0),
    ]
    result = sounds_report.summary(heard) | {"speech": "espeak-ng"}
    assert result["overall"]["recognized_percent"] == 25.0
    assert result["listen_overall"] == {"n": 2, "recognized": 1, "unknown": 1}
    assert not result["targets"][0]["met"]
    table = sounds_report.table(result)
    assert "| tone | 0 of 1 | 1 of 1 | 0 of 1 | 1 of 1 | 80 |" in table
    assert "| **all** | 0 of 2 | 1 of 2 | 1 of 2 | 1 of 2 |  |" in table
    assert "Of 4 clips, 1 are recognized (25.0%). Speech: espeak-ng." in table
