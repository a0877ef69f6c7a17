"""Parts that recipes combine by name: encoders, losses, ways of making pairs."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from overheard.errors import OverheardError


@dataclasses.dataclass(frozen=True)
class Part:
    """A part by its name in a registry, and its options."""

    name: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def pick(registry: Mapping[str, str], part: Part, kind: str) -> Callable[..., Any]:
    """Import what a registry names as ``module:attribute``; raise OverheardError that lists the names."""
    if part.name not in registry:
        raise OverheardError(f"no {kind} {part.name}: there are {', '.join(sorted(registry))}")
    module, attribute = registry[part.name].split(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found
