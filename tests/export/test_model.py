from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting a model needs requirements-train.txt")

import train_corpus  # noqa: E402
from overheard.cohort import Cohort  # noqa: E402
from overheard.embedder import Embedder, fingerprint, load_model  # noqa: E402
from overheard.errors import ModelError  # noqa: E402
from overheard.quantizer import Quantizer  # noqa: E402
from overheard.spec import SPEC  # noqa: E402
from overheard_export import cli, model  # noqa: E402
from overheard_export.codebooks import kmeans, train_quantizer  # noqa: E402
from overheard_export.model import Parity, measure_parity, write_model  # noqa: E402
from overheard_train.augment import PairMaker  # noqa: E402
from overheard_train.recipes import RECIPES  # noqa: E402
from overheard_train.train import Progress, save_checkpoint  # noqa: E402

TINY = RECIPES["tiny"]
COHORT = Cohort(np.zeros(5, dtype=np.uint16), np.arange(120, dtype=np.uint8).reshape(5, 24))


def make_encoder(seed: int) -> Any:
    """A network as small as can be, with statistics as training leaves them."""
    import keras

    from overheard_train.models import build_encoder

    keras.utils.set_random_seed(seed)
    keras.mixed_precision.set_global_policy("float32")
    encoder = build_encoder(TINY.widths, TINY.blocks)
    encoder(segments(64, seed)[..., None], training=True)
    return encoder


def segments(n: int, seed: int) -> np.ndarray:
    """Smooth random pictures, normalized as segments are."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((n, SPEC.n_frames // 4, SPEC.frontend.n_mels // 4)).astype(np.float32)
    fine = coarse.repeat(4, axis=1).repeat(4, axis=2) + 0.2 * rng.standard_normal(
        (n, SPEC.n_frames, SPEC.frontend.n_mels)
    )
    return (fine - fine.mean(axis=(1, 2), keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder() -> Any:
    return make_encoder(1)


@pytest.fixture(scope="module")
def tflite(encoder: Any) -> bytes:
    return model.convert(encoder, segments(64, 2))


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    return train_quantizer(unit(0, 600, SPEC.dim), 8, 24)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_corpus.write_corpus(tmp_path_factory.mktemp("export") / "corpus")


@pytest.fixture
def checkpoint(encoder: Any, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.npz"
    save_checkpoint(encoder.get_weights(), Progress("tiny", 12), path)
    return path


def unit(seed: int, n: int, dim: int) -> np.ndarray:
    """Unit vectors about some centres, as embeddings are."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((20, dim))[rng.integers(20, size=n)] + 0.5 * rng.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_the_network_is_int8_through_and_through(tflite: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=tflite)
    interpreter.allocate_tensors()
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["dtype"] is np.int8 and returned["dtype"] is np.int8
    assert tuple(given["shape"]) == (1, SPEC.n_frames, SPEC.frontend.n_mels, 1)
    assert tuple(returned["shape"]) == (1, SPEC.dim)
    operators = collections.Counter(
        operator["op_name"]
        for operator in interpreter._get_ops_details()
        if operator["op_name"] != "DELEGATE"
    )
    assert not {"DEQUANTIZE", "QUANTIZE", "CAST"} & set(operators), operators
    assert operators["CONV_2D"] == 4 and operators["L2_NORMALIZATION"] == 1
    assert operators.total() <= 8, operators  # batch norm and ReLU are part of the convolutions
    assert not any(tensor["dtype"] is np.float32 for tensor in interpreter.get_tensor_details())


def test_int8_embeds_as_float_does(encoder: Any, tflite: bytes) -> None:
    clean = segments(60, 3)
    parity = measure_parity(encoder, tflite, np.concatenate([clean, clean + 0.1 * segments(60, 4)]))
    assert parity.mean_cosine > model.MIN_COSINE
    assert parity.top1_float > 0.9 and abs(parity.top1_float - parity.top1_int8) < 0.05


def test_a_wrong_network_does_not_pass(tflite: bytes) -> None:
    clean = segments(40, 3)
    parity = measure_parity(make_encoder(99), tflite, np.concatenate([clean, clean]))
    assert parity.mean_cosine < 0.9 and not parity.passed


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
    assert model.top1(np.concatenate([vectors, vectors])) == 1
    assert model.top1(np.concatenate([vectors, vectors[[1, 0, 2, 3]]])) == 0.5


def test_a_checkpoint_becomes_a_model_that_fingerprints(
    checkpoint: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Parity] = []

    def measure(*arguments: Any) -> Parity:  # a network that never trained may lose more than the gate allows
        measured.append(measure_parity(*arguments))
        return dataclasses.replace(measured[0], top1_int8=measured[0].top1_float)

    monkeypatch.setattr(model, "measure_parity", measure)
    output = tmp_path / "models" / "small.json"
    arguments = [str(checkpoint), "--data", str(corpus), "--output", str(output), "--cells", "16"]
    assert cli.main(["model", *arguments]) == 0
    assert measured[0].mean_cosine > model.MIN_COSINE
    names = ["small.cohort.npz", "small.json", "small.quantizer.npz", "small.tflite"]
    assert sorted(path.name for path in output.parent.iterdir()) == names
    made = load_model(output)
    assert made.name == "small" and made.spec == SPEC
    assert made.quantizer.cells.shape == (16, SPEC.dim) and made.quantizer.code_bytes == 24
    training = made.manifest["training"]
    assert (training["recipe"], training["step"]) == ("tiny", 12)
    assert training["recipe_values"]["widths"] == list(TINY.widths) and training["commit"]
    assert made.manifest["network"]["bytes"] == len(made.tflite)
    waveform = 0.1 * np.random.default_rng(0).standard_normal(5 * 8000).astype(np.float32)
    embeddings = fingerprint(Embedder(made), waveform)
    assert embeddings.shape == (4, SPEC.dim)
    cells, codes = made.quantizer.encode(embeddings)
    assert made.quantizer.decode(cells, codes).shape == embeddings.shape


def test_the_gate_refuses_and_nothing_is_written(
    checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = make_encoder(99)
    convert = model.convert
    monkeypatch.setattr(model, "convert", lambda _, representative: convert(other, representative))
    monkeypatch.setattr(PairMaker, "batch", lambda _self, _rng, n_pairs: segments(2 * n_pairs, 5))
    output = tmp_path / "models" / "small.json"
    assert cli.main(["model", str(checkpoint), "--data", str(corpus), "--output", str(output)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("overheard-export:")]
    assert "refusing to write: cosine" in line
    assert not output.parent.exists()


def test_errors_of_the_command_are_one_line(
    checkpoint: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.npz"
    broken.write_bytes(checkpoint.read_bytes()[:5000])
    other = tmp_path / "other.npz"
    save_checkpoint([np.ones(3, np.float32)], Progress("tiny"), other)
    unknown = tmp_path / "unknown.npz"
    save_checkpoint([np.ones(3, np.float32)], Progress("gone"), unknown)
    data, output = ["--data", str(corpus)], tmp_path / "models" / "small.json"
    for arguments, says in (
        ([tmp_path / "none.npz", *data], "there is no checkpoint"),
        ([broken, *data], "broken.npz is no checkpoint"),
        ([other, *data], "another network"),
        ([unknown, *data], "no recipe gone"),
        ([checkpoint, "--data", tmp_path / "nowhere"], "there is no corpus in"),
        ([checkpoint, "--data", tmp_path], "has no manifest.csv"),
        ([checkpoint, *data, "--code-bytes", "7"], "--code-bytes must divide 96"),
        ([checkpoint, *data, "--cells", "70000"], "--cells be 1 to 65536"),
    ):
        assert cli.main(["model", *map(str, arguments), "--output", str(output)]) == 2
        out, err = capsys.readouterr()
        assert out == "" and "Traceback" not in err
        (line,) = [line for line in err.splitlines() if line.startswith("overheard-export: ")]
        assert says in line
    assert not output.parent.exists()


def test_a_written_model_is_loaded_and_an_altered_one_refused(
    tflite: bytes, quantizer: Quantizer, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "m.json"
    write_model(path, tflite, quantizer, COHORT, {"training": {"recipe": "tiny"}})
    made = load_model(path)
    assert made.tflite == tflite and made.manifest["training"] == {"recipe": "tiny"}
    assert made.digest == json.loads(path.read_text())["digest"]
    for name in ("m.tflite", "m.quantizer.npz", "m.cohort.npz"):
        file = path.with_name(name)
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for altered in (bytes(flipped), whole[:-100], b""):
            file.write_bytes(altered)
            with pytest.raises(ModelError) as raised:
                load_model(path)
            assert "\n" not in str(raised.value) and "m.json" in str(raised.value)
        file.unlink()
        with pytest.raises(ModelError):
            load_model(path)
        file.write_bytes(whole)
    assert load_model(path).digest == made.digest


@pytest.mark.parametrize("content", ["", "[]", "{}", "nonsense", '{"manifest_version": 99}'])
def test_a_manifest_that_is_none_is_refused(
    tflite: bytes, quantizer: Quantizer, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "m.json"
    write_model(path, tflite, quantizer, COHORT, {})
    path.write_text(content)
    with pytest.raises(ModelError) as raised:
        load_model(path)
    assert "\n" not in str(raised.value)


def test_a_spec_of_another_version_is_refused(tflite: bytes, quantizer: Quantizer, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_model(path, tflite, quantizer, COHORT, {})
    manifest = json.loads(path.read_text())
    for change in ({"n_frames": 44}, {"colour": 3}, {"frontend": 1}):
        path.write_text(json.dumps(manifest | {"spec": manifest["spec"] | change}))
        with pytest.raises(ModelError):
            load_model(path)


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_writing_that_breaks_leaves_the_model_before(
    tflite: bytes, quantizer: Quantizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    path = tmp_path / "m.json"
    write_model(path, tflite, quantizer, COHORT, {})
    before = {file.name: hashlib.sha256(file.read_bytes()).digest() for file in tmp_path.iterdir()}
    calls = 0

    def fsync(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="no space"):
        write_model(path, tflite + b"\0", train_quantizer(unit(1, 300, SPEC.dim), 4, 24), COHORT, {})
    assert {file.name: hashlib.sha256(file.read_bytes()).digest() for file in tmp_path.iterdir()} == before
    load_model(path)


def test_kmeans_finds_what_random_points_do_not() -> None:
    rng = np.random.default_rng(0)
    points = unit(2, 2000, 8)

    def error(centres: np.ndarray) -> float:
        return float(np.min(((points[:, None] - centres) ** 2).sum(axis=2), axis=1).mean())

    centres = kmeans(points, 20, np.random.default_rng(1))
    assert centres.shape == (20, 8) and np.isfinite(centres).all()
    assert error(centres) < 0.75 * error(points[rng.choice(len(points), 20, replace=False)])
    np.testing.assert_array_equal(centres, kmeans(points, 20, np.random.default_rng(1)))


def test_kmeans_takes_fewer_points_than_centres_and_equal_ones() -> None:
    points = np.repeat(unit(3, 3, 4), 2, axis=0)
    centres = kmeans(points, 16, np.random.default_rng(0), 4)
    assert centres.shape == (16, 4) and np.isfinite(centres).all()
    for point in points:
        assert np.abs(centres - point).sum(axis=1).min() < 1e-5


def test_a_trained_quantizer_is_nearer_than_a_random_one() -> None:
    dim, parts = 16, 4
    seen, unseen = np.split(unit(4, 4000, dim), [3000])
    trained = train_quantizer(seen, 16, parts)
    np.testing.assert_allclose(trained.rotation @ trained.rotation.T, np.eye(dim), atol=1e-4)
    rng = np.random.default_rng(5)
    residuals = seen - seen[rng.integers(len(seen), size=len(seen))]
    words = [residuals[rng.integers(len(seen), size=256), part * 4 : part * 4 + 4] for part in range(parts)]
    random = Quantizer(seen[:16], np.eye(dim, dtype=np.float32), np.stack(words))

    def error(quantizer: Quantizer) -> float:
        return float(np.mean(np.sum((quantizer.decode(*quantizer.encode(unseen)) - unseen) ** 2, axis=1)))

    assert error(trained) < 0.6 * error(random)
    assert error(train_quantizer(seen, 16, 8)) < 0.6 * error(trained)  # more bytes, less error
