from __future__ import annotations

import dataclasses
from typing import Any

import pytest

pytest.importorskip("keras", reason="training needs requirements-train.txt")

from overheard_train.checkpoints import Progress
from overheard_train.recipes import RECIPES
from overheard_train.schedule import Budget, Schedule, learning_rate_at
from overheard_train.train import _schedule

TRIAL = RECIPES["trial"]


def steering(progress: Progress, schedule: Schedule, cpu_s: float = 0.0) -> tuple[Any, Any]:
    """Return the callback that steers, and the model that it steers."""
    from overheard_train.callbacks import Steering

    class Model:
        stop_training = False

        class optimizer:
            iterations = 10**6
            learning_rate = 0.0

    class Batches:
        pass

    class Interrupts:
        wanted = False

    batches = Batches()
    batches.cpu_s = cpu_s  # type: ignore[attr-defined]
    callback, model = Steering(TRIAL, schedule, progress, batches, Interrupts()), Model()  # type: ignore[arg-type]
    callback.set_model(model)
    callback.on_train_begin()
    return callback, model


def test_each_budget_ends_a_training_and_the_rate_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    for budget, n_steps in (
        (Budget(steps=90), 90),
        (Budget(minutes=10), 120),
        (Budget(steps=300, minutes=10), 120),
    ):
        now = iter(range(0, 10**6, 5))  # every look at the clock is five seconds later
        monkeypatch.setattr("time.monotonic", lambda now=now: float(next(now)))
        progress = Progress("trial", 100)
        callback, model = steering(progress, Schedule(budget, from_step=100))
        rates = []
        while not model.stop_training:
            callback.on_train_batch_begin(0)
            rates.append(model.optimizer.learning_rate)
            callback.on_train_batch_end(0, {"loss": 1.0})
        assert progress.step == 100 + n_steps
        assert rates[0] == pytest.approx(TRIAL.learning_rate)
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < 0.3 * TRIAL.learning_rate
    monkeypatch.undo()
    spent = Budget(cpu_minutes=2).spent(steps=0, cpu_s=60, seconds=10**6)
    assert spent == 0.5  # a busy machine takes longer and trains as much


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    recipe = dataclasses.replace(TRIAL, learning_rate=1.0, warmup_steps=10)
    assert learning_rate_at(0.0, 0, recipe) == pytest.approx(0.1)
    assert learning_rate_at(0.0, 9, recipe) == pytest.approx(1.0)
    assert learning_rate_at(0.5, 500, recipe) == pytest.approx(0.505)
    assert learning_rate_at(1.0, 999, recipe) == pytest.approx(0.01)


def test_a_schedule_goes_on_unless_it_is_told_otherwise() -> None:
    first = Schedule(Budget(cpu_minutes=3), 0.5, 10, 20.0, 30.0)
    progress = Progress("trial", 15, settings=[{"schedule": dataclasses.asdict(first)}])
    assert _schedule(progress, TRIAL, None, False, None) == first
    longer = _schedule(progress, TRIAL, Budget(steps=90), False, 0.1)
    assert longer == dataclasses.replace(first, budget=Budget(steps=90), learning_rate_scale=0.1)
    anew = _schedule(progress, TRIAL, None, True, None)
    assert anew == Schedule(Budget(steps=TRIAL.steps), 1.0, 15)
