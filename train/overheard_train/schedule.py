"""How long a training is, and the learning rate on its way."""

from __future__ import annotations

import dataclasses
import math

from overheard.errors import ModelError
from overheard_train.checkpoints import Progress
from overheard_train.recipes import Recipe

ROUND_STEPS = 25  # that loss and accuracy are the means of


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long a training is; the learning rate's cosine ends where the first of these is used up.

    Attributes
    ----------
    steps : batches
    cpu_minutes : of all processors together: what makes trainings comparable on a busy machine
    minutes : of wall clock, pauses between sessions not counted
    """

    steps: int | None = None
    cpu_minutes: float | None = None
    minutes: float | None = None

    def spent(self, steps: int, cpu_s: float, seconds: float) -> float:
        """Return the share that is used up."""
        pairs = ((steps, self.steps), (cpu_s / 60, self.cpu_minutes), (seconds / 60, self.minutes))
        return max((used / whole for used, whole in pairs if whole), default=1.0)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A budget, and where in the training it began.

    Attributes
    ----------
    learning_rate_scale : of the recipe's peak
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
        """Return the schedule of a training's last session; raise ModelError where it names none."""
        try:
            stored = dict(progress.settings[-1]["schedule"])
            return cls(Budget(**stored.pop("budget")), **stored)
        except (LookupError, TypeError, ValueError) as error:
            raise ModelError("the checkpoint tells no schedule: begin a new one with --restart") from error


def learning_rate_at(done: float, step: int, recipe: Recipe) -> float:
    """Linear warm-up over the first steps, and a cosine to 1% as ``done`` goes from 0 to 1."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    return recipe.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
