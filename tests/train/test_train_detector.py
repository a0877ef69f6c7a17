"""Training of the music detector: sounds, examples, storage, smoothing, conversion, and the whole command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from overheard.errors import OverheardError
from overheard.fingerprint.model import default_model
from overheard.hear.detector import DetectorNetwork, MusicDetector, load_detector
from overheard.hear.texture import N_FEATURES
from overheard.recognize.opinion_table import load_opinion
from overheard_train import cli
from overheard_train.data import Data, open_data
from overheard_train.detector import (
    examples,
    held_out,
    network,
    opinion,
    store,
    streams,
    threshold,
    train,
)
from overheard_train.detector.sounds import SOUNDS

ALL_KINDS = (*threshold.STREAMS, *threshold.SNR_DB)


@pytest.fixture(scope="session")
def data(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Data:
    return open_data([corpus], tmp_path_factory.mktemp("detector-cache"))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make little of everything, in this process."""
    monkeypatch.setattr(store, "CHUNK", 4)
    monkeypatch.setattr(network, "BATCH", 8)
    monkeypatch.setattr(examples, "ROOMS", (8, 4))
    monkeypatch.setattr(streams, "ROOMS", (2, 2))


@pytest.mark.parametrize("name", list(SOUNDS))
def test_every_sound_is_finite_not_silent_and_follows_its_seed(name: str):
    make = SOUNDS[name]
    for seed in range(4):
        sound = make(np.random.default_rng(seed), 20_000)
        assert sound.shape == (20_000,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert np.std(sound) > 0
        np.testing.assert_array_equal(sound, make(np.random.default_rng(seed), 20_000))


def test_examples_are_of_every_kind_and_some_begin_within_the_scene(data: Data):
    maker = examples.make(data, False, 0)
    made = [maker.example(np.random.default_rng(seed)) for seed in range(40)]
    assert {int(label[-1]) for _, label in made} >= {0, 1, 2, 3, 5}
    assert all(features.shape == (examples.SCENE_S, N_FEATURES) for features, _ in made)
    assert all(np.isfinite(features).all() for features, _ in made)
    begins = sum(label[0] != 0 and label[-1] == 0 for _, label in made)
    assert 1 <= begins <= 20


def test_seconds_in_which_music_begins_or_ends_have_no_label():
    unlabelled, noise = examples.UNLABELLED, examples.KINDS.index("noise")
    np.testing.assert_array_equal(examples.labels(0, 0.0, np.inf), np.zeros(8))
    np.testing.assert_array_equal(examples.labels(0, 2.5, np.inf), [noise, noise, unlabelled, *[0] * 5])
    np.testing.assert_array_equal(examples.labels(0, 0.0, 3.5), [0, 0, 0, *[unlabelled] * 3, noise, noise])
    np.testing.assert_array_equal(examples.labels(2, 2.5, 4.0), np.full(8, 2))


def test_an_interrupted_run_makes_the_same_examples(data: Data):
    whole = store.stored_examples(data, 12, False, seed=1, workers=1)
    base = data.cache_path("detector-" + store._digest(data, False, 1))
    expected = np.array(whole.features)
    base.with_suffix(".json").write_text(json.dumps({"chunks": 1}))
    base.with_suffix(".f16").write_bytes(expected[:5].tobytes())  # one whole chunk, and a part of the next
    resumed = store.stored_examples(data, 12, False, seed=1, workers=1)
    np.testing.assert_array_equal(resumed.features, expected)


def test_more_examples_keep_those_that_exist(data: Data):
    few = np.array(store.stored_examples(data, 4, True, seed=1, workers=1).labels)
    more = store.stored_examples(data, 8, True, seed=1, workers=1)
    np.testing.assert_array_equal(more.labels[:4], few)


def test_held_out_recordings_are_not_those_of_the_fit(monkeypatch: pytest.MonkeyPatch, data: Data):
    monkeypatch.setattr(held_out, "HELD_OUT", 2)
    fitted, others = (set(held_out.part_of(data, "music", part).paths) for part in (False, True))
    assert fitted
    assert others
    assert not fitted & others


def test_the_smoothing_is_chosen_as_the_device_decides():
    outputs = np.random.default_rng(0).normal(0, 3, 300)
    rules = threshold.candidates()[::37]
    made = threshold.decisions(outputs, rules)
    for rule, expected in zip(rules, made, strict=True):
        detector = MusicDetector()
        detector._smoothing = rule
        decided = []
        for output in outputs:
            detector._decide(float(output))
            decided.append(detector.is_music)
        np.testing.assert_array_equal(decided, expected)


def test_wake_ups_are_counted_once_each():
    made = np.array([[0, 1, 1, 0, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
    np.testing.assert_array_equal(threshold.wake_ups(made), [2, 1, 0])


def clear_outputs(music: float, others: float) -> list[tuple[str, np.ndarray]]:
    played = np.r_[np.full(streams.BEFORE_S, others), np.full(20, music)]
    made = [(kind, np.full(40, others)) for kind in threshold.STREAMS]
    made += [(kind, played) for kind in threshold.SNR_DB]
    return made


def test_the_best_smoothing_within_the_bounds_is_chosen():
    choice = threshold.choose(clear_outputs(4.0, -4.0))
    assert set(choice.in_time.values()) == {1.0}
    assert set(choice.false_per_hour.values()) == {0.0}
    assert set(choice.false_share.values()) == {0.0}


def test_a_detector_that_always_wakes_is_refused():
    with pytest.raises(OverheardError, match="like music"):
        threshold.choose(clear_outputs(9.0, 9.0))


def test_music_begins_after_noise_in_the_streams(data: Data):
    made = list(streams.make_streams(data, 0.004))
    assert {stream.kind for stream in made} == set(ALL_KINDS)
    assert all(len(stream.features) >= 30 for stream in made)
    assert [stream.is_music for stream in made] == [s.kind.startswith("music") for s in made]


def test_streams_show_the_network_what_the_device_shows_it(monkeypatch: pytest.MonkeyPatch):
    mel = np.random.default_rng(2).uniform(-80, -20, (200, 96)).astype(np.float32)
    shown: list[np.ndarray] = []

    def judge(self: DetectorNetwork, features: np.ndarray) -> float:
        shown.append(features)
        return 0.0

    monkeypatch.setattr(DetectorNetwork, "__call__", judge)
    MusicDetector().process(mel)
    np.testing.assert_array_equal(np.stack(shown), examples.features_by_second(mel))


def test_the_command_writes_a_detector_that_loads(
    data: Data,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("OVERHEARD_CACHE_DIR", str(data.cache_dir))
    monkeypatch.setattr(threshold, "MAX_SHARE", 1.0)
    monkeypatch.setattr(train, "make_streams", lambda data, scale: streams.make_streams(data, 0.004))
    output = tmp_path / "d.json"
    arguments = ["--data", str(corpus), "--output", str(output), "--examples", "12", "--epochs", "2"]
    assert cli.main(["detector", *arguments, "--workers", "1"]) == 0
    assert "false wake-ups" in capsys.readouterr().out
    detector = load_detector(output)
    assert len(detector.tflite) < 10_000
    assert detector.smoothing in threshold.candidates()
    MusicDetector(output).process(np.full((64, 96), -30, np.float32))
    facts = json.loads(output.read_text())
    assert facts["training"]["epochs"] == 2
    assert set(facts["held_out"]["in_time"]) == set(threshold.SNR_DB)


def test_the_command_writes_a_second_opinion_that_loads(
    data: Data,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setenv("OVERHEARD_CACHE_DIR", str(data.cache_dir))
    monkeypatch.setattr(opinion, "ROOMS", (4, 2))
    monkeypatch.setattr(opinion, "N_HELD_OUT", 12)
    output = tmp_path / "opinion.json"
    arguments = ["opinion", "--data", str(corpus), "--output", str(output), "--scenes", "24"]
    assert cli.main(arguments) == 0
    assert "segments" in capsys.readouterr().out
    table = load_opinion(default_model().space.digest, output)
    assert table is not None
    assert table.hidden.shape == (default_model().spec.dim, opinion.HIDDEN)

    def make_again(*_args: object) -> None:
        raise AssertionError("the scenes are in the cache")

    monkeypatch.setattr(opinion, "make_embedded", make_again)
    assert cli.main([*arguments[:-1], "24", "--seed", "0"]) == 0


def test_more_segments_count_more_if_they_are_independent():
    rng = np.random.default_rng(3)
    is_music = rng.random(4000) < 0.5
    evidence = np.where(is_music, 1.0, -1.0) + rng.normal(0, np.sqrt(2), (8, 4000))  # log-odds of each
    one, all_ = (opinion.gain_of(evidence[:n].mean(axis=0), is_music) for n in (1, 8))
    assert one == pytest.approx(1, rel=0.15)
    assert all_ > 4


def test_a_wrong_suffix_is_a_one_line_error(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["detector", "--output", "d.txt"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
