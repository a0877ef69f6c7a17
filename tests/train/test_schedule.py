"""The length of a training and its learning rate."""

from __future__ import annotations

import dataclasses
import threading
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("keras", reason="training needs requirements-train.txt")

from overheard.errors import ModelError
from overheard_train.callbacks import Steering, Training
from overheard_train.checkpoints import Progress
from overheard_train.recipes import RECIPES
from overheard_train.schedule import Budget, Schedule, learning_rate_at, session_schedule

TRIAL = RECIPES["trial"]


def steering(progress: Progress, schedule: Schedule) -> tuple[Steering, Any]:
    """Return the callback that steers, and the model that it steers."""
    batches = SimpleNamespace(cpu_s=0.0, waited_s=0.0)
    callback = Steering(Training(TRIAL, schedule, progress, batches, threading.Event()))
    optimizer = SimpleNamespace(iterations=10**6, learning_rate=0.0)
    model = SimpleNamespace(stop_training=False, optimizer=optimizer)
    callback.set_model(model)
    callback.on_train_begin()
    return callback, model


@pytest.mark.parametrize(
    ("budget", "n_steps"),
    [(Budget(steps=90), 90), (Budget(minutes=10), 120), (Budget(steps=300, minutes=10), 120)],
)
def test_each_budget_ends_a_training_and_the_rate_follows(
    monkeypatch: pytest.MonkeyPatch, budget: Budget, n_steps: int
) -> None:
    now = iter(range(0, 10**6, 5))  # each reading of the clock is five seconds later
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))
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


def test_a_budget_of_processor_time_does_not_depend_on_the_wall_clock() -> None:
    assert Budget(cpu_minutes=2).spent(steps=0, cpu_s=60, seconds=10**6) == 0.5


def test_the_rate_warms_up_and_falls_to_a_hundredth() -> None:
    recipe = dataclasses.replace(TRIAL, learning_rate=1.0, warmup_steps=10)
    assert learning_rate_at(0.0, 0, recipe) == pytest.approx(0.1)
    assert learning_rate_at(0.0, 9, recipe) == pytest.approx(1.0)
    assert learning_rate_at(0.5, 500, recipe) == pytest.approx(0.505)
    assert learning_rate_at(1.0, 999, recipe) == pytest.approx(0.01)


def test_a_session_continues_the_schedule_or_begins_another() -> None:
    first = Schedule(Budget(cpu_minutes=3), 0.5, 10, 20.0, 30.0)
    progress = Progress("trial", 15, settings=[{"schedule": dataclasses.asdict(first)}])
    assert session_schedule(progress, TRIAL) == first
    longer = session_schedule(progress, TRIAL, Budget(steps=90), learning_rate_scale=0.1)
    assert longer == dataclasses.replace(first, budget=Budget(steps=90), learning_rate_scale=0.1)
    restarted = session_schedule(progress, TRIAL, restart=True)
    assert restarted == Schedule(Budget(steps=TRIAL.steps), 1.0, 15)


@pytest.mark.parametrize(
    "stored",
    [
        *(None, 3, {}, {"budget": 3}, {"budget": {"hours": 1}}, {"budget": {"steps": "many"}}),
        *({"budget": {"steps": 1}, "from_step": "x"}, {"budget": {"steps": 1}, "color": 3}),
    ],
)
def test_a_damaged_schedule_is_an_error(stored: object) -> None:
    progress = Progress("trial", 15, settings=[{"schedule": stored}])
    with pytest.raises(ModelError, match="records no schedule; begin a new schedule with --restart"):
        Schedule.of(progress)
