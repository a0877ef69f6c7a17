"""Live sound through PortAudio: microphones, and the monitors of PulseAudio and PipeWire."""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from overheard.errors import AudioError
from overheard.hear.devices import find_device, load_portaudio, reason, refresh_devices
from overheard.hear.resampler import Resampler
from overheard.hear.source import NOTHING, SAMPLE_RATE, AudioSource, Block, DeviceLost, Gap
from overheard.process import environment

log = logging.getLogger(__name__)

# PortAudio wakes this process about every third of its latency; 0.5 s costs a tenth of what "high" does.
_LATENCY_S = 0.5
_POLL_S = 0.25
_START_S = 8.0  # a monitor may take seconds until its first block
_STALL_S = 4.0  # a device that delivers nothing for so long is gone
_TELL_S = 60.0  # dropped sound is told no more often
_FALLBACK_RATES = (48000, 44100, 16000, SAMPLE_RATE)


class SampleQueue:
    """Bounded queue from the capture callback: full, it drops the oldest and marks where."""

    def __init__(self, max_samples: int) -> None:
        self._max = max_samples
        self._lock = threading.Lock()
        self._items: collections.deque[tuple[int, int, bytes]] = collections.deque()  # lost before, samples
        self._n = 0
        self._lost_next = 0
        self.dropped_samples = 0

    def put(self, data: bytes, n_samples: int, lost_before: int = 0) -> None:
        """Append; called by PortAudio's thread, so it only copies and counts."""
        with self._lock:
            self._items.append((lost_before, n_samples, data))
            self._n += n_samples
            while self._n > self._max and len(self._items) > 1:
                lost, n, _ = self._items.popleft()
                self._n -= n
                self._lost_next += lost + n
                self.dropped_samples += n

    def drain(self) -> list[tuple[int, bytes]]:
        """Take all: runs of joined data, each with the number of samples lost before it."""
        with self._lock:
            items, lost = self._items, self._lost_next
            self._items, self._n, self._lost_next = collections.deque(), 0, 0
        runs: list[tuple[int, list[bytes]]] = []
        for lost_before, _, data in items:
            lost += lost_before
            if lost or not runs:
                runs.append((lost, [data]))
                lost = 0
            else:
                runs[-1][1].append(data)
        return [(lost, b"".join(parts)) for lost, parts in runs]


class MicrophoneSource(AudioSource):
    """A live input, at its own rate, resampled to 8 kHz mono.

    After `DeviceLost`, calling `blocks` again makes PortAudio look for devices anew and tries to open the
    same one, by name, since numbers change when a device is plugged in again.

    Raises
    ------
    AudioError
        If PortAudio is missing or there is no such device.
    """

    live = True

    def __init__(self, spec: str, queue_s: float = 10.0) -> None:
        super().__init__()
        self._queue_s = queue_s
        self._spec = spec
        self._lost = False
        index, self._env = find_device(spec)
        info = load_portaudio().query_devices(index, "input")
        self._device_name = str(info["name"])
        self.name = spec if spec == "monitor" or spec.startswith("pulse:") else self._device_name
        self.dropped_samples = 0
        self._tell_again_s = 0.0

    def blocks(self) -> Iterator[Block | Gap]:
        """Open the device and yield four times a second what it delivered."""
        try:
            if self._lost:
                refresh_devices()
            stream, queue, channels = self._open()
        except AudioError as error:
            if self._lost:
                raise DeviceLost(str(error)) from error
            raise
        self._lost = False
        try:
            yield from self._read(stream, queue, channels)
        finally:
            _close(stream)

    def _open(self) -> tuple[Any, SampleQueue, int]:
        """Open at the device's own rate, or the next that works; mono, or stereo to be averaged."""
        sd = load_portaudio()
        index, self._env = find_device(self._spec if not self._lost else self._again())
        info = sd.query_devices(index, "input")
        rates = dict.fromkeys([round(info["default_samplerate"]), *_FALLBACK_RATES])
        failure: Exception | None = None
        for rate in rates:
            for channels in dict.fromkeys([1, min(2, int(info["max_input_channels"]))]):
                try:
                    return (*self._start(sd, index, rate, channels), channels)
                except sd.PortAudioError as error:
                    failure = failure or error
        raise AudioError(f"{self.name} cannot be opened: {reason(failure)}; see `overheard devices`")

    def _again(self) -> str:
        """Return how to ask for the device that was lost."""
        return self._device_name if self._spec.isdigit() else self._spec

    def _start(self, sd: Any, index: int | None, rate: int, channels: int) -> tuple[Any, SampleQueue]:
        queue = SampleQueue(round(self._queue_s * rate))
        expected_s: float | None = None

        def callback(data: Any, n_samples: int, times: Any, status: Any) -> None:
            nonlocal expected_s
            lost = 0
            now_s = times.inputBufferAdcTime
            if status.input_overflow:  # how much is gone only the clock says, and not every driver's does
                late_s = now_s - expected_s if expected_s is not None else 0.0
                lost = max(1, round(min(late_s, 60.0) * rate))
            expected_s = now_s + n_samples / rate
            queue.put(bytes(data), n_samples, lost)

        with environment(self._env):  # the sound server's client reads it when it connects
            stream = sd.RawInputStream(
                samplerate=rate,
                blocksize=0,
                device=index,
                channels=channels,
                dtype="int16",
                latency=_LATENCY_S,
                callback=callback,
            )
            try:
                stream.start()
            except sd.PortAudioError:
                stream.close()
                raise
        log.debug("%s: %d Hz, %d channels, latency %.2f s", self.name, rate, channels, stream.latency)
        return stream, queue

    def _read(self, stream: Any, queue: SampleQueue, channels: int) -> Iterator[Block | Gap]:
        rate = round(stream.samplerate)
        resampler = Resampler(rate, channels)
        heard_s, patience_s = time.monotonic(), _START_S
        while not self._closed.wait(_POLL_S):
            runs = queue.drain()
            if runs:
                heard_s, patience_s = time.monotonic(), _STALL_S
                self._tell_dropped(queue.dropped_samples, rate, heard_s)
            for lost, data in runs:
                if lost:
                    resampler.reset()
                    yield Gap(round(lost * SAMPLE_RATE / rate))
                yield resampler.process(np.frombuffer(data, np.int16))
            if runs:
                continue
            yield NOTHING
            if not stream.active or time.monotonic() - heard_s > patience_s:
                self._lost = True
                raise DeviceLost(f"{self.name} delivers nothing any more")

    def _tell_dropped(self, n_samples: int, rate: int, now_s: float) -> None:
        if n_samples > self.dropped_samples and now_s >= self._tell_again_s:
            log.warning("recognition is too slow: %.1f s of sound dropped", n_samples / rate)
            self._tell_again_s = now_s + _TELL_S
        self.dropped_samples = n_samples


def _close(stream: Any) -> None:
    stream.abort(ignore_errors=True)
    stream.close(ignore_errors=True)
