"""Keep the pieces of a long measurement, so that a run that was interrupted continues where it stopped."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from overheard_bench.output import write_json


class Pieces:
    """The pieces that have been measured, in a JSON file.

    Parameters
    ----------
    folder : of the file
    facts : what the pieces depend on; those of other facts are in other files
    """

    def __init__(self, folder: Path, *facts: object) -> None:
        key = hashlib.sha256(" ".join(map(str, facts)).encode()).hexdigest()[:12]
        self.path = folder / f"pieces-{key}.json"
        self._pieces: dict[str, Any] = json.loads(self.path.read_text()) if self.path.is_file() else {}

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return a piece; measure and keep it if it is new."""
        if name not in self._pieces:
            self._pieces[name] = measure()
            write_json(self.path, self._pieces)
            print(f"measured: {name}", file=sys.stderr)
        return self._pieces[name]
