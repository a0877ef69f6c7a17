"""Errors that a user can fix. The command line prints each as one line and exits with code 2."""

from __future__ import annotations

REINSTALL = "reinstall overheard: run script/setup, or pip install --force-reinstall overheard"

TRAINING_PACKAGES = {"keras", "matplotlib", "tensorboard", "tensorflow"}  # of requirements-train.txt


class OverheardError(Exception):
    """Base of all errors that carry a message for the user.

    Parameters
    ----------
    problem : str
        What is wrong, in one line without a full stop.
    remedy : str or None
        What the user can do or type to fix it, if anything.
    """

    def __init__(self, problem: str, remedy: str | None = None) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the problem, and the remedy after a semicolon."""
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


class AudioError(OverheardError):
    """A file or a device cannot be read as audio."""


class PackError(OverheardError):
    """A pack is truncated, modified, of an unsupported version, or made for another model."""


class ModelError(OverheardError):
    """A model file or its manifest is missing, modified or inconsistent."""


class UpdateError(OverheardError):
    """A repository of packs cannot be reached or trusted, or its packs cannot be used here."""


class SettingsError(OverheardError):
    """A setting has an unknown name or an invalid value."""


def missing_training_package(error: ModuleNotFoundError) -> OverheardError:
    """Return the message for a missing package of the train extra; raise any other error again."""
    package = (error.name or "").partition(".")[0]
    if package not in TRAINING_PACKAGES:
        raise error
    return OverheardError(
        f"{package} is not installed",
        "in a clone of overheard: ./script/setup --train, or pip install '.[train]'",
    )
