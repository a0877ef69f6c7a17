"""The command line of training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras", reason="training needs requirements-train.txt")

import train_corpus
from overheard.errors import OverheardError
from overheard_train import cli
from overheard_train.checkpoints import Progress, load_checkpoint, save_checkpoint
from overheard_train.encoders import build_encoder
from overheard_train.recipes import RECIPES, find_recipe


def test_recipes_are_found_by_name() -> None:
    assert all(find_recipe(name).name == name for name in RECIPES)
    with pytest.raises(OverheardError, match="unknown recipe resnext; choose one of nafp, nafp-small, nmfp"):
        find_recipe("resnext")


def error_line(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """Run in this process; return the one line that it prints."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("overheard-train: ")]
    assert out == ""
    assert len(lines) == 1
    assert "Traceback" not in err
    return lines[0]


def test_mistakes_are_one_line_errors(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, old, broken = (tmp_path / name for name in ("new.npz", "old.npz", "broken.npz"))
    save_checkpoint([np.ones(3, np.float32)], Progress("nmfp", 5), old)
    broken.write_bytes(b"no checkpoint at all")
    other = tmp_path / "other.npz"
    save_checkpoint([np.ones(3, np.float32)], Progress("trial", 5), other)
    fit, data = ["fit", "--recipe", "trial"], ["--data", corpus]
    (tmp_path / "taken.json").mkdir()
    gone, unscheduled, short = (tmp_path / name for name in ("gone.npz", "unscheduled.npz", "short"))
    save_checkpoint([np.ones(3, np.float32)], Progress("trial", 5, settings=[{}]), unscheduled)
    save_checkpoint([np.ones(3, np.float32)], Progress("gone", 5), gone)
    train_corpus.write_corpus(short, music_s=1.0)
    (tmp_path / "curves").write_text("a file")
    for arguments, says in (
        (["fit", "--recipe", "big", *data], "unknown recipe big; choose one of nafp"),
        ([*fit, "--data", tmp_path / "none", "--checkpoint", new], "none"),
        ([*fit, "--data", tmp_path / "none", "--checkpoint", other, "--resume"], "none"),
        ([*fit, *data, "--checkpoint", new, "--resume"], "there is no checkpoint"),
        ([*fit, *data, "--checkpoint", old], "old.npz exists; continue it with --resume"),
        ([*fit, *data, "--checkpoint", new, "--restart"], "; add --resume"),
        ([*fit, *data, "--checkpoint", old, "--resume", "--seed", "4"], "keeps its seed; omit --seed"),
        ([*fit, *data, "--checkpoint", old, "--resume"], "is of the recipe nmfp; add --recipe nmfp"),
        ([*fit, *data, "--checkpoint", broken, "--resume"], "broken.npz is damaged or not a checkpoint"),
        ([*fit, *data, "--checkpoint", tmp_path / "new"], "must end in .npz"),
        (
            [*fit, *data, "--checkpoint", broken / "x.npz"],
            "x.npz cannot be written (Not a directory); give another",
        ),
        ([*fit, *data, "--checkpoint", tmp_path / "taken.npz"], "taken.json cannot be written"),
        ([*fit, *data, "--checkpoint", gone, "--resume"], "unknown recipe gone"),
        ([*fit, *data, "--checkpoint", unscheduled, "--resume"], "begin a new schedule with --restart"),
        ([*fit, "--data", short, "--checkpoint", new], "the split train has 0 tracks of 1.6 s or longer"),
        ([*fit, *data, "--checkpoint", new, "--tensorboard", tmp_path / "curves"], "curves is not a folder"),
        (["evaluate", new, *data], "there is no checkpoint"),
        (["evaluate", broken, *data], "broken.npz is damaged or not a checkpoint"),
        (["evaluate", other, *data], "do not fit the network of its recipe"),
        (["profile", "--recipe", "big", *data], "unknown recipe big"),
        (["profile", "--data", tmp_path / "none"], "none"),
        (["data", "--data", tmp_path / "none"], "none"),
    ):
        assert says in error_line(arguments, capsys), arguments
    assert not new.exists()
    assert load_checkpoint(old)[1].step == 5


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--steps", "0"], ["--steps", "1e3"], ["--workers", "-1"], ["--workers", "many"]),
        *(["--seed", "-1"], ["--seed", "99999999999"]),
        *(["--minutes", "-3"], ["--cpu-minutes", "nan"], ["--learning-rate-scale", "0"]),
    ],
)
def test_invalid_numbers_are_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(["fit", *arguments])
    assert raised.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert f"argument {arguments[0]}: " in line
    assert "invalid" not in line


def test_recipes_are_listed_with_their_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    assert "1711.10958" in next(line for line in lines if line.startswith("now_playing"))


def test_profile_prints_times_and_speeds(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import keras

    assert cli.main(["profile", "--recipe", "trial", "--data", str(corpus)]) == 0
    keras.mixed_precision.set_global_policy("float32")
    result = json.loads(capsys.readouterr().out)
    assert result.pop("recipe") == "trial"
    assert len(result) >= 5
    assert result.pop("precision") in ("float32", "mixed_bfloat16")
    assert all(value > 0 for value in result.values())


def test_the_command_line_does_not_import_numpy_before_limiting_its_threads() -> None:
    code = "import sys, overheard_train.cli; print('numpy' in sys.modules)"
    path = os.pathsep.join(str(Path(__file__).parents[2] / folder) for folder in ("device", "train"))
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout == "False\n", done.stderr


def test_an_average_is_a_new_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, mean = tmp_path / "one.npz", tmp_path / "mean.npz"
    recipe = RECIPES["trial"]
    weights = build_encoder(recipe.encoder, recipe.spec).get_weights()
    save_checkpoint(weights, Progress("trial", 5, settings=[{"schedule": {}}]), one)
    assert cli.main(["average", str(one), str(one), "--checkpoint", str(mean)]) == 0
    assert "the mean of 2 checkpoints of trial" in capsys.readouterr().out
    assert json.loads(mean.with_suffix(".json").read_text())["progress"]["settings"] == [
        {"schedule": {}, "mean_of_steps": [5, 5]}
    ]
    before = mean.read_bytes()
    assert "mean.npz exists; give another" in error_line(["average", one, "--checkpoint", mean], capsys)
    other, gone = tmp_path / "other.npz", tmp_path / "gone.npz"
    assert "needs two checkpoints or more" in error_line(["average", one, "--checkpoint", other], capsys)
    for recipe_name, says in (
        ("trial", "do not fit the network of its recipe"),
        ("gone", "unknown recipe gone"),
    ):
        save_checkpoint([np.ones(3, np.float32)], Progress(recipe_name), gone)
        assert says in error_line(["average", gone, gone, "--checkpoint", other], capsys)
        assert not other.exists()
    assert "must end in .npz" in error_line(["average", one, "--checkpoint", tmp_path / "mean"], capsys)
    assert mean.read_bytes() == before
