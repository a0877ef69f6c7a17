"""A network joins the space of the shipped model, through a gate."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting a model needs requirements-train.txt")

from small_models import make_encoder, segments

import train_corpus
from overheard.errors import ModelError
from overheard.fingerprint.model import PARTS, default_model, load_model
from overheard.settings import MODELS_DIR
from overheard_export import joining, model, quality
from overheard_export.joining import Agreement, measure_agreement
from overheard_export.model import export_checkpoint
from overheard_export.parity import Parity
from overheard_train.checkpoints import Progress, save_checkpoint
from overheard_train.recipes import RECIPES


@pytest.mark.parametrize(
    ("agreement", "passes"),
    [
        (Agreement(0.95, 0.92, 0.90, 0.91, 0.9), True),
        (Agreement(0.88, 0.92, 0.90, 0.91, 0.9), False),
        (Agreement(0.95, 0.92, 0.80, 0.91, 0.9), False),
        (Agreement(0.95, 0.92, 0.91, 0.80, 0.9), False),
        (Agreement(0.95, 0.92, 0.90, 0.91, 0.8), False),
        (Agreement(float("nan"), 0.92, 0.91, 0.91, 0.9), False),
        (Agreement(0.95, 0.92, 0.91, float("nan"), 0.9), False),
        (Agreement(0.95, 0.92, 0.91, 0.91, float("nan")), False),
    ],
)
def test_the_gate(agreement: Agreement, passes: bool) -> None:
    assert agreement.passed is passes


def test_a_network_agrees_with_itself() -> None:
    clean = segments(30, 3)
    teacher = default_model()
    pairs = np.concatenate([clean, clean + 0.1 * segments(30, 4)])
    agreement = measure_agreement(teacher.tflite, teacher.tflite, pairs, teacher.references)
    assert agreement.margin == pytest.approx(1, abs=1e-5)
    assert agreement.mean_cosine == pytest.approx(1, abs=1e-5)
    assert agreement.teacher == agreement.asking == agreement.indexing > 0.5


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[str], Path]:
    """A checkpoint that never trained, the data, and a folder with the files of the shipped space."""
    monkeypatch.setitem(
        RECIPES, "student", dataclasses.replace(RECIPES["trial"], name="student", space="overheard")
    )
    monkeypatch.setattr(model, "measure_parity", lambda *_: Parity(1.0, 0.5, 0.5))
    monkeypatch.setattr(joining, "N_QUALITY_PAIRS", 64)
    monkeypatch.setattr(quality, "EPOCHS", 2)
    checkpoint, folder = tmp_path / "student.npz", tmp_path / "models"
    save_checkpoint(make_encoder(1).get_weights(), Progress("student", 12), checkpoint)
    folder.mkdir()
    for suffix in (".json", *PARTS):
        shutil.copyfile(MODELS_DIR / f"overheard{suffix}", folder / f"overheard{suffix}")
    return checkpoint, [str(train_corpus.write_corpus(tmp_path / "corpus"))], folder / "student.json"


def test_a_network_that_never_trained_is_refused(exported: tuple[Path, list[str], Path]) -> None:
    checkpoint, data, output = exported
    with pytest.raises(ModelError, match=r"does not fit into the space of overheard.*train longer"):
        export_checkpoint(checkpoint, data, output)
    assert not output.exists()


def test_a_network_shares_the_files_of_its_space(exported: tuple[Path, list[str], Path]) -> None:
    checkpoint, data, output = exported
    export_checkpoint(checkpoint, data, output, gate=False)
    names = {path.name for path in output.parent.glob("student*")}
    assert names == {"student.json", "student.quality.npz", "student.tflite"}
    made, teacher = load_model(output), default_model()
    assert (made.space, made.digest) == (teacher.space, teacher.digest)
    assert made.network_digest != teacher.network_digest
    assert made.manifest["scoring"] == teacher.manifest["scoring"]  # until it is calibrated
    assert set(made.manifest["metrics"]["agreement"]) == {
        "mean_cosine",
        "teacher",
        "asking",
        "indexing",
        "margin",
    }


def test_a_network_is_written_beside_the_files_of_its_space(
    exported: tuple[Path, list[str], Path], tmp_path: Path
) -> None:
    checkpoint, data, output = exported
    with pytest.raises(ModelError, match=r"would not be beside the files of its space.*write it beside"):
        export_checkpoint(checkpoint, data, tmp_path / "alone" / output.name)


def test_a_network_does_not_replace_the_model_that_it_joins(exported: tuple[Path, list[str], Path]) -> None:
    checkpoint, data, output = exported
    teacher = output.with_name("overheard.json")
    before = {path.name: path.read_bytes() for path in output.parent.iterdir()}
    with pytest.raises(ModelError, match=r"would replace the model.*use --output .*student\.json"):
        export_checkpoint(checkpoint, data, teacher, gate=False)
    assert {path.name: path.read_bytes() for path in output.parent.iterdir()} == before


def test_without_output_a_recipe_gets_a_model_of_its_own_name() -> None:
    assert model.default_output("small") == MODELS_DIR / "small.json"


@pytest.mark.parametrize("options", [{"n_cells": 64}, {"code_bytes": [4, 4]}])
def test_the_space_fixes_cells_and_codes(
    exported: tuple[Path, list[str], Path], options: dict[str, Any]
) -> None:
    checkpoint, data, output = exported
    with pytest.raises(ModelError, match=r"overheard fixes the cells and codes.*omit --cells"):
        export_checkpoint(checkpoint, data, output, **options)
