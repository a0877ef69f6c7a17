"""Divide the recordings of the split train: most fit the detector, some choose its smoothing."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.frontend import FloatArray
from overheard_train.data.cache import Clips

if TYPE_CHECKING:
    from overheard_train.data import Data

HELD_OUT = 8  # one group of recordings in so many


class Selection(Clips):
    """Some recordings of others, with the same interface."""

    def __init__(self, clips: Clips, numbers: npt.NDArray[np.int64]) -> None:
        paths = tuple(clips.paths[number] for number in numbers)
        super().__init__(clips.samples, clips.starts, paths)
        object.__setattr__(self, "_numbers", numbers)
        object.__setattr__(self, "_all", clips)

    def clip(self, index: int) -> npt.NDArray[np.int16]:
        """Return one recording, ``(n,)`` int16."""
        clips: Clips = self._all  # type: ignore[attr-defined]
        return clips.clip(int(self._numbers[index]))  # type: ignore[attr-defined]


def part_of(data: Data, kind: str, held_out: bool) -> Clips:
    """Return the recordings of a kind to fit, or those that are held out; groups are not divided.

    A kind with too few groups for both parts is in both.
    """
    clips = data.clips([kind], "train")
    groups = {data.name(r): r.group.removeprefix(str(r.root)) for r in data.of([kind], "train")}
    chosen = [i for i, path in enumerate(clips.paths) if is_held_out(groups[path]) == held_out]
    return Selection(clips, np.array(chosen or range(len(clips)), np.int64))


def is_held_out(group: str) -> bool:
    """Return whether a group of recordings is held out; its name decides, independently of other groups."""
    return hashlib.sha256(group.encode("utf-8", "surrogateescape")).digest()[0] % HELD_OUT == 0


def share_of(responses: list[FloatArray], held_out: bool) -> list[FloatArray]:
    """Return the responses to fit, or those that are held out; all of them if there are none."""
    return [response for i, response in enumerate(responses) if (i % HELD_OUT == 0) == held_out] or responses
