"""A checkpoint becomes an int8 model, through a gate."""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting a model needs requirements-train.txt")

from small_models import make_encoder, segments

import train_corpus
from overheard.errors import ModelError
from overheard.fingerprint.embedder import Embedder, fingerprint
from overheard.fingerprint.model import load_model
from overheard.fingerprint.spec import SPEC, FrontendSpec
from overheard_export import cli, model, quality
from overheard_export.conversion import convert
from overheard_export.int8 import Int8Encoder, top1
from overheard_export.model import export_checkpoint
from overheard_export.parity import MIN_COSINE, Parity, measure_parity
from overheard_train.checkpoints import Progress, save_checkpoint
from overheard_train.encoders import build_encoder
from overheard_train.evaluate import evaluate
from overheard_train.pairs import labels_of
from overheard_train.pairs.degraded import DegradedPairs
from overheard_train.recipes import RECIPES
from overheard_train.registry import Part

OTHER_SPEC = dataclasses.replace(SPEC, frontend=FrontendSpec(n_mels=64), n_frames=60, dim=32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_corpus.write_corpus(tmp_path_factory.mktemp("export") / "corpus")


@pytest.fixture
def checkpoint(encoder: Any, tmp_path: Path) -> Path:
    path = tmp_path / "trial.npz"
    save_checkpoint(encoder.get_weights(), Progress("trial", 12), path)
    return path


def test_the_network_is_int8_through_and_through(tflite: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["dtype"] is np.int8
    assert returned["dtype"] is np.int8
    assert tuple(given["shape"]) == (1, SPEC.n_frames, SPEC.frontend.n_mels, 1)
    assert tuple(returned["shape"]) == (1, SPEC.dim)
    operators = collections.Counter(
        operator["op_name"]
        for operator in interpreter._get_ops_details()
        if operator["op_name"] != "DELEGATE"
    )
    assert not {"DEQUANTIZE", "QUANTIZE", "CAST"} & set(operators), operators
    assert operators["CONV_2D"] == 4
    assert operators["L2_NORMALIZATION"] == 1
    assert operators.total() <= 8, operators  # batch norm and ReLU are part of the convolutions
    assert not any(tensor["dtype"] is np.float32 for tensor in interpreter.get_tensor_details())


def test_int8_embeds_as_float_does(encoder: Any, tflite: bytes) -> None:
    clean = segments(60, 3)
    parity = measure_parity(encoder, tflite, np.concatenate([clean, clean + 0.1 * segments(60, 4)]))
    assert parity.mean_cosine > MIN_COSINE
    assert parity.top1_float > 0.9
    assert abs(parity.top1_float - parity.top1_int8) < 0.05


def test_a_wrong_network_does_not_pass(tflite: bytes) -> None:
    clean = segments(40, 3)
    parity = measure_parity(make_encoder(99), tflite, np.concatenate([clean, clean]))
    assert parity.mean_cosine < 0.9
    assert not parity.passed


@pytest.mark.parametrize(
    ("parity", "passes"),
    [
        (Parity(0.995, 0.9, 0.897), True),
        (Parity(0.995, 0.9, 0.91), True),
        (Parity(0.989, 0.9, 0.9), False),
        (Parity(0.995, 0.9, 0.894), False),
        (Parity(float("nan"), 0.9, 0.9), False),
    ],
)
def test_the_gate(parity: Parity, passes: bool) -> None:
    assert parity.passed is passes


def test_top1_counts_pairs() -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert top1(vectors, vectors) == 1
    assert top1(vectors, vectors[[1, 0, 2, 3]]) == 0.5


@pytest.fixture
def through_the_gate(monkeypatch: pytest.MonkeyPatch) -> list[Parity]:
    """Measure parity, but let pass what never trained; and with codes and a cohort that are quick to make."""
    measured: list[Parity] = []

    def measure(*arguments: Any) -> Parity:
        measured.append(measure_parity(*arguments))
        return dataclasses.replace(measured[-1], top1_int8=measured[-1].top1_float)

    monkeypatch.setattr(model, "measure_parity", measure)
    monkeypatch.setattr(model, "N_COHORT", {"n_music": 90, "n_noise": 20, "n_speech": 10})
    monkeypatch.setattr(model, "N_QUALITY_PAIRS", 64)
    monkeypatch.setattr(quality, "EPOCHS", 2)
    monkeypatch.setitem(RECIPES, "trial", dataclasses.replace(RECIPES["trial"], code_bytes=(2, 3)))
    return measured


def test_a_checkpoint_becomes_a_model_that_fingerprints(
    checkpoint: Path, corpus: Path, tmp_path: Path, through_the_gate: list[Parity]
) -> None:
    output = tmp_path / "models" / "small.json"
    arguments = [str(checkpoint), "--data", str(corpus), "--output", str(output), "--cells", "16"]
    assert cli.main(["model", *arguments]) == 0
    assert through_the_gate[0].mean_cosine > MIN_COSINE
    names = ["small.cohort.npz", "small.json", "small.quality.npz", "small.quantizer.npz", "small.tflite"]
    assert sorted(path.name for path in output.parent.iterdir()) == names
    made = load_model(output)
    assert made.name == "small"
    assert made.spec == SPEC
    assert len(made.cohort.packed_cells) == 120
    assert made.quantizer.cells.shape == (16, SPEC.dim)
    assert made.quantizer.widths == tuple(np.cumsum(RECIPES["trial"].code_bytes))
    training = made.manifest["training"]
    assert (training["recipe"], training["step"]) == ("trial", 12)
    assert training["recipe_values"]["encoder"]["name"] == "residual"
    assert training["commit"]
    assert made.manifest["network"]["bytes"] == len(made.tflite)
    waveform = 0.1 * np.random.default_rng(0).standard_normal(5 * 8000).astype(np.float32)
    embeddings = fingerprint(Embedder(made), waveform)
    assert embeddings.shape == (4, SPEC.dim)
    cells, codes = made.quantizer.encode(embeddings)
    assert made.quantizer.decode(cells, codes).shape == embeddings.shape
    results = evaluate(checkpoint, [str(corpus)], output, n_queries=5, lengths_s=(2,))
    assert [result.variant for result in results] == ["float", "int8", "code"]


def test_a_recipe_with_another_spec_keeps_it(
    checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    through_the_gate: list[Parity],
) -> None:
    recipe = dataclasses.replace(RECIPES["trial"], name="other", spec=OTHER_SPEC)
    monkeypatch.setitem(RECIPES, "other", recipe)
    encoder = build_encoder(recipe.encoder, OTHER_SPEC)
    shape = (64, OTHER_SPEC.n_frames, OTHER_SPEC.frontend.n_mels, 1)
    encoder(np.random.default_rng(0).standard_normal(shape).astype(np.float32), training=True)
    path, output = tmp_path / "other.npz", tmp_path / "models" / "other.json"
    save_checkpoint(encoder.get_weights(), Progress("other", 1), path)
    export_checkpoint(path, [str(corpus)], output, n_cells=4, code_bytes=[2, 1])
    made = load_model(output)
    assert made.spec == OTHER_SPEC
    assert made.manifest["spec_digest"] == OTHER_SPEC.digest()
    assert made.quantizer.widths == (2, 3)
    assert len(made.quantizer.cells) == 4
    waveform = 0.1 * np.random.default_rng(0).standard_normal(5 * 8000).astype(np.float32)
    embeddings = fingerprint(Embedder(made), waveform)
    assert embeddings.shape == (4, OTHER_SPEC.dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    with pytest.raises(ModelError, match="have different segments"):
        evaluate(checkpoint, [str(corpus)], output, n_queries=1, lengths_s=(1,))


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("m.npz", "does not end in .json"),
        ("taken.json", "taken.tflite cannot be written"),
        ("file/m.json", "m.json cannot be written (Not a directory)"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_at_once(
    checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str, says: str
) -> None:
    (tmp_path / "taken.tflite").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.iterdir())
    arguments = [str(checkpoint), "--data", str(corpus), "--output", str(tmp_path / output)]
    assert cli.main(["model", *arguments]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert sorted(tmp_path.iterdir()) == before


def test_the_gate_refuses_and_nothing_is_written(
    checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = make_encoder(99)
    monkeypatch.setattr(model, "convert", lambda _, representative: convert(other, representative))
    monkeypatch.setattr(
        DegradedPairs,
        "batch",
        lambda _self, _rng, n: (segments(2 * n, 5), labels_of(np.arange(n, dtype=np.int32), 2)),
    )
    output = tmp_path / "models" / "small.json"
    assert cli.main(["model", str(checkpoint), "--data", str(corpus), "--output", str(output)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("overheard-export:")]
    assert "differs too much from the float network" in line
    assert not output.parent.exists()


def test_errors_of_the_command_are_one_line(
    checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(checkpoint.read_bytes()[:5000])
    other = tmp_path / "other.npz"
    save_checkpoint([np.ones(3, np.float32)], Progress("trial"), other)
    unknown = tmp_path / "unknown.npz"
    save_checkpoint([np.ones(3, np.float32)], Progress("gone"), unknown)
    data, output = ["--data", str(corpus)], tmp_path / "models" / "small.json"
    for arguments, says in (
        ([tmp_path / "none.npz", *data], "there is no checkpoint"),
        ([broken, *data], "broken.npz is damaged or not a checkpoint"),
        ([other, *data], "do not fit the network of its recipe"),
        ([unknown, *data], "unknown recipe gone"),
        ([checkpoint, "--data", tmp_path / "nowhere"], "nowhere"),
        ([checkpoint, *data, "--code-bytes", "10", "97"], "--code-bytes must be from 1 to 96 for each stage"),
        ([checkpoint, *data, "--cells", "70000"], "--cells from 1 to 32768"),
        ([checkpoint, *data, "--cells", "0"], "--cells from 1 to 32768"),
    ):
        assert cli.main(["model", *map(str, arguments), "--output", str(output)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        (line,) = [line for line in err.splitlines() if line.startswith("overheard-export: ")]
        assert says in line
    assert not output.parent.exists()


def test_networks_with_other_operators_keep_their_own_scales(caplog: pytest.LogCaptureFixture) -> None:
    recipe = RECIPES["woo-64"]
    encoder = build_encoder(Part("woo", {"size": 50, "hidden": 8}), recipe.spec)
    given = np.random.default_rng(0).standard_normal((16, recipe.spec.n_frames, recipe.spec.frontend.n_mels))
    with caplog.at_level("INFO"):
        converted = convert(encoder, given.astype(np.float32))
    assert "may round differently on other processors" in caplog.text
    assert Int8Encoder(converted)(given[:2].astype(np.float32)).shape == (2, recipe.spec.dim)
