"""The music detector: what it hears, in which pieces, and which files it accepts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from overheard.demo.synth import synthesize
from overheard.errors import ModelError
from overheard.fingerprint.frontend import log_mel
from overheard.fingerprint.model import default_model
from overheard.fingerprint.runtime import Network, available_runtimes
from overheard.hear import detector
from overheard.hear.detector import DETECTOR_PATH, DetectorNetwork, MusicDetector, load_detector
from overheard.hear.texture import COLUMNS, HISTORY, N_FEATURES, RANGE_DB, Texture, textures
from overheard.recognize import recognizer as recognizer_module
from overheard.recognize.recognizer import Recognizer

RATE = 8000
SECOND_FRAMES = 32
SIDECAR = DETECTOR_PATH


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return (samples * 0.05).astype(np.float32)


def music(seconds: float, seed: int = 11) -> np.ndarray:
    return synthesize(seed, seconds).waveform[: round(seconds * RATE)]


def decisions(detector: MusicDetector, waveform: np.ndarray) -> list[bool]:
    """Return the decision after each second."""
    frames = log_mel(waveform)
    return [detector.process(frames[i : i + SECOND_FRAMES]) for i in range(0, len(frames), SECOND_FRAMES)]


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_music_is_detected_within_three_seconds_and_kept(seed: int):
    made = decisions(MusicDetector(), music(30, seed))
    assert any(made[:3])
    assert np.mean(made[4:]) > 0.9


def test_noise_a_tone_and_silence_are_not_music():
    tone = (0.1 * np.sin(2 * np.pi * 440 / RATE * np.arange(30 * RATE))).astype(np.float32)
    for sound in (noise(30), tone, np.zeros(30 * RATE, np.float32)):
        assert not any(decisions(MusicDetector(), sound))


def test_music_ends_when_noise_follows():
    made = decisions(MusicDetector(), np.concatenate([music(20), noise(30)]))
    assert any(made[:20])
    assert not any(made[-8:])


def test_the_level_does_not_matter():
    detector = MusicDetector()
    loud, quiet = music(8), music(8) * np.float32(0.01)
    detector.process(log_mel(loud))
    probability = detector.probability
    detector.reset()
    detector.process(log_mel(quiet))
    assert detector.probability == pytest.approx(probability, abs=0.05)


@pytest.mark.parametrize("size", [1, 7, 32, 50, 1000])
def test_the_decision_does_not_depend_on_how_the_frames_are_divided(size: int):
    frames = log_mel(np.concatenate([noise(5), music(7)]))
    at_once, in_pieces = MusicDetector(), MusicDetector()
    at_once.process(frames)
    for begin in range(0, len(frames), size):
        in_pieces.process(frames[begin : begin + size])
    assert in_pieces.probability == at_once.probability
    assert in_pieces.is_music == at_once.is_music


def test_reset_forgets_the_music():
    detector = MusicDetector()
    decisions(detector, music(20))
    detector.reset()
    assert not detector.is_music
    assert detector.probability == 0
    assert not detector.process(log_mel(noise(1)))


def test_the_network_runs_at_most_once_per_second(monkeypatch: pytest.MonkeyPatch):
    runs = []
    invoke = Network.invoke

    def counted(self: Network, values: np.ndarray) -> np.ndarray:
        runs.append(values.shape)
        return invoke(self, values)

    monkeypatch.setattr(Network, "invoke", counted)
    frames = log_mel(noise(60))
    detector = MusicDetector()
    for begin in range(0, len(frames), 8):
        detector.process(frames[begin : begin + 8])
    assert 55 <= len(runs) <= 60


def seconds(mel: np.ndarray) -> np.ndarray:
    texture, made = Texture(), []
    while len(mel) >= texture.n_needed:
        n = texture.n_needed
        made.append(texture.update(mel[:n]))
        mel = mel[n:]
    return np.stack(made)


def test_the_texture_does_not_depend_on_the_gain():
    mel = np.random.default_rng(0).uniform(-80, -20, (200, 96)).astype(np.float32)
    made = seconds(mel)
    assert made.shape == (6, N_FEATURES)
    np.testing.assert_allclose(seconds(mel - 30), made, atol=1e-4)


def test_the_textures_are_the_means_that_they_are_said_to_be():
    levels = np.random.default_rng(1).random((HISTORY + COLUMNS, 96)).astype(np.float32)
    second = levels[HISTORY:]
    band = slice(16, 32)  # the second of six
    found = textures(levels).reshape(-1, 6)[:, 1]
    changes = [second - levels[HISTORY - lag : HISTORY + COLUMNS - lag] for lag in (1, 2, 4, 8)]
    curved = np.abs(second[:, 2:] + second[:, :-2] - 2 * second[:, 1:-1])
    long = np.stack([levels[i - 4 : i].mean(axis=0) for i in range(HISTORY + 1, HISTORY + COLUMNS + 1)])
    long_curved = np.abs(long[:, 2:] + long[:, :-2] - 2 * long[:, 1:-1])
    expected = [
        second[:, band].mean(),
        *(np.abs(change[:, band]).mean() for change in changes),
        *(np.maximum(change[:, band], 0).mean() for change in changes[:2]),
        curved[:, 15:31].mean(),
        long_curved[:, 15:31].mean(),
    ]
    np.testing.assert_allclose(found[:9], expected, rtol=1e-4)
    assert found[10] == pytest.approx(second[:, band].std(axis=0).mean(), rel=1e-4)


def test_silence_and_a_range_far_above_it_give_finite_features():
    mel = np.full((200, 96), -100, np.float32)
    mel[100:, 40] = -100 + 2 * RANGE_DB
    assert np.isfinite(seconds(mel)).all()


def test_the_shipped_network_is_small():
    assert len(load_detector().tflite) < 10_000


def test_every_runtime_gives_the_same_output():
    runtimes = list(available_runtimes())
    if len(runtimes) < 2:
        pytest.skip("only one TensorFlow Lite runtime is installed")
    model, features = load_detector(), seconds(log_mel(music(5)))
    judges = [DetectorNetwork(model.tflite, model.mean, model.deviation, runtime) for runtime in runtimes]
    for one in features:
        assert np.ptp([judge(one) for judge in judges]) < 0.5


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for suffix in (".json", ".tflite"):
        shutil.copy(SIDECAR.with_suffix(suffix), tmp_path)
    return tmp_path / SIDECAR.name


def change(sidecar: Path, **values: object) -> None:
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | values))


def test_a_copy_of_the_files_loads(copy: Path):
    assert any(decisions(MusicDetector(copy), music(10)))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"manifest_version": 2}, "version"),
        ({"manifest_version": None}, "must be an integer"),
        ({"spec_digest": "0" * 16}, "front-end"),
        ({"digest": "0" * 16}, "does not match"),
        ({"smoothing": {}}, "missing"),
        ({"features": {"mean": [0.0], "deviation": [1.0]}}, "mean has 1 values"),
        ({"features": {"mean": [0.0] * N_FEATURES, "deviation": [0.0] * N_FEATURES}}, "positive"),
        ({"smoothing": {"bias": 0, "wake": 9, "rest": 0, "ceiling": 2, "step": 1}}, "smoothing"),
        ({"smoothing": {"bias": 0, "wake": 2, "rest": 0, "ceiling": 2, "step": 0}}, "smoothing"),
    ],
)
def test_a_sidecar_with_invalid_values_is_refused(copy: Path, values: dict[str, object], problem: str):
    change(copy, **values)
    with pytest.raises(ModelError, match=problem):
        MusicDetector(copy)


def test_a_damaged_network_is_refused_before_it_is_loaded(copy: Path):
    network = bytearray(copy.with_suffix(".tflite").read_bytes())
    network[len(network) // 2] ^= 1
    copy.with_suffix(".tflite").write_bytes(network)
    with pytest.raises(ModelError, match="does not match"):
        MusicDetector(copy)


def test_missing_files_and_text_that_is_not_json_are_refused(copy: Path):
    copy.write_text("no JSON")
    with pytest.raises(ModelError, match="not the manifest"):
        MusicDetector(copy)
    copy.with_suffix(".tflite").unlink()
    with pytest.raises(ModelError, match="cannot read"):
        MusicDetector(copy)


def test_a_listener_refuses_to_listen_without_the_detectors_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    recognizer = Recognizer(default_model(), [])
    load_detector.cache_clear()
    for module in (detector, recognizer_module):  # wherever it is looked for
        monkeypatch.setattr(module, "DETECTOR_PATH", tmp_path / "none.json", raising=False)
    try:
        with pytest.raises(ModelError, match="cannot read the detector's file"):
            recognizer.listener()
    finally:
        load_detector.cache_clear()
