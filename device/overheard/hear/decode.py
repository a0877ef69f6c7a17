"""Decode audio files to mono float32.

Decoding is PyAV on one thread (indexing runs one process per core), channels are averaged before a streaming
soxr resampler sees them, and seconds are batched: numpy calls for each frame would cost as much as decoding.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soxr

from overheard.errors import AudioError
from overheard.text import clean

_log = logging.getLogger(__name__)
_MAX_LEVEL = 1e6  # 120 dB over full scale
_BATCH_S = 5.0
_MAX_BROKEN_READS = 100  # a file with more holes than this is not worth reading on
# Nothing leaves this machine: a playlist that is named .mp3 must not make the decoder open a network address.
_OPEN_OPTIONS = {"protocol_whitelist": "file"}


def decode(path: str | os.PathLike[str], sample_rate: int = 8000) -> Iterator[npt.NDArray[np.float32]]:
    """Decode an audio file in bounded memory.

    Parameters
    ----------
    path : path-like
        Any file that ffmpeg's libraries read; the first audio stream counts.
    sample_rate : int
        Wanted rate in Hz.

    Yields
    ------
    ndarray, (n,) float32
        Mean of the channels, nominally in [-1, 1], a few seconds each.

    Raises
    ------
    AudioError
        If the file is missing, empty, not audio, or mostly damaged. Single damaged packets are skipped.
    """
    name = os.fspath(path)
    resampler: soxr.ResampleStream | None = None
    rate = 0
    for frames in _batches(name):
        if resampler is not None and frames[0].sample_rate != rate:  # chained streams may change their rate
            yield from _nonempty(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            resampler = None
        rate = frames[0].sample_rate
        mono = _downmix(frames)
        if rate == sample_rate:
            yield from _nonempty(mono)
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
        yield from _nonempty(resampler.resample_chunk(mono))
    if resampler is not None:
        yield from _nonempty(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


def load(path: str | os.PathLike[str], sample_rate: int = 8000) -> npt.NDArray[np.float32]:
    """Decode a whole audio file.

    Returns
    -------
    ndarray, (n,) float32
        Mono at `sample_rate`.

    Raises
    ------
    AudioError
        As :func:`decode`.
    """
    blocks = list(decode(path, sample_rate))
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)  # a few samples resample to none


def _batches(name: str) -> Iterator[list[Any]]:
    """Yield lists of decoded frames of one rate, format and channel count, some seconds long together."""
    batch: list[Any] = []
    n_samples = 0
    kind: tuple[Any, ...] = ()
    for frame in _frames(name):
        frame_kind = (frame.sample_rate, frame.format.name, frame.layout.nb_channels)
        if batch and (frame_kind != kind or n_samples >= _BATCH_S * frame.sample_rate):
            yield batch
            batch, n_samples = [], 0
        kind = frame_kind
        batch.append(frame)
        n_samples += frame.samples
    if batch:
        yield batch


def _frames(name: str) -> Iterator[Any]:
    try:
        if os.path.isfile(name) and os.path.getsize(name) == 0:
            raise AudioError(f"{clean(name)}: the file is empty")
        # An absolute path, since "a:b.ogg" would be taken for a protocol.
        with av.open(os.path.abspath(name), options=_OPEN_OPTIONS, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AudioError(f"{clean(name)}: there is no audio in it")
            yield from _decode_packets(container, clean(name))
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{clean(name)}: cannot be read as audio ({reason})") from error


def _decode_packets(container: Any, shown_name: str) -> Iterator[Any]:
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1
    good = broken = broken_reads = 0
    at_end = False
    while not at_end and broken_reads < _MAX_BROKEN_READS:
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    broken += 1
                    continue
                for frame in frames:
                    if frame.samples and frame.sample_rate:
                        good += 1
                        yield frame
            at_end = True
        except av.error.InvalidDataError:  # a hole in the container: go on behind it
            broken_reads += 1
    if good == 0:
        raise AudioError(f"{shown_name}: there is no audio in it")
    if broken > good:
        raise AudioError(f"{shown_name}: most of it is damaged ({broken} of {broken + good} packets)")
    if broken or broken_reads:
        _log.warning("%s: %d damaged packets were skipped", shown_name, broken + broken_reads)


def _downmix(frames: Sequence[Any]) -> npt.NDArray[np.float32]:
    """Average the channels of frames of one format: (n,) float32."""
    n_channels = frames[0].layout.nb_channels
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    if not frames[0].format.is_planar:
        samples = samples.reshape(-1, n_channels).T
    offset, scale = 0.0, 1.0
    if samples.dtype.kind == "u":  # 8 bit audio is unsigned
        offset, scale = 128.0, 128.0
    elif samples.dtype.kind == "i":
        scale = -float(np.iinfo(samples.dtype).min)
    mono: npt.NDArray[np.float32] = samples[0].astype(np.float32)
    for channel in samples[1:]:
        mono += channel
    mono *= np.float32(1.0 / (scale * n_channels))
    if offset:
        mono -= np.float32(offset / scale)
    if not np.abs(mono).max(initial=0) <= _MAX_LEVEL:  # float files may hold NaN, or what has no square
        np.nan_to_num(mono, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(mono, -_MAX_LEVEL, _MAX_LEVEL, out=mono)
    return mono


def _nonempty(samples: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    if len(samples):
        yield samples
