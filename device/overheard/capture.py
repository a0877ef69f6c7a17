"""Where sound comes from: a microphone, a monitor, a file or standard input, all as blocks of 8 kHz mono."""

from __future__ import annotations

import abc
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overheard.errors import AudioError
from overheard.settings import Settings
from overheard.spec import SPEC

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


class Resampler:
    """Streaming conversion of interleaved samples of any rate to blocks of int16 mono at 8 kHz."""

    def __init__(self, rate: int, channels: int) -> None:
        self._rate = rate
        self._channels = channels
        self.reset()

    def reset(self) -> None:
        """Forget what came before, as after a gap."""
        self._stream = None
        if self._rate != SAMPLE_RATE:
            import soxr  # here, since a device that delivers 8 kHz does not need it

            self._stream = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")

    def process(self, samples: npt.NDArray[np.int16] | npt.NDArray[np.float32], last: bool = False) -> Block:
        """Convert the next samples, interleaved `(n * channels,)`: int16, or float32 in [-1, 1]."""
        is_int = samples.dtype == np.int16
        if is_int and self._stream is None and self._channels == 1:
            return samples.astype(np.int16, copy=False)
        floats = samples.astype(np.float32) / np.float32(32768 if is_int else 1)
        if self._channels > 1:
            floats = floats.reshape(-1, self._channels).mean(axis=1, dtype=np.float32)
        if self._stream is not None:
            floats = self._stream.resample_chunk(floats, last=last)
        return to_int16(floats)


def to_int16(samples: npt.NDArray[np.float32]) -> Block:
    """Round float samples in [-1, 1] to int16, clipping what lies outside."""
    block: Block = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767).astype(np.int16)
    return block


def to_float(block: Block) -> npt.NDArray[np.float32]:
    """Return a block as float32 in [-1, 1]."""
    return block.astype(np.float32) / np.float32(32768)


class FileSource(AudioSource):
    """A sound file, as fast as it can be read or, in real time, as fast as it would play."""

    def __init__(self, path: Path, realtime: bool = False) -> None:
        super().__init__()
        if not path.is_file():
            raise AudioError(f"{path}: no such sound file")
        self.name = path.name
        self._path = path
        self._realtime = realtime

    def blocks(self) -> Iterator[Block | Gap]:
        """Yield the file's blocks of a quarter of a second."""
        from overheard.audio import decode  # here, since a microphone needs no decoder

        started = time.monotonic()
        done_samples = 0
        for block in _cut(decode(self._path, SAMPLE_RATE), round(BLOCK_S * SAMPLE_RATE)):
            done_samples += block.size
            while self._realtime and not self._closed.is_set():
                wait_s = started + done_samples / SAMPLE_RATE - time.monotonic()
                if wait_s <= 0:
                    break
                self._closed.wait(wait_s)
            if self._closed.is_set():
                return
            yield block


def _cut(chunks: Iterator[npt.NDArray[np.float32]], size: int) -> Iterator[Block]:
    """Cut chunks of any length into blocks of one; the last may be shorter."""
    rest = np.zeros(0, np.float32)
    for chunk in chunks:
        rest = np.concatenate([rest, chunk])
        whole = rest.size - rest.size % size
        for at in range(0, whole, size):
            yield to_int16(rest[at : at + size])
        rest = rest[whole:]
    if rest.size:
        yield to_int16(rest)


def open_source(spec: str, settings: Settings, realtime: bool = False) -> AudioSource:
    """Make the source that a user named.

    Parameters
    ----------
    spec
        ``default``: the microphone that the system prefers. ``monitor``: what the computer itself plays.
        ``pulse:NAME``: a source of PulseAudio or PipeWire. ``-``: standard input, WAV or raw 16-bit mono at
        8 kHz. A file. A device's number or part of its name, as `overheard devices` lists them.
    settings
        The queue's length is `settings.listen.queue_s`.
    realtime
        Whether a file is read as fast as it would play, not as fast as possible.

    Raises
    ------
    AudioError
        If there is no such file or device.
    """
    if spec == "-":
        from overheard.wavstream import StdinSource

        return StdinSource()
    if spec not in ("default", "monitor") and Path(spec).is_file():
        return FileSource(Path(spec), realtime)
    if "/" in spec and not spec.startswith("pulse:"):
        raise AudioError(f"{spec}: no such sound file")
    from overheard.microphone import MicrophoneSource

    return MicrophoneSource(spec, settings.listen.queue_s)
