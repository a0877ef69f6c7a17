"""Account for the processor time of each stage of recognition."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

STAGES = ("gate", "frontend", "detector", "network", "search", "match")


class StageTimes:
    """Seconds of processor time of this thread by stage. Stages do not nest.

    Attributes
    ----------
    cpu_s : dict of str to float
        One entry for each of :data:`STAGES`.
    """

    def __init__(self) -> None:
        self.cpu_s = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count the processor time of the `with` block for a stage."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.cpu_s[stage] += time.thread_time() - began
