"""A model's files are verified before anything uses them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from overheard.errors import ModelError
from overheard.fingerprint import model as model_module
from overheard.fingerprint import runtime
from overheard.fingerprint.model import PARTS, digest_of, load_model, quality_digest
from overheard.fingerprint.spec import FingerprintSpec
from overheard.settings import MODELS_DIR


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small shipped model; the runtime must not be used."""

    def unexpected(*_: object) -> None:
        pytest.fail("the runtime is used")

    monkeypatch.setattr(runtime, "_interpreter_class", unexpected)
    for suffix in (".json", *PARTS):
        shutil.copyfile(MODELS_DIR / f"overheard-tiny{suffix}", tmp_path / f"m{suffix}")
    assert load_model(tmp_path / "m.json").tflite
    return tmp_path / "m.json"


@pytest.mark.parametrize("suffix", PARTS)
def test_an_altered_file_is_refused_before_it_is_parsed(
    manifest: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for parser in ("Quantizer", "Cohort", "QualityEstimator"):
        monkeypatch.setattr(model_module, parser, None)  # its use would be a TypeError
    path = manifest.with_suffix(suffix)
    content = path.read_bytes()
    for position in (0, 7, len(content) // 2, len(content) - 1):
        altered = bytearray(content)
        altered[position] ^= 1
        path.write_bytes(altered)
        with pytest.raises(ModelError, match="does not match the files beside it"):
            load_model(manifest)


@pytest.mark.parametrize("suffix", [".json", *PARTS])
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(manifest: Path, suffix: str) -> None:
    manifest.with_suffix(suffix).unlink()
    os.mkfifo(manifest.with_suffix(suffix))
    with pytest.raises(ModelError, match="not a regular file"):
        load_model(manifest)


def test_a_file_that_is_far_too_large_is_not_read(manifest: Path) -> None:
    os.truncate(manifest.with_suffix(".tflite"), 1 << 40)  # takes no space
    with pytest.raises(ModelError, match="larger than"):
        load_model(manifest)


@pytest.mark.parametrize("suffix", [".quantizer.npz", ".cohort.npz", ".quality.npz"])
def test_damaged_compression_under_a_correct_digest_is_refused(manifest: Path, suffix: str) -> None:
    """Zlib's own exception must not escape."""
    path = manifest.with_suffix(suffix)
    content = path.read_bytes()
    start = content.index(b".npy") + 200
    path.write_bytes(content[:start] + b"\xff" * 64 + content[start + 64 :])
    facts = json.loads(manifest.read_text())
    tflite, quantizer, cohort, quality = (manifest.with_suffix(part).read_bytes() for part in PARTS)
    facts["digest"] = digest_of(FingerprintSpec.from_dict(facts["spec"]), tflite, quantizer, cohort)
    facts["quality_digest"] = quality_digest(quality)
    manifest.write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="is invalid"):
        load_model(manifest)


def tensor(dtype: type = np.int8, scale: float = 0.1) -> dict[str, Any]:
    """Return what the runtime says about a tensor."""
    return {"dtype": dtype, "shape": np.array([1, 2]), "quantization": (scale, 0), "index": 0}


@pytest.mark.parametrize(
    ("inputs", "outputs", "problem"),
    [
        ([tensor(), tensor()], [tensor()], "has 2 inputs instead of one"),
        ([], [tensor()], "has 0 inputs instead of one"),
        ([tensor()], [tensor(), tensor()], "has 2 outputs instead of one"),
        ([tensor(np.float32)], [tensor()], "has an input that is not int8"),
        ([tensor()], [tensor(np.uint8)], "has an output that is not int8"),
        ([tensor(scale=0.0)], [tensor()], "has an input without a scale"),
        ([tensor()], [tensor(scale=float("nan"))], "has an output without a scale"),
    ],
)
def test_a_network_of_another_form_is_refused(
    inputs: list[Any], outputs: list[Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interpreter:
        def __init__(self, **_: object) -> None: ...
        def allocate_tensors(self) -> None: ...
        def get_input_details(self) -> list[Any]:
            return inputs

        def get_output_details(self) -> list[Any]:
            return outputs

    monkeypatch.setattr(runtime, "_interpreter_class", lambda _runtime: Interpreter)
    with pytest.raises(ModelError, match=f"the network {problem}; export the model"):
        runtime.Network(b"")
