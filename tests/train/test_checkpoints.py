"""Checkpoints on disk: what is stored, and what happens to damaged files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", reason="training needs requirements-train.txt")

from overheard.errors import ModelError
from overheard_train.checkpoints import (
    Arrays,
    Progress,
    average,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from overheard_train.encoders import build_encoder
from overheard_train.recipes import RECIPES


def test_weights_are_stored_as_float16_if_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.npz"
    rng = np.random.default_rng(0)
    weights: Arrays = [
        rng.standard_normal((3, 4)).astype(np.float32),
        np.array([1e6, 1], np.float32),
        np.zeros(0),
    ]
    progress = Progress("trial", 7, 2, 3.5, 0.25, 0.5, 9.0, [{"seed": 1}])
    save_checkpoint(weights, progress, path)
    loaded, loaded_progress = load_checkpoint(path)
    assert loaded_progress == progress
    np.testing.assert_allclose(loaded[0], weights[0], rtol=1e-3)
    np.testing.assert_array_equal(loaded[1], weights[1])
    assert len(loaded) == 3
    assert loaded[2].size == 0


@pytest.mark.parametrize("broken", ["savez", "fsync", "replace"])
def test_a_failed_save_keeps_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "x.npz"
    save_checkpoint([np.ones(3, np.float32)], Progress("trial", 1), path)

    def fail(*arguments: Any, **_named: Any) -> None:
        if broken == "savez":
            arguments[0].write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np if broken == "savez" else os, broken, fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint([np.zeros(3, np.float32)], Progress("trial", 2), path)
    monkeypatch.undo()
    weights, progress = load_checkpoint(path)
    assert progress.step == 1
    assert weights[0][0] == 1
    save_checkpoint([np.zeros(3, np.float32)], Progress("trial", 3), path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.npz"]


def test_weights_of_another_network_are_errors() -> None:
    encoders = [build_encoder(RECIPES["trial"].encoder, RECIPES["trial"].spec) for _ in range(2)]
    weights = encoders[0].get_weights()
    restore(encoders[1], weights, "it")
    for one, two in zip(weights, encoders[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for others in (weights[:-1], [*weights[:-1], weights[-1][:3]]):
        with pytest.raises(ModelError, match="the weights of it do not fit the network of its recipe"):
            restore(encoders[1], others, "it")


def garbage(path: Path) -> None:
    path.write_bytes(b"not a checkpoint at all")


def cut(path: Path) -> None:
    save_checkpoint([np.ones(1000, np.float32)], Progress("trial"), path)
    path.write_bytes(path.read_bytes()[:900])


def other_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))


def array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_fields(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, np.ones(3), progress=np.array('{"recipe": "trial", "colour": 3}'))


def holds(weights: np.ndarray, **progress: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, weights, progress=np.array(json.dumps({"recipe": "trial", **progress})))

    return write


INVALID = [
    *(holds(np.ones(3), recipe=["x"]), holds(np.ones(3), step="many"), holds(np.array(["text"]))),
    *(holds(np.ones(3), settings=["text"]), holds(np.ones(3), settings=3)),
]


@pytest.mark.parametrize("damage", [garbage, cut, other_arrays, array, empty, other_fields, *INVALID])
def test_a_damaged_checkpoint_is_a_one_line_error(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    checkpoint = tmp_path / "broken.npz"
    damage(checkpoint)
    with pytest.raises(ModelError, match=r"broken\.npz is damaged or not a checkpoint") as raised:
        load_checkpoint(checkpoint)
    assert "\n" not in str(raised.value)
    assert "pickle" not in str(raised.value)


def test_an_average_is_the_mean_of_the_weights_and_records_its_steps(tmp_path: Path) -> None:
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for step, path in enumerate(paths):
        weights = [np.full((2, 3), 1.0 + 2 * step, np.float32), np.array([step], np.float32)]
        session = {"seed": step, "schedule": {}}
        save_checkpoint(weights, Progress("tiny", 10 + step, settings=[session]), path)
    weights, progress = average(paths)
    np.testing.assert_array_equal(weights[0], np.full((2, 3), 2.0))
    np.testing.assert_array_equal(weights[1], [0.5])
    assert progress.step == 11
    assert progress.settings == [{"seed": 1, "schedule": {}, "mean_of_steps": [10, 11]}]


@pytest.mark.parametrize(("recipe", "n"), [("other", 3), ("tiny", 4)])
def test_an_average_of_different_networks_is_an_error(tmp_path: Path, recipe: str, n: int) -> None:
    save_checkpoint([np.ones(n, np.float32)], Progress(recipe), tmp_path / "a.npz")
    save_checkpoint([np.ones(3, np.float32)], Progress("tiny"), tmp_path / "b.npz")
    with pytest.raises(ModelError, match=r"a\.npz and .*b\.npz are of different networks"):
        average([tmp_path / "a.npz", tmp_path / "b.npz"])


def test_weights_that_are_not_finite_are_errors(tmp_path: Path) -> None:
    save_checkpoint([np.array([1, np.nan], np.float32)], Progress("trial"), tmp_path / "nan.npz")
    with pytest.raises(ModelError, match=r"nan\.npz holds weights that are not finite"):
        load_checkpoint(tmp_path / "nan.npz")
