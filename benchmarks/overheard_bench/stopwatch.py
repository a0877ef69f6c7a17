"""Time the stages of the recognizer by wrapping their methods while it runs."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

Method = tuple[type, str]


class Stopwatch:
    """Processor time of each stage, for each second of audio."""

    def __init__(self) -> None:
        self.seconds: list[dict[str, float]] = []  # ms by stage, for each second of audio
        self._now: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._inside: list[str] = []

    def wrap(self, stage: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return a timed method. A stage that another stage calls counts as part of the outer stage."""

        @functools.wraps(method)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return method(*args, **kwargs)
            self._inside.append(stage)
            began = time.process_time_ns()
            try:
                return method(*args, **kwargs)
            finally:
                self._now[stage] = self._now.get(stage, 0.0) + (time.process_time_ns() - began) / 1e6
                self.calls[stage] = self.calls.get(stage, 0) + 1
                self._inside.pop()

        return timed

    @contextlib.contextmanager
    def watch(self, stages: Mapping[str, Sequence[Method]]) -> Iterator[Stopwatch]:
        """Wrap the methods of the stages within the block, and restore them after it."""
        originals = [
            (owner, name, owner.__dict__[name]) for methods in stages.values() for owner, name in methods
        ]
        for stage, methods in stages.items():
            for owner, name in methods:
                setattr(owner, name, self.wrap(stage, owner.__dict__[name]))
        try:
            yield self
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)

    def second(self, work: Callable[[], object]) -> None:
        """Call `work`, which processes one second of audio, and keep the times of all stages."""
        self._now = {}
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        work()
        self._now["whole path"] = (time.process_time_ns() - cpu) / 1e6
        self._now["whole path, wall"] = (time.perf_counter_ns() - wall) / 1e6
        self.seconds.append(self._now)

    def table(self, stages: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return the median, the 95th percentile and the mean in ms per second of audio, by stage."""
        return {stage: spread([second.get(stage, 0.0) for second in self.seconds]) for stage in stages}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the 95th percentile and the mean."""
    p50, p95 = np.percentile(values, [50, 95]) if len(values) else (0.0, 0.0)
    return {
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        "mean_ms": round(float(np.mean(values)) if len(values) else 0.0, 3),
    }
