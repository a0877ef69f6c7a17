"""Test the page of the worst answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import wavfile

import worst
from corpus_fakes import MemoryCorpus
from overheard_bench import score
from overheard_bench.protocol import Query


def answer(outcome: str, in_catalogue: bool, excess: float | None) -> score.Answer:
    value = None if excess is None else 4.0 + excess
    threshold = None if excess is None else 4.0
    best = None if excess is None else "music/b.ogg"
    return score.Answer(
        "q", "mic5", 2, "music/a.ogg", in_catalogue, (), outcome, False, False, best, value, threshold
    )


def test_an_answers_distance_from_its_threshold() -> None:
    assert worst.wrongness(answer("right", True, 2.0)) is None
    assert worst.wrongness(answer("none", False, -3.0)) is None
    assert worst.wrongness(answer("none", True, -3.0)) == 3.0
    assert worst.wrongness(answer("wrong", True, 1.5)) == 1.5
    assert worst.wrongness(answer("false positive", False, 0.5)) == 0.5
    assert worst.wrongness(answer("none", True, None)) == np.inf


LEVELS = {"a": 1000, "b": 2000}


def test_the_page_plays_the_query_the_true_track_and_the_best_candidate(tmp_path: Path) -> None:
    rate = worst.SAMPLE_RATE
    music = {f"music/{name}.ogg": np.full(20 * rate, level, np.int16) for name, level in LEVELS.items()}
    corpus = MemoryCorpus(audio=music)
    heard = Query("q", "mic5", 2, "music/a.ogg", 1.0, "music/a.ogg", np.full(2 * rate, 0.5, np.float32))
    page = worst.write_page(
        tmp_path / "new",
        [
            worst.Wrong(3.0, 0, heard, answer("none", True, -3.0), 10.0),
            worst.Wrong(0.0, 1, heard, answer("none", True, None), None),
        ],
        corpus,
    )
    text = page.read_text(encoding="utf-8")
    assert "mic5, 2 s: not identified, 3.0 from the threshold" in text
    assert "music/b.ogg at 10.0 s" in text
    assert "<td>none" in text
    sounds = {path.name: wavfile.read(path)[1] for path in page.parent.glob("*.wav")}
    assert all(f'src="{name}"' in text for name in sounds)
    assert len(sounds) == 5
    assert len(sounds["001-query.wav"]) == 2 * rate
    assert sounds["001-query.wav"][0] == 16384
    assert len(sounds["001-true.wav"]) == 6 * rate
    assert sounds["001-true.wav"][0] == 1000
    assert len(sounds["001-candidate.wav"]) == 8 * rate
    assert sounds["001-candidate.wav"][0] == 2000
