"""What every audio source has in common: blocks of 8 kHz mono, gaps, and how it ends."""

from __future__ import annotations

import abc
import dataclasses
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from overheard.errors import AudioError
from overheard.fingerprint.spec import SPEC

SAMPLE_RATE = SPEC.frontend.sample_rate
BLOCK_S = 0.25
Block = npt.NDArray[np.int16]  # (n,) mono at SAMPLE_RATE; an empty one only says that nothing came yet
NOTHING: Block = np.zeros(0, np.int16)


@dataclasses.dataclass(frozen=True)
class Gap:
    """Sound that was lost, so that what follows does not join what came before."""

    n_samples: int


class DeviceLost(AudioError):
    """A device that worked is gone; `blocks` may be called again to look for it."""


class AudioSource(abc.ABC):
    """A source of sound.

    Attributes
    ----------
    name
        What the history calls it.
    live
        Whether its second is a second of the wall clock.
    """

    name: str = ""
    live: bool = False

    def __init__(self) -> None:
        self._closed = threading.Event()

    @abc.abstractmethod
    def blocks(self) -> Iterator[Block | Gap]:
        """Open the source and yield what it delivers until it ends or is closed.

        A source that waits yields an empty block at least twice a second, so that its reader can stop.

        Raises
        ------
        AudioError
            If it cannot be opened or read.
        DeviceLost
            If it was lost meanwhile.
        """

    def close(self) -> None:
        """Let `blocks` end soon; may be called from any thread."""
        self._closed.set()
