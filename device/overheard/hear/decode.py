"""Decode audio files to mono float32 blocks at one sample rate, in bounded memory.

PyAV decodes on one thread, because indexing runs one process per core. The channels are mixed before the
streaming soxr resampler, so that only one channel is resampled. Frames are processed in batches of seconds:
NumPy calls for single frames cost as much time as decoding.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
import numpy.typing as npt
import soxr

from overheard.errors import AudioError
from overheard.files import open_regular
from overheard.hear.container import Source, openable, opened, shown_name
from overheard.hear.downmix import Downmixer
from overheard.hear.ogg import Part, chain

_log = logging.getLogger(__name__)

_BATCH_S = 5.0
_MAX_CONTAINER_ERRORS = 100  # a container that is damaged in more positions than this is given up


def decode(
    source: Source, sample_rate: int = 8000, batch_s: float = _BATCH_S
) -> Iterator[npt.NDArray[np.float32]]:
    """Decode an audio file in bounded memory.

    Parameters
    ----------
    source : any file that ffmpeg's libraries can read; the first audio stream is decoded
    sample_rate : of the output, in Hz
    batch_s : approximate length of the blocks; shorter ones arrive sooner and take more time

    Yields
    ------
    ndarray, (n,) float32
        Mono, mixed by `Downmixer`, nominally in [-1, 1].

    Raises
    ------
    AudioError
        If the file is missing, empty, not audio, or mostly damaged. Single damaged packets are skipped.
    """
    resampler: soxr.ResampleStream | None = None
    input_rate = 0
    for frames in _batches(source, batch_s):
        if frames[0].sample_rate != input_rate:  # chained streams may change it
            if resampler is not None:
                yield from _nonempty(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
                resampler = None
            input_rate = frames[0].sample_rate
            downmixer = Downmixer(input_rate)
        mono = _downmix(frames, downmixer)
        if input_rate != sample_rate:
            resampler = resampler or soxr.ResampleStream(input_rate, sample_rate, 1, "float32", quality="HQ")
            mono = resampler.resample_chunk(mono)
        yield from _nonempty(mono)
    if resampler is not None:
        yield from _nonempty(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


def load(source: Source, sample_rate: int = 8000, longest_s: float = math.inf) -> npt.NDArray[np.float32]:
    """Decode an audio file into one array.

    Parameters
    ----------
    source : path-like or binary file
        As for :func:`decode`.
    sample_rate : int
        Sample rate of the output in Hz.
    longest_s : float
        Seconds after which the rest of the file is not read.

    Returns
    -------
    ndarray, (n,) float32
        Mono, mixed by `Downmixer`, at `sample_rate`, nominally in [-1, 1].

    Raises
    ------
    AudioError
        As for :func:`decode`.
    """
    # A few input samples may resample to no output sample.
    blocks, n_samples = [np.zeros(0, np.float32)], 0
    for block in decode(source, sample_rate):
        blocks.append(block)
        n_samples += len(block)
        if n_samples >= longest_s * sample_rate:
            break
    samples = np.concatenate(blocks)
    return samples if math.isinf(longest_s) else samples[: round(longest_s * sample_rate)]


def _batches(source: Source, batch_s: float) -> Iterator[list[Any]]:
    """Yield lists of decoded frames, seconds long, with one sample rate, format and channel count each."""
    batch: list[Any] = []
    n_samples = 0
    batch_format: tuple[Any, ...] = ()
    for frame in _frames(source):
        frame_format = (frame.sample_rate, frame.format.name, frame.layout.nb_channels)
        if batch and (frame_format != batch_format or n_samples >= batch_s * frame.sample_rate):
            yield batch
            batch, n_samples = [], 0
        batch_format = frame_format
        batch.append(frame)
        n_samples += frame.samples
    if batch:
        yield batch


def _frames(source: Source) -> Iterator[Any]:
    shown = shown_name(source)
    with _searchable(source, shown) as file:
        parts = [] if file is None else _parts(file)
        if file is None or not parts:
            with opened(source) as container:
                yield from _decode_packets(container, shown)
        else:
            yield from _decode_parts(file, parts, shown)


@contextlib.contextmanager
def _searchable(source: Source, shown: str) -> Iterator[BinaryIO | None]:
    """Yield the source as a file, or None if it is a pipe or cannot be opened."""
    if not isinstance(source, str | os.PathLike):
        yield source if hasattr(source, "seek") else None
        return
    try:
        openable(source, shown)
        file = open_regular(Path(source))
    except OSError:  # `opened` reports the reason
        yield None
        return
    with file:
        yield file


def _parts(file: BinaryIO) -> list[tuple[int, int]]:
    try:
        return chain(file)
    except OSError:  # decoding it reports the reason
        return []


def _decode_parts(file: BinaryIO, parts: Sequence[tuple[int, int]], shown: str) -> Iterator[Any]:
    """Decode the parts of a chained Ogg file; ffmpeg itself stops where the rate or the channels change."""
    failures: list[AudioError] = []
    for start, end in parts:
        part = cast(BinaryIO, Part(file, start, end))
        try:
            with opened(part, shown) as container:
                yield from _decode_packets(container, shown)
        except AudioError as error:
            failures.append(error)
    if len(failures) == len(parts):
        raise failures[0]
    if failures:
        _log.warning("%s: skipped %d damaged parts of %d", shown, len(failures), len(parts))


def _decode_packets(container: Any, shown_path: str) -> Iterator[Any]:
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1
    n_frames = n_damaged_packets = n_container_errors = 0
    at_end = False
    while not at_end and n_container_errors < _MAX_CONTAINER_ERRORS:
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    n_damaged_packets += 1
                    continue
                for frame in frames:
                    if frame.samples and frame.sample_rate:
                        n_frames += 1
                        yield frame
            at_end = True
        except av.error.InvalidDataError:  # the container is damaged here: continue behind the damage
            n_container_errors += 1
    if n_frames == 0:
        raise AudioError(f"{shown_path}: no audio in this file")
    if n_damaged_packets > n_frames:
        total = n_damaged_packets + n_frames
        raise AudioError(f"{shown_path}: mostly damaged ({n_damaged_packets} of {total} packets)")
    if n_damaged_packets or n_container_errors:
        _log.warning("%s: skipped %d damaged packets", shown_path, n_damaged_packets + n_container_errors)


def _downmix(frames: Sequence[Any], downmixer: Downmixer) -> npt.NDArray[np.float32]:
    """Mix the channels of frames that have one format; return `(n,)` float32."""
    samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)
    if not frames[0].format.is_planar:
        samples = samples.reshape(-1, frames[0].layout.nb_channels).T
    if samples.dtype.kind == "u":  # 8-bit audio is unsigned
        return downmixer.process(samples, scale=128.0, offset=128.0)
    full_scale = -float(np.iinfo(samples.dtype).min) if samples.dtype.kind == "i" else 1.0
    return downmixer.process(samples, full_scale)


def _nonempty(samples: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    if len(samples):
        yield samples
