"""The automatic choice of a model, with invented costs."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_spaces import join_space

from overheard.errors import ModelError
from overheard.fingerprint import model_choice
from overheard.fingerprint.model import PARTS
from overheard.settings import MODELS_DIR, Settings
from overheard.settings import schema as settings_schema


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models: the shipped one, a smaller one in its space, and one of another space."""
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("overheard", "overheard-tiny"):
        for suffix in (".json", *PARTS):
            shutil.copyfile(MODELS_DIR / f"{name}{suffix}", folder / f"{name}{suffix}")
    join_space(folder)
    for module in (model_choice, settings_schema):
        monkeypatch.setattr(module, "MODELS_DIR", folder)
    return folder


def costs(**shares: float) -> Callable[[Path], float]:
    """Return a measurement with given results, which must be asked once for each model."""
    left = dict(shares)
    return lambda path: left.pop(path.stem)


def test_candidates_are_the_models_of_the_default_space_by_size(models: Path) -> None:
    assert model_choice.candidates() == ["overheard", "student"]


def test_a_network_of_an_earlier_space_of_the_same_name_is_no_candidate(models: Path) -> None:
    manifest = json.loads((models / "overheard.json").read_text())
    manifest["digest"] = "0" * 16  # the default model was exported again
    (models / "overheard.json").write_text(json.dumps(manifest))
    assert model_choice.candidates() == ["overheard"]


@pytest.mark.parametrize(
    ("shares", "chosen"),
    [
        ({"overheard": 0.029, "student": 0.01}, "overheard"),
        ({"overheard": 0.031, "student": 0.01}, "student"),
        ({"overheard": 0.5, "student": 0.2}, "student"),
    ],
)
def test_the_largest_affordable_model_is_chosen(
    models: Path, tmp_path: Path, shares: dict[str, float], chosen: str
) -> None:
    found = model_choice.choose(tmp_path / "data", costs(**shares))
    assert (found.name, found.shares) == (chosen, shares)


def test_the_measurement_is_remembered(models: Path, tmp_path: Path) -> None:
    first = model_choice.choose(tmp_path, costs(overheard=0.05, student=0.01))

    def again(_path: Path) -> float:
        pytest.fail("measured again")

    assert model_choice.choose(tmp_path, again) == first


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"key": 1}',
        '{"key": "%s", "shares": {"overheard": "x"}}',
        '{"key": "%s", "shares": []}',
        '{"key": "%s", "shares": {"overheard": 0.0, "student": 0.0}}',
        '{"key": "%s", "shares": {"overheard": NaN, "student": 0.02}}',
        '{"key": "%s", "shares": {"overheard": 1e9, "student": 0.02}}',
    ],
)
def test_a_damaged_memory_is_replaced(models: Path, tmp_path: Path, content: str) -> None:
    model_choice.choose(tmp_path, costs(overheard=0.05, student=0.01))
    path = tmp_path / model_choice.FILE
    key = json.loads(path.read_text())["key"]
    path.write_text(content.replace("%s", key))
    assert model_choice.choose(tmp_path, costs(overheard=0.01, student=0.01)).name == "overheard"
    assert json.loads(path.read_text())["shares"]["overheard"] == 0.01


def test_another_processor_or_network_is_measured(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_choice.choose(tmp_path, costs(overheard=0.05, student=0.01))
    monkeypatch.setattr(model_choice, "processor", lambda: "another")
    assert model_choice.choose(tmp_path, costs(overheard=0.02, student=0.01)).name == "overheard"


def test_a_folder_that_cannot_be_written_is_no_error(models: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert model_choice.choose(tmp_path / "file" / "x", costs(overheard=0.05, student=0.01)).name == "student"


def test_the_only_candidate_is_not_measured(tmp_path: Path, models: Path) -> None:
    (models / "student.json").unlink()
    assert model_choice.choose(tmp_path / "data", costs()).name == "overheard"
    assert not (tmp_path / "data").exists()


def test_a_candidate_without_its_network_is_an_error_with_a_remedy(tmp_path: Path, models: Path) -> None:
    (models / "student.tflite").unlink()
    with pytest.raises(ModelError, match=r"student.tflite \(No such file.*reinstall overheard"):
        model_choice.choose(tmp_path, costs())


def test_an_explicit_setting_wins(models: Path, tmp_path: Path) -> None:
    model_choice.choose(tmp_path, costs(overheard=0.05, student=0.01))
    for name, stem in (("auto", "student"), ("", "student"), ("large", "overheard"), ("student", "student")):
        assert model_choice.model_path(Settings(data_dir=tmp_path, model=name)) == models / f"{stem}.json"


def test_a_name_without_a_model_is_an_error_with_the_names_that_there_are(
    models: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"no model 'tiny'; set model to auto, overheard, student, or"):
        model_choice.model_path(Settings(data_dir=tmp_path, model="tiny"))
    assert model_choice.model_path(Settings(data_dir=tmp_path, model="a/b.json")) == Path("a/b.json")
    for name in (" auto", "x" * 5000, "a\nb"):
        with pytest.raises(ModelError, match="there is no model '") as raised:
            model_choice.model_path(Settings(data_dir=tmp_path, model=name))
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 600


def test_a_model_that_will_be_removed_is_used_with_a_warning(
    models: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, model="overheard-tiny")
    monkeypatch.setattr(model_choice, "RETIRED", {"overheard-tiny": "student"})
    with caplog.at_level(logging.WARNING):
        assert model_choice.open_model(settings).name == "overheard-tiny"
    assert caplog.text.count("overheard index FOLDER") == 1
    caplog.clear()
    model_choice.model_path(settings)  # only who loads it warns, so that each command does so once
    model_choice.open_model(Settings(data_dir=tmp_path, model="large"))
    assert not caplog.text


def test_a_real_measurement_is_a_share(models: Path) -> None:
    share = model_choice.listening_share(models / "student.json")
    assert model_choice.OTHER_SHARE < share < 10


@pytest.mark.parametrize(("run_s", "n_runs"), [(1.5, 1), (0.08, 3), (0.001, model_choice.MAX_RUNS)])
def test_a_slow_model_is_measured_with_few_runs(
    models: Path, monkeypatch: pytest.MonkeyPatch, run_s: float, n_runs: int
) -> None:
    runs: list[float] = []

    def run(*_: object) -> float:
        runs.append(run_s)
        return run_s

    monkeypatch.setattr(model_choice, "_run_s", run)
    share = model_choice.listening_share(models / "student.json")
    assert len(runs) == n_runs
    assert share == pytest.approx(model_choice.OTHER_SHARE + model_choice.SEGMENTS_PER_S * run_s)


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A processor\nmodel name\t: A processor\n")
    assert model_choice.processor(info).startswith("A processor, ")
    assert model_choice.processor(tmp_path / "missing")
