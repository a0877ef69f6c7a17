"""Choose the detector's smoothing: detect most beginnings of music at a bounded rate of false wake-ups."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from overheard.errors import OverheardError
from overheard.hear.detector import Smoothing
from overheard_train.detector.streams import BEFORE_S, SNR_DB, STREAMS

MAX_SHARE = 0.2  # of the time without music that may count as music, on average over LISTENED
LISTENED = ("talk", "babble", "noise")
WITHIN_S = 3  # of its beginning, music counts as detected in time
LATER_S = 8
WEIGHTS = (1.0, 0.4, 0.2)  # of the signal-to-noise ratios in SNR_DB
GRID = {
    "bias": np.arange(-4.0, 4.1, 0.5),
    "wake": np.array([1.0, 2.0, 3.0, 4.0, 6.0, 8.0]),
    "step": np.array([2.0, 4.0, 8.0]),
    "above": np.array([3.0, 8.0]),  # ceiling above wake
}
REST = 0.0

Outputs = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class Choice:
    """A smoothing, and what it gives on the streams.

    Attributes
    ----------
    false_per_hour, false_share : false wake-ups per hour, share of the time that counts as music
    in_time, later, held : shares of tracks detected in 3 and in 8 s, and of their time after it
    """

    smoothing: Smoothing
    false_per_hour: dict[str, float]
    false_share: dict[str, float]
    in_time: dict[str, float]
    later: dict[str, float]
    held: dict[str, float]


def candidates() -> list[Smoothing]:
    """Return the smoothings of the grid."""
    return [
        Smoothing(float(bias), float(wake), REST, float(wake + above), float(step))
        for bias, wake, step, above in itertools.product(*GRID.values())
    ]


def decisions(outputs: Outputs, rules: Sequence[Smoothing]) -> npt.NDArray[np.bool_]:
    """Return the decision after each second for each smoothing, ``(n_rules, n)``, as on the device."""
    bias, wake, rest, ceiling, step = np.array([dataclasses.astuple(rule) for rule in rules]).T
    evidence, music = np.zeros(len(rules)), np.zeros(len(rules), bool)
    made = np.empty((len(rules), len(outputs)), bool)
    for second, output in enumerate(outputs):
        evidence = np.clip(evidence + np.clip(output - bias, -step, step), 0, ceiling)
        music = np.where(music, evidence > rest, evidence >= wake)
        made[:, second] = music
    return made


def wake_ups(made: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return how often a decision changes from no music to music, ``(n_rules,)``, from ``(n_rules, n)``."""
    before = np.concatenate([np.zeros((len(made), 1), bool), made[:, :-1]], axis=1)
    counts: npt.NDArray[np.int64] = np.sum(made & ~before, axis=1)
    return counts


def choose(outputs: Sequence[tuple[str, Outputs]], rules: Sequence[Smoothing] | None = None) -> Choice:
    """Return the smoothing that detects most music within :data:`MAX_SHARE`.

    Parameters
    ----------
    outputs : kind and the network's outputs of each stream

    Raises
    ------
    OverheardError
        None of them has so few false wake-ups.
    """
    rules = rules or candidates()
    made = {kind: decisions(np.concatenate(_of(outputs, kind)), rules) for kind in STREAMS}
    music = {kind: _detected(outputs, kind, rules) for kind in SNR_DB}
    allowed = np.mean([made[kind].mean(axis=1) for kind in LISTENED], axis=0) <= MAX_SHARE
    if not allowed.any():
        raise OverheardError("everything sounds like music to this network", "train longer, or on more data")
    value = sum(
        weight * (in_time + 0.5 * later + 0.5 * held)
        for weight, (in_time, later, held) in zip(WEIGHTS, music.values(), strict=True)
    )
    best = int(np.argmax(np.where(allowed, value, -np.inf)))
    shares = [{kind: round(float(parts[i][best]), 4) for kind, parts in music.items()} for i in range(3)]
    per_hour = {kind: float(wake_ups(m[best : best + 1])[0] * 3600 / m.shape[1]) for kind, m in made.items()}
    share = {kind: float(m[best].mean()) for kind, m in made.items()}
    return Choice(rules[best], _rounded(per_hour), _rounded(share), *shares)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {kind: round(value, 4) for kind, value in values.items()}


def _of(outputs: Sequence[tuple[str, Outputs]], kind: str) -> list[Outputs]:
    return [values for name, values in outputs if name == kind]


def _detected(
    outputs: Sequence[tuple[str, Outputs]], kind: str, rules: Sequence[Smoothing]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Return the shares of tracks detected in time, and later, and of the later time that is detected."""
    made = np.stack([decisions(values, rules)[:, BEFORE_S:] for values in _of(outputs, kind)])
    in_time, later = (made[:, :, : n + 1].any(axis=2) for n in (WITHIN_S - 1, LATER_S - 1))
    return in_time.mean(axis=0), later.mean(axis=0), made[:, :, LATER_S:].mean(axis=(0, 2))
