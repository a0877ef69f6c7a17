"""The length of a training and its learning rate at each step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from overheard.errors import ModelError
from overheard_train.checkpoints import Progress
from overheard_train.recipes import Recipe

ROUND_STEPS = 25  # steps over which loss and accuracy are averaged
FINAL_SHARE = 0.01  # of the peak: the learning rate at the end of the schedule


@dataclasses.dataclass(frozen=True)
class Budget:
    """The length of a training. The schedule ends when the first of these limits is reached.

    Attributes
    ----------
    steps : batches
    cpu_minutes : processor time of all processes; makes trainings comparable on a busy machine
    minutes : wall clock time, without the pauses between sessions
    """

    steps: int | None = None
    cpu_minutes: float | None = None
    minutes: float | None = None

    def spent(self, steps: int, cpu_s: float, seconds: float) -> float:
        """Return the share of the budget that is used up; 1 or more at the end."""
        limits = ((steps, self.steps), (cpu_s / 60, self.cpu_minutes), (seconds / 60, self.minutes))
        return max((used / limit for used, limit in limits if limit), default=1.0)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A budget, and the progress of the training when the schedule began.

    Attributes
    ----------
    learning_rate_scale : multiplies the recipe's peak learning rate
    from_step, from_cpu_s, from_seconds : progress at the beginning
    """

    budget: Budget
    learning_rate_scale: float = 1.0
    from_step: int = 0
    from_cpu_s: float = 0.0
    from_seconds: float = 0.0

    def done(self, progress: Progress) -> float:
        """Return the share of the budget that is used up."""
        return self.budget.spent(
            progress.step - self.from_step,
            progress.cpu_s - self.from_cpu_s,
            progress.seconds - self.from_seconds,
        )

    @classmethod
    def of(cls, progress: Progress) -> Schedule:
        """Return the schedule of a training's last session.

        Raises
        ------
        ModelError
            The checkpoint does not record one.
        """
        stored: Any = progress.settings[-1].get("schedule") if progress.settings else None
        if not _has_numbers(stored, cls, but="budget") or not _has_numbers(stored["budget"], Budget):
            raise ModelError("the checkpoint records no schedule", "begin a new schedule with --restart")
        return cls(**{**stored, "budget": Budget(**stored["budget"])})


def _has_numbers(stored: Any, kind: type, but: str = "") -> bool:
    """Return whether JSON has only fields of a dataclass, and only numbers or null in them."""
    if not isinstance(stored, Mapping) or (but and but not in stored):
        return False
    names = {field.name for field in dataclasses.fields(kind)}
    numbers = [value for name, value in stored.items() if name != but]
    return stored.keys() <= names and all(isinstance(n, int | float | None) for n in numbers)


def session_schedule(
    progress: Progress,
    recipe: Recipe,
    budget: Budget | None = None,
    restart: bool = False,
    learning_rate_scale: float | None = None,
) -> Schedule:
    """Return the schedule of the next session.

    A resumed training continues its schedule; `budget` and `learning_rate_scale` replace their values in it.
    A new or restarted training begins a schedule; by default it has the recipe's number of steps.

    Raises
    ------
    ModelError
        The training to continue records no schedule.
    """
    if progress.settings and not restart:
        current = Schedule.of(progress)
        return dataclasses.replace(
            current,
            budget=budget or current.budget,
            learning_rate_scale=learning_rate_scale or current.learning_rate_scale,
        )
    return Schedule(
        budget or Budget(steps=recipe.steps),
        learning_rate_scale or 1.0,
        progress.step,
        progress.cpu_s,
        progress.seconds,
    )


def learning_rate_at(done: float, step: int, recipe: Recipe) -> float:
    """Return the learning rate: a linear warm-up, and a cosine from the peak to 1% of it.

    Parameters
    ----------
    done : share of the budget that is used up, from 0 to 1
    step : steps since the optimizer started
    """
    warm_up = min(1.0, (step + 1) / recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return recipe.learning_rate * warm_up * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)
