"""Define the interface of audio sources: blocks of 8 kHz mono, gaps, and loss of the device."""

from __future__ import annotations

import abc
import dataclasses
import threading
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from overheard.errors import AudioError
from overheard.fingerprint.spec import SPEC

SAMPLE_RATE = SPEC.frontend.sample_rate
BLOCK_S = 0.25
Block = npt.NDArray[np.int16]  # (n,) mono at SAMPLE_RATE
EMPTY_BLOCK: Block = np.zeros(0, np.int16)  # a waiting source yields it, so that its reader can stop


@dataclasses.dataclass(frozen=True)
class Gap:
    """Audio that was lost between two blocks."""

    n_samples: int  # at SAMPLE_RATE
    slow: bool = True  # because the reader is too slow; False: the device was closed for a moment


@dataclasses.dataclass(frozen=True)
class Rerouted:
    """The sound server connected a stream to another source; the audio that follows is from that one."""

    name: str  # of the source in the history
    source: str  # value for --input
    before: str  # the source so far, value for --input
    reason: Literal["gone", "moved", "returned"]  # the one before is gone, or not, or the usual one is back
    away: bool = dataclasses.field(default=False, compare=False)  # it is not the one that the user wants


class DeviceLost(AudioError):
    """A device stopped working. Call `blocks` again to try to reopen it."""


class AudioSource(abc.ABC):
    """Source of audio.

    Attributes
    ----------
    name : str
        Name of the source in the history.
    live : bool
        Whether the source delivers audio in real time, such as a microphone, and not as fast as it is read.
    """

    name: str = ""
    live: bool = False

    def __init__(self) -> None:
        self._closed = threading.Event()

    @abc.abstractmethod
    def blocks(self) -> Iterator[Block | Gap | Rerouted]:
        """Open the source and yield its audio until it ends or is closed.

        A source that waits for audio yields `EMPTY_BLOCK` at least twice a second.

        Raises
        ------
        AudioError
            If the source cannot be opened or read.
        DeviceLost
            If the device stops working after it was opened.
        """

    def close(self) -> None:
        """Make `blocks` end soon. Any thread may call this."""
        self._closed.set()
