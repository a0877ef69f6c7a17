"""Components that recipes combine by name: encoders, losses and pair makers."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from overheard.errors import OverheardError


@dataclasses.dataclass(frozen=True)
class Part:
    """The name of a component in its registry, and the options to create it with."""

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def find_factory(registry: Mapping[str, str], part: Part, kind: str) -> Callable[..., Any]:
    """Import the function or class that creates a component.

    Parameters
    ----------
    registry : name to ``module:attribute``
    kind : what the registry holds, for the error message

    Raises
    ------
    OverheardError
        The registry lacks the name; the message lists all names.
    """
    if part.name not in registry:
        raise OverheardError(f"unknown {kind} {part.name}", f"choose one of {', '.join(sorted(registry))}")
    module, attribute = registry[part.name].split(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return factory
