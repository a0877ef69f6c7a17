"""Account for the processor time of each stage of recognition."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

STAGES = ("gate", "frontend", "detector", "network", "search", "match")


class StageTimes:
    """Seconds of processor time of this thread by stage; without the stages inside it.

    Attributes
    ----------
    cpu_s : dict of str to float
        One entry for each of :data:`STAGES`.
    """

    def __init__(self) -> None:
        self.cpu_s = dict.fromkeys(STAGES, 0.0)
        self._inside_s = 0.0  # time of the stages inside the present one

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the processor time of the `with` block for a stage."""
        began, before_s = time.thread_time(), self._inside_s
        self._inside_s = 0.0
        try:
            yield
        finally:
            whole_s = time.thread_time() - began
            self.cpu_s[stage] += whole_s - self._inside_s
            self._inside_s = before_s + whole_s
