"""The simulated evening: the recording agrees with the ground truth, and plays are judged correctly."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from overheard.demo import room
from overheard.demo.evening import SAMPLE_RATE, Evening, Performance, judge, make_evening
from overheard.demo.synth import Piece, synthesize
from overheard.events import Play, Track


@pytest.fixture(scope="module")
def evening() -> Evening:
    pieces = [synthesize(seed, 45.0) for seed in range(4)]
    known = [(piece, Path(f"/music/{i}.wav")) for i, piece in enumerate(pieces[:3])]
    return make_evening(1, known, pieces[3:])


def rms_db(waveform: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(waveform, dtype=np.float64)) + 1e-20))


def test_each_piece_plays_once_with_pauses(evening: Evening) -> None:
    played = evening.performances
    assert len(played) == 4
    assert sum(p.path is None for p in played) == 1
    assert len({p.piece.title for p in played}) == 4
    for one, other in itertools.pairwise(played):
        assert 5.0 <= other.start_s - one.end_s <= 12.0
    for p in played:
        assert 20.0 <= p.end_s - p.start_s <= 40.0
        assert p.offset_s + (p.end_s - p.start_s) < len(p.piece.waveform) / SAMPLE_RATE
    assert played[-1].end_s < evening.duration_s


def test_the_recording_agrees_with_the_ground_truth(evening: Evening) -> None:
    assert evening.waveform.dtype == np.float32
    assert np.abs(evening.waveform).max() < 1.0
    first = evening.performances[0]
    start, end = int(first.start_s * SAMPLE_RATE), int(first.end_s * SAMPLE_RATE)
    before, during = rms_db(evening.waveform[:start]), rms_db(evening.waveform[start:end])
    assert 4.0 < during - before < 20.0
    begin = int(first.offset_s * SAMPLE_RATE)
    dry = first.piece.waveform[begin : begin + end - start]
    heard = evening.waveform[start : start + len(dry)]
    correlation = np.fft.irfft(np.conj(np.fft.rfft(dry, 2**19)) * np.fft.rfft(heard, 2**19))
    lag = int(np.argmax(np.abs(correlation)))
    assert min(lag, 2**19 - lag) < 80, "the piece must start within 10 ms of the ground truth"


def test_the_same_seed_gives_the_same_evening() -> None:
    pieces = [(synthesize(seed, 44.0), Path(f"{seed}.wav")) for seed in range(2)]
    one, same, other = (make_evening(seed, pieces, []) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.waveform, same.waveform)
    assert one.performances[0].offset_s != other.performances[0].offset_s


def test_room_response_has_the_given_direct_to_reverberant_ratio() -> None:
    response = room.room_response(np.random.default_rng(0), 8000, 0.5, 4.0)
    assert response[0] == 1.0
    assert 10 * np.log10(1.0 / np.sum(response[1:] ** 2)) == pytest.approx(4.0, abs=0.01)


def test_cafe_noise_is_unit_rms_and_fluctuates() -> None:
    noise = room.cafe(np.random.default_rng(0), 80_000, 8000)
    assert rms_db(noise) == pytest.approx(0.0, abs=0.1)
    levels = [rms_db(chunk) for chunk in noise.reshape(-1, 2000)]
    assert max(levels) - min(levels) > 4.0


PIECE = Piece(np.zeros(8, np.float32), "T", "A")
TRUTH = (
    Performance(PIECE, Path("/m/a.wav"), 10.0, 40.0, 5.0, 10.0),
    Performance(PIECE, None, 50.0, 80.0, 5.0, 10.0),
    Performance(PIECE, Path("/m/b.wav"), 90.0, 120.0, 5.0, 10.0),
)


def play(name: str, start_s: float, end_s: float) -> Play:
    track = Track(name, name, "", "", f"/m/{name}.wav", "demo", 100.0)
    return Play(track, start_s, end_s, 0.0, 1.0, 0.9)


def test_all_correct() -> None:
    result = judge(TRUTH, [play("a", 11, 41), play("b", 92, 121)])
    assert [outcome.verdict for outcome in result.outcomes] == ["recognized", "unknown", "recognized"]
    assert result.passed
    assert result.n_wrong == 0


@pytest.mark.parametrize(
    ("plays", "verdicts", "expected_wrong"),
    [
        ([], ["missed", "unknown", "missed"], 0),
        (
            [play("a", 11, 41), play("a", 55, 70), play("b", 95, 118)],
            ["recognized", "wrong", "recognized"],
            1,
        ),
        ([play("a", 11, 20), play("b", 21, 30), play("b", 95, 118)], ["wrong", "unknown", "recognized"], 1),
        (
            [play("a", 11, 41), play("b", 95, 118), play("b", 130, 140)],
            ["recognized", "unknown", "recognized"],
            1,
        ),
        ([play("a", 11, 52), play("b", 95, 118)], ["recognized", "unknown", "recognized"], 0),
        ([play("b", 15, 20), play("a", 95, 118)], ["wrong", "unknown", "wrong"], 2),
    ],
)
def test_mistakes(plays: list[Play], verdicts: list[str], expected_wrong: int) -> None:
    result = judge(TRUTH, plays)
    assert [outcome.verdict for outcome in result.outcomes] == verdicts
    assert result.n_wrong == expected_wrong
    assert result.passed == (verdicts == ["recognized", "unknown", "recognized"] and expected_wrong == 0)


def test_nine_of_ten_pass_but_eight_do_not() -> None:
    truth = [Performance(PIECE, Path(f"/m/{i}.wav"), 50.0 * i, 50.0 * i + 30, 0, 10) for i in range(10)]
    plays = [play(str(i), 50.0 * i + 3, 50.0 * i + 30) for i in range(10)]
    assert judge(truth, plays[1:]).passed
    assert not judge(truth, plays[2:]).passed
