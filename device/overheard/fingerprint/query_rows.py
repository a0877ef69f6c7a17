"""Base class of dataclasses whose fields are arrays with one row per query."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

RowsT = TypeVar("RowsT", bound="QueryRows")


@dataclasses.dataclass(frozen=True)
class QueryRows:
    """Arrays of equal length: row ``i`` of each belongs to query ``i``."""

    @classmethod
    def join(cls: type[RowsT], parts: Sequence[RowsT]) -> RowsT:
        """Concatenate one or more groups of rows in the given order."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def rows(self: RowsT, rows: slice | npt.NDArray[np.int64]) -> RowsT:
        """Select rows by a slice or by their numbers."""
        return type(self)(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))
