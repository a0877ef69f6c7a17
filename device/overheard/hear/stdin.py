"""Read audio from standard input: WAV, any other format that streams, or raw samples."""

from __future__ import annotations

import dataclasses
import os
import struct
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from overheard.errors import AudioError
from overheard.hear.pipe import Pipe, decoded, readable
from overheard.hear.resampler import Resampler
from overheard.hear.source import EMPTY_BLOCK, SAMPLE_RATE, AudioSource, Block, Gap

_MAGIC_BYTES = 12  # enough to recognize WAV and MP4
_READ_BYTES = 1 << 16
_MAX_HEADER_BYTES = 1 << 20  # a header may contain cover art; a longer one is not a WAV header
_STREAM_BYTES = 0x7FFF0000  # programs that write to a pipe put a size near 2 or 4 GiB into the header
_MIN_RATE_HZ, _MAX_RATE_HZ = 1000, 768000
_MAX_FORMAT_BYTES = 1 << 12  # of the chunk that states the format
_PIPE_WAV = "pipe WAV into it: `ffmpeg -i FILE -f wav - | overheard listen --input -`"
_ADD_RAW = "add --raw for raw 16-bit little-endian mono samples at 8 kHz"
_FROM_FILE = "name the file: `overheard listen --input FILE`"
# (format tag, bits): NumPy type, offset, full scale. 24-bit samples are widened to 32 bits.
_SAMPLE_TYPES = {
    (1, 8): ("u1", 128.0, 128.0),
    (1, 16): ("<i2", 0.0, 32768.0),
    (1, 24): ("<i4", 0.0, 2147483648.0),
    (1, 32): ("<i4", 0.0, 2147483648.0),
    (3, 32): ("<f4", 0.0, 1.0),
    (3, 64): ("<f8", 0.0, 1.0),
}
_EXTENSIBLE = 0xFFFE  # WAVE_FORMAT_EXTENSIBLE: the format tag is in the extension


@dataclasses.dataclass(frozen=True)
class WavFormat:
    """Sample format of a WAV file."""

    tag: int  # 1: integer, 3: float; others need a decoder
    channels: int
    rate: int  # Hz
    bits: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    @property
    def supported(self) -> bool:
        """Whether `decode` knows the format. Others, such as A-law, need a decoder."""
        return (self.tag, self.bits) in _SAMPLE_TYPES

    def decode(self, data: bytes) -> npt.NDArray[np.float32] | npt.NDArray[np.int16]:
        """Convert complete frames to interleaved samples: 16-bit to int16, others to float32 in [-1, 1]."""
        dtype, offset, full_scale = _SAMPLE_TYPES[self.tag, self.bits]
        if dtype == "<i2":
            return np.frombuffer(data, "<i2").astype(np.int16, copy=False)
        if self.bits == 24:
            widened = np.zeros((len(data) // 3, 4), np.uint8)
            widened[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            data = widened.tobytes()
        samples = np.frombuffer(data, dtype).astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # the downmixer replaces NaN and infinity
            return ((samples - offset) / full_scale).astype(np.float32)


RAW = WavFormat(tag=1, channels=1, rate=SAMPLE_RATE, bits=16)


class StdinSource(AudioSource):
    """Standard input as a source. Its clock counts samples and ignores the wall clock.

    Parameters
    ----------
    fd : int, optional
        File descriptor to read instead of standard input.
    raw : bool
        Whether the input is samples without a header: 16-bit little-endian mono at 8 kHz.

    Raises
    ------
    AudioError
        If standard input is closed.
    """

    name = "stdin"

    def __init__(self, fd: int | None = None, raw: bool = False) -> None:
        super().__init__()
        if fd is None and sys.stdin is None:
            raise AudioError("standard input is closed")
        self._fd = sys.stdin.fileno() if fd is None else fd
        self._raw = raw
        self._buffer = bytearray()
        self._ended = False

    def blocks(self) -> Iterator[Block | Gap]:
        """Yield audio as it arrives."""
        if self._raw:
            yield from self._samples(RAW, None)
            return
        while not self._ended and len(self._buffer) < _MAGIC_BYTES:
            yield from self._fill()
        if bytes(self._buffer[:4]) in (b"RIFF", b"RF64"):
            while (header := parse_header(self._buffer)) is None:
                if self._ended:
                    raise AudioError("standard input: the WAV header is incomplete")
                yield from self._fill()
            wav, n_bytes, header_bytes = header
            if wav.supported:
                del self._buffer[:header_bytes]
                yield from self._samples(wav, n_bytes)
                return
        if self._buffer:
            yield from self._decoded()

    def _samples(self, wav: WavFormat, remaining_bytes: int | None) -> Iterator[Block]:
        """Yield samples that need no decoder, to the end of the pipe or for a number of bytes."""
        resampler = Resampler(wav.rate, wav.channels)
        while True:
            available = len(self._buffer)
            n_bytes = available if remaining_bytes is None else min(remaining_bytes, available)
            n_bytes -= n_bytes % wav.frame_bytes
            if n_bytes:
                yield resampler.process(wav.decode(bytes(self._buffer[:n_bytes])))
                del self._buffer[:n_bytes]
                remaining_bytes = None if remaining_bytes is None else remaining_bytes - n_bytes
            if self._ended or (remaining_bytes is not None and remaining_bytes < wav.frame_bytes):
                break
            yield from self._fill()
        if wav.rate != SAMPLE_RATE:
            yield resampler.process(np.zeros(0, np.float32), last=True)

    def _decoded(self) -> Iterator[Block]:
        """Yield audio that needs a decoder, which recognizes its format."""
        start = bytes(self._buffer)
        self._buffer.clear()
        any_audio = False
        try:
            for block in decoded(Pipe(self._fd, start, self._closed), self._closed):
                any_audio = any_audio or block.size > 0
                yield block
        except AudioError as error:
            if any_audio:
                raise
            if start[4:8] == b"ftyp":
                problem = "standard input is an MP4 or M4A file whose index is at its end"
                raise AudioError(problem, _FROM_FILE) from error
            raise AudioError(error.problem, error.remedy or _ADD_RAW) from error

    def _fill(self) -> Iterator[Block]:
        """Read once. Yield an empty block if nothing arrives in time, so that the reader can stop."""
        if self._closed.is_set():
            self._ended = True
        elif not readable(self._fd):
            yield EMPTY_BLOCK
        else:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except OSError as error:
                raise AudioError(f"standard input cannot be read: {error.strerror}") from error
            self._ended = not data
            self._buffer += data


def parse_header(data: bytes | bytearray) -> tuple[WavFormat, int | None, int] | None:
    """Parse a WAV header.

    Parameters
    ----------
    data : the first bytes of the file, as many as are available

    Returns
    -------
    tuple or None
        Format, number of audio bytes (None: up to the end of the file), and length of the header in bytes.
        None if `data` ends before the header does.

    Raises
    ------
    AudioError
        If the file is not WAV or its sample format is not supported.
    """
    if len(data) < 12:
        return None
    if data[8:12] != b"WAVE":
        raise AudioError("standard input is RIFF, but not WAV", _PIPE_WAV)
    offset, wav = 12, None
    while len(data) >= offset + 8:
        chunk_id, size = struct.unpack_from("<4sI", data, offset)
        if chunk_id == b"data":
            if wav is None:
                raise AudioError("standard input: the WAV header does not state a format", _PIPE_WAV)
            endless = size == 0 or size >= _STREAM_BYTES or data[:4] == b"RF64"
            return wav, None if endless else size, offset + 8
        if chunk_id == b"fmt ":
            if len(data) < offset + 8 + min(size, _MAX_FORMAT_BYTES):
                return None
            wav = _parse_format(bytes(data[offset + 8 : offset + 8 + min(size, _MAX_FORMAT_BYTES)]), size)
        offset += 8 + size + size % 2
    if offset > _MAX_HEADER_BYTES:
        raise AudioError("standard input: no audio in the first megabyte of the WAV file", _PIPE_WAV)
    return None


def _parse_format(data: bytes, size: int) -> WavFormat:
    if size > _MAX_FORMAT_BYTES:
        raise AudioError("standard input: the format in the WAV header is invalid", _PIPE_WAV)
    if len(data) < 16:
        raise AudioError("standard input: the format in the WAV header is incomplete", _PIPE_WAV)
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data)
    if tag == _EXTENSIBLE and len(data) >= 26:
        (tag,) = struct.unpack_from("<H", data, 24)
    if channels < 1 or not _MIN_RATE_HZ <= rate <= _MAX_RATE_HZ:
        problem = f"standard input: WAV format {tag} with {channels} channels, {bits} bits, {rate} Hz"
        raise AudioError(f"{problem} is not supported", _PIPE_WAV)
    return WavFormat(tag, channels, rate, bits)
