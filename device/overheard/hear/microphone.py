"""Capture live audio through PortAudio: microphones, and monitors of PulseAudio and PipeWire."""

from __future__ import annotations

import collections
import itertools
import logging
import os
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from overheard.errors import AudioError
from overheard.hear.devices import error_text, find_device, load_portaudio
from overheard.hear.portaudio import PORTAUDIO
from overheard.hear.resampler import Resampler
from overheard.hear.route import Route, confirmed, watching_route
from overheard.hear.sound_server import tagged
from overheard.hear.source import EMPTY_BLOCK, SAMPLE_RATE, AudioSource, Block, DeviceLost, Gap, Rerouted
from overheard.process import environment

log = logging.getLogger(__name__)

# PortAudio wakes this process about three times per latency: 0.5 s costs a tenth of the time of "high".
_LATENCY_S = 0.5
_POLL_S = 0.25
_START_TIMEOUT_S = 8.0  # a monitor may need seconds until its first block
_STALL_TIMEOUT_S = 4.0  # a device that delivers no audio for this long is lost
_STALLED_POLLS = 4  # without audio: a process that was stopped polls before audio reaches it again
_MAX_OVERFLOW_S = 60.0  # longer gaps come from drivers with wrong time stamps
_FALLBACK_RATES = (48000, 44100, 16000, SAMPLE_RATE)
_STEREO_ONLY = ("left", "right", "difference")
_NUMBERS = itertools.count(1)  # of the sources of this process


class SampleQueue:
    """Bounded queue between the capture callback and the reader.

    A full queue drops its oldest samples, counts them, and marks the gap.

    Parameters
    ----------
    max_samples : int
        Capacity, at the device's sample rate.
    """

    def __init__(self, max_samples: int) -> None:
        self._max_samples = max_samples
        self._lock = threading.Lock()
        # Each item: samples lost before it, its own samples, its data.
        self._items: collections.deque[tuple[int, int, bytes]] = collections.deque()
        self._n_samples = 0
        self._lost_before_first = 0
        self.dropped_samples = 0

    def put(self, data: bytes, n_samples: int, lost_before: int = 0) -> None:
        """Append data. PortAudio's thread calls this, so it only copies and counts."""
        with self._lock:
            self._items.append((lost_before, n_samples, data))
            self._n_samples += n_samples
            while self._n_samples > self._max_samples and len(self._items) > 1:
                lost, n, _ = self._items.popleft()
                self._n_samples -= n
                self._lost_before_first += lost + n
                self.dropped_samples += n

    def drain(self) -> list[tuple[int, bytes]]:
        """Remove everything; return runs of joined data, each with the number of samples lost before it."""
        with self._lock:
            items, lost = self._items, self._lost_before_first
            self._items, self._n_samples, self._lost_before_first = collections.deque(), 0, 0
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
    """Live input at its own sample rate, resampled to 8 kHz mono.

    Each further call of `blocks`, after `DeviceLost` or a pause, refreshes PortAudio's list of devices and
    tries to open the same device. It finds the device by name, since numbers change when a device is plugged
    in again. While PortAudio restarts for another source, this one closes its device, and marks the gap.

    Parameters
    ----------
    spec : str
        As for :func:`overheard.hear.devices.find_device`.
    queue_s : float
        Capacity of the queue in seconds.
    channel : str
        As the setting ``listen.channel``.
    sample_rate : int
        In Hz; 0 for the device's own, or the next one that works.

    Raises
    ------
    AudioError
        If PortAudio is missing or there is no such device.
    """

    live = True

    def __init__(self, spec: str, queue_s: float = 10.0, channel: str = "auto", sample_rate: int = 0) -> None:
        super().__init__()
        self._queue_s = queue_s
        self._spec = spec
        self._channel, self._rate = channel, sample_rate
        self._tag = f"{os.getpid()}-{next(_NUMBERS)}"  # names its stream on the sound server
        self._again = False  # whether the device was open before
        index, self._env = find_device(spec)
        info = load_portaudio().query_devices(index, "input")
        self._device_name = str(info["name"])
        self.name = spec if spec == "monitor" or spec.startswith("pulse:") else self._device_name
        self._route = Route(spec, self.name)

    def blocks(self) -> Generator[Block | Gap | Rerouted, None, None]:
        """Open the device; four times a second, yield the audio that arrived."""
        refresh, closed_s = self._again, 0.0
        while not self._closed.is_set():
            stream, queue, channels = self._opened(refresh)
            if closed_s:
                yield Gap(round((time.monotonic() - closed_s) * SAMPLE_RATE), slow=False)
            try:
                with watching_route(self._route, self._tag) as watch:
                    yield from confirmed(self._read(stream, queue, channels), watch)
            finally:
                with PORTAUDIO.closing():
                    _close(stream)
            refresh, closed_s = False, time.monotonic()

    def _opened(self, refresh: bool) -> tuple[Any, SampleQueue, int]:
        """Open the device. If it was open before, it is lost if this fails."""
        try:
            if refresh:
                PORTAUDIO.refresh()
            with PORTAUDIO.opening():
                opened = self._open()
        except AudioError as error:
            if self._again:
                raise DeviceLost(error.problem, error.remedy) from error
            raise
        self._again = True
        return opened

    def _open(self) -> tuple[Any, SampleQueue, int]:
        """Open the device at its own sample rate or the next one that works, or at the chosen one.

        A microphone is opened in mono or else stereo. What the sound server plays may be stereo of opposite
        phase, which the server would mix to silence: it is opened in stereo or else mono, as is an input
        whose channels the user wants to choose.
        """
        sd = load_portaudio()
        index, self._env = find_device(self._reopen_spec() if self._again else self._spec)
        info = sd.query_devices(index, "input")
        rates = dict.fromkeys([round(info["default_samplerate"]), *_FALLBACK_RATES])
        most = min(2, int(info["max_input_channels"]))
        if self._channel in _STEREO_ONLY and most < 2:
            raise AudioError(f"{self.name} has one channel only", 'set listen.channel = "auto"')
        counts = sorted({1, most}, reverse="monitor" in self._spec or self._channel != "auto")
        if self._channel in _STEREO_ONLY:
            counts = [most]
        failure: Exception | None = None
        for rate in [self._rate] if self._rate else rates:
            for channels in counts:
                try:
                    return (*self._start(sd, index, rate, channels), channels)
                except sd.PortAudioError as error:
                    failure = failure or error
        problem = f"{self.name} cannot be opened: {error_text(failure)}"
        if self._rate:
            raise AudioError(f"{problem} (at {self._rate} Hz)", "set listen.sample_rate = 0")
        raise AudioError(problem, "run `overheard devices` and select another input")

    def _reopen_spec(self) -> str:
        """Return the spec that finds the device again."""
        return self._device_name if self._spec.isdigit() else self._spec

    def _start(self, sd: Any, index: int | None, rate: int, channels: int) -> tuple[Any, SampleQueue]:
        queue = SampleQueue(round(self._queue_s * rate))
        expected_s: float | None = None

        def callback(data: Any, n_samples: int, times: Any, status: Any) -> None:
            nonlocal expected_s
            lost = 0
            now_s = times.inputBufferAdcTime
            if status.input_overflow:  # the time stamps show how much is lost; some drivers have none
                late_s = now_s - expected_s if expected_s is not None else 0.0
                lost = max(1, round(min(late_s, _MAX_OVERFLOW_S) * rate))
            expected_s = now_s + n_samples / rate
            queue.put(bytes(data), n_samples, lost)

        # The sound server's client library reads these when it connects.
        with environment({**self._env, **tagged(self._tag)}):
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
        resampler = Resampler(rate, channels, self._channel)
        last_audio_s, timeout_s, n_silent = time.monotonic(), _START_TIMEOUT_S, 0
        while not self._closed.wait(_POLL_S) and not PORTAUDIO.restarting:
            runs = queue.drain()
            if runs:
                last_audio_s, timeout_s, n_silent = time.monotonic(), _STALL_TIMEOUT_S, 0
            for lost, data in runs:
                if lost:
                    resampler.reset()
                    yield Gap(round(lost * SAMPLE_RATE / rate))
                yield resampler.process(np.frombuffer(data, np.int16))
            if runs:
                continue
            yield EMPTY_BLOCK
            n_silent += 1
            stalled = n_silent >= _STALLED_POLLS and time.monotonic() - last_audio_s > timeout_s
            if stalled or not stream.active:
                raise DeviceLost(f"{self.name} no longer delivers audio")


def _close(stream: Any) -> None:
    stream.abort(ignore_errors=True)
    stream.close(ignore_errors=True)
