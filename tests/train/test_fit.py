"""Training within the test process."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras", reason="training needs requirements-train.txt")

import keras
from batches_here import BatchesHere

from overheard.errors import OverheardError
from overheard_train import callbacks, fit
from overheard_train.checkpoints import Progress, load_checkpoint, load_state, state_path
from overheard_train.fit import Options
from overheard_train.pair_model import has_bfloat16_instructions, make_model
from overheard_train.pairs import Batch, labels_of
from overheard_train.recipes import RECIPES, Recipe
from overheard_train.schedule import Budget, Schedule

TRIAL = dataclasses.replace(RECIPES["trial"], n_pairs=8)
N_QUEUE = TRIAL.loss.options["queue"]


class Interrupt(keras.callbacks.Callback):
    """Send the signal of Ctrl-C to this process, after some batches."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch + 1 == self.after:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def interrupted(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a training of six steps that was interrupted after three."""
    checkpoint = tmp_path_factory.mktemp("interrupted") / "checkpoints" / "trial.npz"
    make_callbacks = callbacks.make_callbacks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "Batches", BatchesHere())
        patch.setattr(callbacks, "make_callbacks", lambda *a: [*make_callbacks(*a), Interrupt(2)])
        with pytest.raises(KeyboardInterrupt):
            fit.fit(TRIAL, [str(corpus)], checkpoint, Options(Budget(steps=6), seed=3))
    return checkpoint


@pytest.fixture
def again(interrupted: Path, tmp_path: Path) -> Path:
    """Return a copy of the interrupted checkpoint and of all files beside it."""
    shutil.copytree(interrupted.parent, tmp_path / "again")
    return tmp_path / "again" / interrupted.name


def state_of(checkpoint: Path) -> list[np.ndarray]:
    with np.load(state_path(checkpoint)) as stored:
        return [stored[f"arr_{number}"] for number in range(len(stored.files) - 1)]


def test_an_interrupt_leaves_checkpoint_state_and_settings(interrupted: Path, corpus: Path) -> None:
    assert sorted(p.name for p in interrupted.parent.iterdir()) == [
        "trial.json",
        "trial.npz",
        "trial.state.npz",
    ]
    weights, progress = load_checkpoint(interrupted)
    assert (progress.recipe, progress.step, progress.sessions) == ("trial", 3, 1)
    assert 0 < progress.loss < 20
    assert 0 <= progress.accuracy <= 1
    assert progress.seconds > 0
    assert progress.cpu_s > 0
    assert all(weight.dtype == np.float32 and np.isfinite(weight).all() for weight in weights)
    facts = json.loads(interrupted.with_suffix(".json").read_text())
    assert facts["recipe"] == json.loads(json.dumps(TRIAL.to_dict()))
    assert facts["progress"] == dataclasses.asdict(progress)
    (session,) = progress.settings
    assert session["seed"] == 3
    assert session["data"] == [str(corpus)]
    assert session["commit"]
    assert session["environment"]["keras"] == keras.__version__
    assert Schedule.of(progress) == Schedule(Budget(steps=6))


def test_resuming_is_exact(again: Path, corpus: Path, tmp_path: Path, here: BatchesHere) -> None:
    uninterrupted = tmp_path / "uninterrupted.npz"
    fit.fit(TRIAL, [str(corpus)], uninterrupted, Options(Budget(steps=6), seed=3))
    progress = fit.fit(TRIAL, [str(corpus)], again, Options(resume=True, seed=99))
    assert here.steps[:3] == [3, 4, 5]  # the batches continue, too
    assert (progress.step, progress.sessions) == (6, 2)
    assert [session["seed"] for session in progress.settings] == [3, 3]
    ones, others = state_of(uninterrupted), state_of(again)
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)  # weights, optimizer, queue and codebooks, bit for bit
    (queue,) = [one for one in ones if one.shape == (N_QUEUE, TRIAL.spec.dim)]
    assert np.count_nonzero(np.linalg.norm(queue, axis=1)) == 6 * TRIAL.n_pairs
    for one, other in zip(load_checkpoint(uninterrupted)[0], load_checkpoint(again)[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_its_state_the_optimizer_starts_afresh(
    again: Path, corpus: Path, here: BatchesHere, caplog: pytest.LogCaptureFixture
) -> None:
    state_path(again).unlink()
    with caplog.at_level("INFO"):
        progress = fit.fit(TRIAL, [str(corpus)], again, Options(resume=True))
    assert "the optimizer starts without its earlier state" in caplog.text
    assert progress.step == 6
    assert 3 in [value for value in state_of(again) if value.ndim == 0]  # steps of the new optimizer


@pytest.mark.parametrize(
    ("state", "loads"),
    [
        ("its own", True),
        ("none", False),
        ("another step's", False),
        ("half of it", False),
        ("another network's", False),
    ],
)
def test_a_state_loads_completely_or_not_at_all(again: Path, state: str, loads: bool) -> None:
    path, progress = state_path(again), load_checkpoint(again)[1]
    variables = [keras.Variable(np.zeros_like(value)) for value in state_of(again)]
    if state == "none":
        path.unlink()
    elif state == "half of it":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif state == "another step's":
        stored = dict(np.load(path))
        stored["progress"] = np.array(json.dumps(json.loads(str(stored["progress"])) | {"step": 2}))
        np.savez(path, **stored)
    elif state == "another network's":
        variables[-1] = keras.Variable(np.zeros((3, 3), np.float32))
    assert load_state(variables, progress, again) is loads
    assert any(np.asarray(variable).any() for variable in variables) is loads


def test_a_complete_training_is_not_changed(
    again: Path, corpus: Path, here: BatchesHere, caplog: pytest.LogCaptureFixture
) -> None:
    before = again.read_bytes()
    with caplog.at_level("INFO"):
        progress = fit.fit(TRIAL, [str(corpus)], again, Options(Budget(steps=3), resume=True))
    assert progress.step == 3
    assert again.read_bytes() == before
    assert here.steps == []
    assert "begin a new one with --restart" in caplog.text


def test_restarting_begins_a_new_schedule(again: Path, corpus: Path, here: BatchesHere) -> None:
    options = Options(Budget(steps=1), resume=True, restart=True, seed=4, learning_rate_scale=0.5)
    progress = fit.fit(TRIAL, [str(corpus)], again, options)
    schedule = Schedule.of(progress)
    assert progress.step == 4
    assert schedule.from_step == 3
    assert schedule.learning_rate_scale == 0.5
    assert 0 < schedule.from_seconds < progress.seconds
    assert 0 < schedule.from_cpu_s < progress.cpu_s
    assert [session["seed"] for session in progress.settings] == [3, 4]
    assert 1 in [value for value in state_of(again) if value.ndim == 0]


@pytest.mark.parametrize("first_bad", [4, 5])  # in the last step, the loss can still be finite
def test_a_training_that_diverges_keeps_its_checkpoint(
    again: Path, corpus: Path, here: BatchesHere, first_bad: int
) -> None:
    here.change = lambda step, batch: (batch[0] * np.float32(np.nan if step == first_bad else 1), batch[1])
    before = {path.name: path.read_bytes() for path in again.parent.iterdir()}
    with pytest.raises(
        OverheardError, match=r"diverged in step [56]; continue .* lower --learning-rate-scale"
    ):
        fit.fit(TRIAL, [str(corpus)], again, Options(resume=True))
    assert {path.name: path.read_bytes() for path in again.parent.iterdir()} == before


def test_curves_are_written_for_tensorboard(
    again: Path, corpus: Path, tmp_path: Path, here: BatchesHere
) -> None:
    pytest.importorskip("tensorboard", reason="--tensorboard needs it")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit.fit(TRIAL, [str(corpus)], again, Options(resume=True, tensorboard=tmp_path / "curves"))
    events = EventAccumulator(str(tmp_path / "curves"))
    events.Reload()
    tensors = {name: events.Tensors(name) for name in events.Tags()["tensors"]}
    assert {"loss", "top1", "learning_rate"} <= tensors.keys()
    assert [event.step for event in tensors["loss"]] == [6]
    assert tensors["loss"][0].tensor_proto.float_val[0] == pytest.approx(load_checkpoint(again)[1].loss)


def test_without_tensorboard_an_error_explains_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(OverheardError, match="pip install tensorboard"):
        callbacks.Curves(tmp_path, Progress("trial"))


def test_a_resumed_training_keeps_the_number_of_pairs(again: Path, corpus: Path, here: BatchesHere) -> None:
    n_rows: list[int] = []

    def note(step: int, batch: Batch) -> Batch:
        n_rows.append(len(batch[0]))
        return batch

    here.change = note
    fit.fit(dataclasses.replace(TRIAL, n_pairs=6), [str(corpus)], again, Options(resume=True))
    assert set(n_rows) == {16}  # two rows per pair
    assert [settings["n_pairs"] for settings in load_checkpoint(again)[1].settings] == [8, 8]


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 fma\n", True),
        ("flags\t\t: fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu sse2 avx avx2 fma f16c\n", False),
        (None, False),
    ],
)
def test_bfloat16_is_used_on_processors_that_support_it(
    tmp_path: Path, cpuinfo: str | None, expected: bool
) -> None:
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    assert has_bfloat16_instructions(path) is expected


def step_on_noise(recipe: Recipe) -> dict[str, float]:
    shape = (recipe.views * recipe.n_pairs, recipe.spec.n_frames, recipe.spec.frontend.n_mels)
    segments = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    labels = labels_of(np.arange(recipe.n_pairs, dtype=np.int32), recipe.views)
    model = make_model(recipe, float32=True)
    before = [np.asarray(weight) for weight in model.encoder.trainable_weights]
    logs = model.train_on_batch(segments, labels, return_dict=True)
    moved = [
        np.abs(np.asarray(w) - b).max() for w, b in zip(model.encoder.trainable_weights, before, strict=True)
    ]
    assert all(change > 0 for change in moved)
    return {name: float(value) for name, value in logs.items()}


@pytest.mark.parametrize("name", ["woo", "now_playing", "nmfp"])
def test_other_losses_and_encoders_train(name: str, here: BatchesHere) -> None:
    options: dict[str, dict[str, Any]] = {
        "woo": {"size": 40, "hidden": 16},
        "now_playing": {"widths": (8, 8, 8, 8, 48), "hidden": 2},
        "nmfp": {"widths": (8, 8), "blocks": (0, 1)},
    }
    recipe = RECIPES[name]
    encoder = dataclasses.replace(recipe.encoder, options={**recipe.encoder.options, **options[name]})
    logs = step_on_noise(dataclasses.replace(recipe, encoder=encoder, n_pairs=6))
    assert 0 < logs["loss"] < 20
    assert 0 <= logs["top1"] <= 1
