from __future__ import annotations

import dataclasses
import itertools
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training needs requirements-train.txt")

import train_corpus  # noqa: E402
from overheard.errors import ModelError, OverheardError  # noqa: E402
from overheard_train import cli, train  # noqa: E402
from overheard_train.augment import PairMaker  # noqa: E402
from overheard_train.evaluate import evaluate, load_encoder  # noqa: E402
from overheard_train.recipes import RECIPES, Recipe, find_recipe  # noqa: E402
from overheard_train.train import Progress, load_checkpoint, save_checkpoint  # noqa: E402

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("device", "train")),
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
TINY = RECIPES["tiny"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_corpus.write_corpus(tmp_path_factory.mktemp("training") / "corpus")


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start ``overheard-train`` in its own process: its workers are forked before TensorFlow has threads."""
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "overheard_train.cli", *map(str, arguments)],
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: object) -> str:
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of three steps."""
    checkpoint = tmp_path_factory.mktemp("trained") / "checkpoints" / "tiny.npz"
    out = run("fit", "--recipe", "tiny", "--data", corpus, "--checkpoint", checkpoint, "--steps", 3)
    assert f"{checkpoint}: step 3, loss " in out
    return checkpoint


@pytest.fixture
def float_policy() -> Iterator[None]:
    """Training sets bfloat16 for the whole process."""
    yield
    import keras

    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture
def own_signals() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def test_fit_leaves_a_checkpoint(trained: Path) -> None:
    weights, progress = load_checkpoint(trained)
    assert (progress.recipe, progress.step, progress.sessions) == ("tiny", 3, 1)
    assert 0 < progress.loss < 20 and 0 <= progress.accuracy <= 1 and progress.seconds > 0
    assert all(weight.dtype == np.float32 and np.isfinite(weight).all() for weight in weights)
    assert [path.name for path in trained.parent.iterdir()] == ["tiny.npz"]


@pytest.mark.usefixtures("float_policy", "own_signals")
def test_resuming_goes_on_counting(
    trained: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[int] = []

    def without_processes(
        maker: PairMaker, seed: int, first_step: int, n_pairs: int, _: int
    ) -> Iterator[np.ndarray]:
        asked.append(first_step)
        for step in itertools.count(first_step):
            yield maker.batch(np.random.default_rng([seed, step]), n_pairs)

    monkeypatch.setattr(train, "batches", without_processes)
    checkpoint = tmp_path / "again.npz"
    checkpoint.write_bytes(trained.read_bytes())
    arguments = ("fit", "--recipe", "tiny", "--data", corpus, "--checkpoint", checkpoint, "--steps", 2)
    assert cli.main([*map(str, arguments), "--resume"]) == 0
    assert "step 5, loss" in capsys.readouterr().out
    assert asked == [3]  # the batches go on too
    weights, progress = load_checkpoint(checkpoint)
    before, progress_before = load_checkpoint(trained)
    assert (progress.step, progress.sessions) == (5, 2)
    assert progress.seconds > progress_before.seconds
    assert any(not np.array_equal(a, b) for a, b in zip(before, weights, strict=True))


def test_being_stopped_saves_and_leaves_no_process(corpus: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "stopped.npz"
    process = start(
        "fit", "--recipe", "tiny", "--data", corpus, "--checkpoint", checkpoint, "--steps", 1_000_000
    )
    assert process.stderr is not None
    assert any("parameters" in line for line in iter(process.stderr.readline, ""))  # training begins
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)  # ends only when the workers, which share stderr, are gone too
    assert process.returncode == 130
    assert err.splitlines()[-1] == "overheard-train: interrupted"
    assert "Traceback" not in err
    assert load_checkpoint(checkpoint)[1].recipe == "tiny"


BATCHES = """
import hashlib, itertools, sys
from pathlib import Path
from overheard_train.recipes import RECIPES
from overheard_train.train import batches, make_pair_maker

maker = make_pair_maker(RECIPES["tiny"], Path(sys.argv[1]))
for seed, first_step, n_workers in ((0, 0, 2), (0, 1, 1), (1, 0, 1)):
    source = batches(maker, seed, first_step, 3, n_workers)
    print(*(hashlib.sha256(batch.tobytes()).hexdigest() for batch in itertools.islice(source, 3)))
    source.close()
"""


def test_the_same_seed_and_step_give_the_same_batch_whoever_makes_it(corpus: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BATCHES, str(corpus)],
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    two_workers, later, other_seed = (line.split() for line in done.stdout.splitlines())
    assert two_workers[1:] == later[:2]
    assert len({*two_workers, *later, *other_seed}) == 3 + 1 + 3


ENDLESS = """
import sys
from pathlib import Path
from overheard_train.recipes import RECIPES
from overheard_train.train import batches, make_pair_maker

for _ in batches(make_pair_maker(RECIPES["tiny"], Path(sys.argv[1])), 0, 0, 2, 2):
    print("batch", flush=True)
"""


def test_workers_do_not_outlive_a_training_that_is_killed(corpus: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(corpus)], env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"batch\n"
    process.kill()
    process.communicate(timeout=60)  # the workers hold the pipe open as long as they live


@pytest.mark.usefixtures("float_policy")
def test_steps_on_one_batch_learn_it_and_weights_come_back() -> None:
    recipe = dataclasses.replace(TINY, n_pairs=8)
    rng = np.random.default_rng(0)
    clean = rng.standard_normal((8, 48, 96)).astype(np.float32)
    batch = np.concatenate([clean, clean + 0.5 * rng.standard_normal(clean.shape).astype(np.float32)])
    encoder, step = train.make_network(recipe, seed=1)
    results = [step(batch, 2e-3) for _ in range(12)]
    assert results[-1][0] < 0.5 * results[0][0]
    assert results[-1][1] > 0.9
    weights = encoder.get_weights()
    again, _ = train.make_network(recipe, weights)
    for one, two in zip(weights, again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    with pytest.raises(ModelError, match="another network"):
        train.make_network(recipe, weights[:-1])


def test_a_checkpoint_evaluates(trained: Path, corpus: Path) -> None:
    result = evaluate(trained, corpus, n_queries=10)
    assert result.n_queries == 10
    assert result.n_catalogue == pytest.approx(train_corpus.N_MUSIC * 11, abs=6)  # half seconds of 7 s
    assert 0 <= result.top1 <= result.top10 <= 1 and -1 <= result.mean_similarity <= 1
    encoder, recipe, progress = load_encoder(trained)
    assert recipe is TINY and progress.step == 3
    embeddings = encoder.predict_on_batch(np.random.default_rng(0).normal(size=(3, 48, 96, 1)))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_weights_are_stored_as_half_floats_where_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.npz"
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((3, 4)).astype(np.float32), np.array([1e6, 1], np.float32), np.zeros(0)]
    progress = Progress("tiny", 7, 2, 3.5, 0.25, 0.5)
    save_checkpoint(weights, progress, path)
    loaded, progress_again = load_checkpoint(path)
    assert progress_again == progress
    np.testing.assert_allclose(loaded[0], weights[0], rtol=1e-3)
    np.testing.assert_array_equal(loaded[1], weights[1])
    assert len(loaded) == 3 and loaded[2].size == 0


@pytest.mark.parametrize("broken", ["savez", "fsync", "replace"])
def test_a_save_that_breaks_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "x.npz"
    save_checkpoint([np.ones(3, np.float32)], Progress("tiny", 1), path)

    def fail(*arguments: Any, **_named: Any) -> None:
        if broken == "savez":
            arguments[0].write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(np if broken == "savez" else os, broken, fail)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint([np.zeros(3, np.float32)], Progress("tiny", 2), path)
    monkeypatch.undo()
    weights, progress = load_checkpoint(path)
    assert progress.step == 1 and weights[0][0] == 1
    save_checkpoint([np.zeros(3, np.float32)], Progress("tiny", 3), path)
    assert [found.name for found in tmp_path.iterdir()] == ["x.npz"]


def test_training_that_diverges_leaves_the_checkpoint(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encoder:
        def count_params(self) -> int:
            return 1

        def get_weights(self) -> list[np.ndarray]:
            return [np.full(1, math.nan, np.float32)]

    losses = iter([(1.0, 0.5), (math.nan, 0.5)])
    monkeypatch.setattr(train, "make_network", lambda *_: (Encoder(), lambda *_: next(losses)))
    monkeypatch.setattr(train, "batches", lambda *_: (np.zeros(1) for _ in range(9)))
    path = tmp_path / "x.npz"
    save_checkpoint([np.ones(1, np.float32)], Progress("tiny", 40), path)
    with pytest.raises(OverheardError, match="diverged in step 42"):
        train.fit(TINY, corpus, path, steps=5, resume=True)
    assert load_checkpoint(path)[1].step == 40


def test_minutes_end_a_training_and_the_rate_follows(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encoder:
        def count_params(self) -> int:
            return 1

        def get_weights(self) -> list[np.ndarray]:
            return [np.ones(1, np.float32)]

    rates: list[float] = []

    def step(_batch: np.ndarray, rate: float) -> tuple[float, float]:
        rates.append(rate)
        return 1.0, 0.5

    now = iter(range(0, 10**6, 5))  # every look at the clock is five seconds later
    monkeypatch.setattr(train.time, "monotonic", lambda: float(next(now)))
    monkeypatch.setattr(train, "make_network", lambda *_: (Encoder(), step))
    monkeypatch.setattr(train, "batches", lambda *_: (np.zeros(1) for _ in range(10**6)))
    recipe = dataclasses.replace(TINY, warmup_steps=3)
    progress = train.fit(recipe, corpus, tmp_path / "x.npz", steps=10**5, minutes=20)
    assert 10 < progress.step == len(rates) < 240
    assert max(rates) == pytest.approx(recipe.learning_rate, rel=0.1)
    assert rates[-1] < 0.05 * recipe.learning_rate
    assert rates[3:] == sorted(rates[3:], reverse=True)


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    recipe = Recipe("x", learning_rate=1.0, warmup_steps=10)
    assert train.learning_rate_at(0.0, 0, recipe) == pytest.approx(0.1)
    assert train.learning_rate_at(0.0, 9, recipe) == pytest.approx(1.0)
    assert train.learning_rate_at(0.5, 500, recipe) == pytest.approx(0.505)
    assert train.learning_rate_at(1.0, 999, recipe) == pytest.approx(0.01)


def test_recipes_go_by_their_names() -> None:
    assert all(find_recipe(name).name == name for name in RECIPES)
    with pytest.raises(OverheardError, match="plain, resnet, tiny"):
        find_recipe("resnext")


def garbage(path: Path) -> None:
    path.write_bytes(b"not a checkpoint at all")


def cut(path: Path) -> None:
    save_checkpoint([np.ones(1000, np.float32)], Progress("tiny"), path)
    path.write_bytes(path.read_bytes()[:900])


def foreign(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, a=np.ones(3))


def array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.ones(3))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def other_fields(path: Path) -> None:
    with open(path, "wb") as file:
        np.savez(file, np.ones(3), progress=np.array('{"recipe": "tiny", "colour": 3}'))


def error_line(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """Run in this process; return the one line that it prints."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("overheard-train: ")]
    assert out == "" and len(lines) == 1 and "Traceback" not in err
    return lines[0]


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("damage", [garbage, cut, foreign, array, empty, other_fields])
def test_a_broken_checkpoint_is_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], None]
) -> None:
    checkpoint = tmp_path / "broken.npz"
    damage(checkpoint)
    before = checkpoint.read_bytes()
    fit = ["fit", "--recipe", "tiny", "--data", corpus, "--checkpoint", checkpoint, "--resume"]
    assert "broken.npz is no checkpoint" in error_line(fit, capsys)
    assert "broken.npz is no checkpoint" in error_line(["evaluate", checkpoint, "--data", corpus], capsys)
    assert checkpoint.read_bytes() == before


@pytest.mark.usefixtures("own_signals")
def test_mistakes_in_the_call_are_one_line(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, old = tmp_path / "new.npz", tmp_path / "old.npz"
    save_checkpoint([np.ones(3, np.float32)], Progress("plain", 5), old)
    fit = ["fit", "--recipe", "tiny", "--data", corpus, "--checkpoint"]
    assert "no recipe big: there are plain" in error_line(
        ["fit", "--recipe", "big", "--data", corpus], capsys
    )
    nowhere = ["fit", "--recipe", "tiny", "--data", tmp_path / "none", "--checkpoint", new]
    assert "there is no corpus in" in error_line(nowhere, capsys)
    nowhere[4] = tmp_path
    assert "has no manifest.csv" in error_line(nowhere, capsys)
    assert "there is no checkpoint" in error_line([*fit, new, "--resume"], capsys)
    assert "old.npz exists" in error_line([*fit, old], capsys)
    assert "is of the recipe plain" in error_line([*fit, old, "--resume"], capsys)
    assert "there is no checkpoint" in error_line(["evaluate", new, "--data", corpus], capsys)
    assert not new.exists() and load_checkpoint(old)[1].step == 5


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--workers", "-1"], ["--workers", "many"]])
def test_impossible_numbers_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        cli.main(["fit", *arguments])
    assert raised.value.code == 2
    assert arguments[0] in capsys.readouterr().err
