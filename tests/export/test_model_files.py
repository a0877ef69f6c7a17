"""A model's files: what is written is loaded, and what is altered is refused."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="exporting a model needs requirements-train.txt")

from small_models import COHORT, make_quality, make_quantizer

from overheard.errors import ModelError
from overheard.fingerprint import model
from overheard.fingerprint.model import load_model
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.spec import SPEC
from overheard_export.model_files import write_model


@pytest.fixture(scope="module")
def quantizer() -> Quantizer:
    return make_quantizer(0, 8, 10, 12)


def test_a_written_model_is_loaded_and_an_altered_one_refused(
    tflite: bytes, quantizer: Quantizer, tmp_path: Path
) -> None:
    path = tmp_path / "deep" / "m.json"
    write_model(path, SPEC, tflite, quantizer, COHORT, make_quality(), {"training": {"recipe": "trial"}})
    made = load_model(path)
    assert made.tflite == tflite
    assert made.manifest["training"] == {"recipe": "trial"}
    assert made.digest == json.loads(path.read_text())["digest"]
    for name in ("m.tflite", "m.quantizer.npz", "m.cohort.npz", "m.quality.npz"):
        file = path.with_name(name)
        whole = file.read_bytes()
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        for altered in (bytes(flipped), whole[:-100], b""):
            file.write_bytes(altered)
            with pytest.raises(ModelError) as raised:
                load_model(path)
            assert "\n" not in str(raised.value)
            assert "m.json" in str(raised.value)
        file.unlink()
        with pytest.raises(ModelError):
            load_model(path)
        file.write_bytes(whole)
    assert load_model(path).digest == made.digest


@pytest.mark.parametrize("content", ["", "[]", "{}", "nonsense", '{"manifest_version": 99}'])
def test_an_invalid_manifest_is_an_error(
    tflite: bytes, quantizer: Quantizer, tmp_path: Path, content: str
) -> None:
    path = tmp_path / "m.json"
    write_model(path, SPEC, tflite, quantizer, COHORT, make_quality(), {})
    path.write_text(content)
    path.with_name("m.quality.npz").unlink()  # an older version's model lacks files of this one's
    with pytest.raises(ModelError) as raised:
        load_model(path)
    assert "\n" not in str(raised.value)
    assert "quality" not in str(raised.value)


def test_a_missing_model_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"m\.json .*give the \.json file"):
        load_model(tmp_path / "m.json")
    monkeypatch.setattr(model, "MODELS_DIR", tmp_path)
    with pytest.raises(ModelError, match="reinstall overheard"):
        load_model()


def test_an_invalid_spec_is_an_error(tflite: bytes, quantizer: Quantizer, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    write_model(path, SPEC, tflite, quantizer, COHORT, make_quality(), {})
    manifest = json.loads(path.read_text())
    whole = manifest["spec"]
    fewer = {name: value for name, value in whole.items() if name != "dim"}
    changed = [whole | change for change in ({"n_frames": 44}, {"colour": 3}, {"frontend": 1})]
    for spec in (*changed, fewer, "text", [], None):
        path.write_text(json.dumps(manifest | {"spec": spec}))
        with pytest.raises(ModelError):
            load_model(path)


@pytest.mark.parametrize("failing", [1, 2, 3, 4, 5])
def test_a_failed_write_keeps_the_earlier_model(
    tflite: bytes, quantizer: Quantizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    path = tmp_path / "m.json"
    write_model(path, SPEC, tflite, quantizer, COHORT, make_quality(), {})
    before = {file.name: hashlib.sha256(file.read_bytes()).digest() for file in tmp_path.iterdir()}
    calls = 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += stat.S_ISREG(os.fstat(descriptor).st_mode)
        if calls == failing:
            raise OSError("no space left on device")

    other = make_quantizer(1, 4, 2)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="no space"):
        write_model(path, SPEC, tflite + b"\0", other, COHORT, make_quality(), {})
    assert {file.name: hashlib.sha256(file.read_bytes()).digest() for file in tmp_path.iterdir()} == before
    load_model(path)
