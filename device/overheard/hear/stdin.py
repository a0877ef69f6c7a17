"""Sound from standard input: WAV, or raw 16-bit little-endian mono at 8 kHz."""

from __future__ import annotations

import dataclasses
import os
import select
import struct
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from overheard.errors import AudioError
from overheard.hear.resampler import Resampler
from overheard.hear.source import NOTHING, SAMPLE_RATE, AudioSource, Block, Gap

_POLL_S = 0.25
_READ_BYTES = 1 << 16
_OTHER_FORMATS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"FORM": "AIFF"}
_HINT = "pipe WAV instead, as `ffmpeg -i FILE -f wav -` writes it"
# (format tag, bits): numpy type, what is subtracted and full scale; 24 bits are widened to 32
_TYPES = {
    (1, 8): ("u1", 128.0, 128.0),
    (1, 16): ("<i2", 0.0, 32768.0),
    (1, 24): ("<i4", 0.0, 2147483648.0),
    (1, 32): ("<i4", 0.0, 2147483648.0),
    (3, 32): ("<f4", 0.0, 1.0),
    (3, 64): ("<f8", 0.0, 1.0),
}


@dataclasses.dataclass(frozen=True)
class WavFormat:
    """What a WAV header says."""

    tag: int  # 1 integers, 3 floats
    channels: int
    rate: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def decode(self, data: bytes) -> npt.NDArray[np.float32] | npt.NDArray[np.int16]:
        """Turn whole frames into interleaved samples: int16 as they are, others float32 in [-1, 1]."""
        kind, zero, scale = _TYPES[self.tag, self.bits]
        if kind == "<i2":
            return np.frombuffer(data, "<i2").astype(np.int16, copy=False)
        if self.bits == 24:
            wide = np.zeros((len(data) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            data = wide.tobytes()
        return ((np.frombuffer(data, kind).astype(np.float64) - zero) / scale).astype(np.float32)


RAW = WavFormat(tag=1, channels=1, rate=SAMPLE_RATE, bits=16)


class StdinSource(AudioSource):
    """Standard input; its seconds are counted from the samples, whatever the wall clock says."""

    name = "stdin"

    def __init__(self, fd: int | None = None) -> None:
        super().__init__()
        self._fd = sys.stdin.fileno() if fd is None else fd
        self._buffer = bytearray()
        self._ended = False

    def blocks(self) -> Iterator[Block | Gap]:
        """Yield what comes, as it comes."""
        while not self._ended and len(self._buffer) < 4:
            yield from self._fill()
        form, left = RAW, None
        if bytes(self._buffer[:4]) in (b"RIFF", b"RF64"):
            while (header := parse_header(self._buffer)) is None:
                if self._ended:
                    raise AudioError("standard input: the WAV header is cut off")
                yield from self._fill()
            form, left, start = header
            del self._buffer[:start]
        else:
            self._refuse_other()
        resampler = Resampler(form.rate, form.channels)
        while True:
            n_bytes = len(self._buffer) if left is None else min(left, len(self._buffer))
            n_bytes -= n_bytes % form.frame_bytes
            if n_bytes:
                yield resampler.process(form.decode(bytes(self._buffer[:n_bytes])))
                del self._buffer[:n_bytes]
                left = None if left is None else left - n_bytes
            if self._ended or (left is not None and left < form.frame_bytes):
                break
            yield from self._fill()
        if form.rate != SAMPLE_RATE:
            yield resampler.process(np.zeros(0, np.float32), last=True)

    def _refuse_other(self) -> None:
        for magic, name in _OTHER_FORMATS.items():
            if self._buffer.startswith(magic):
                raise AudioError(f"standard input is {name}: {_HINT}")

    def _fill(self) -> Iterator[Block]:
        """Read once; yield an empty block when nothing came for a moment, so that the reader can stop."""
        if self._closed.is_set():
            self._ended = True
        elif not _readable(self._fd):
            yield NOTHING
        else:
            try:
                data = os.read(self._fd, _READ_BYTES)
            except OSError as error:
                raise AudioError(f"standard input cannot be read: {error.strerror}") from error
            self._ended = not data
            self._buffer += data


def _readable(fd: int) -> bool:
    if os.name == "nt":  # select takes sockets only there
        return True
    return bool(select.select([fd], [], [], _POLL_S)[0])


def parse_header(data: bytes | bytearray) -> tuple[WavFormat, int | None, int] | None:
    """Read a WAV header.

    Returns
    -------
    Format, bytes of sound (None: until the end, as programs write that do not know yet) and where it starts;
    None if the header is not complete.

    Raises
    ------
    AudioError
        If the format is none that this reads.
    """
    if len(data) < 12:
        return None
    if data[8:12] != b"WAVE":
        raise AudioError(f"standard input is RIFF but no WAV: {_HINT}")
    at, form = 12, None
    while len(data) >= at + 8:
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            if form is None:
                raise AudioError("standard input: the WAV header lacks its format")
            endless = size == 0 or size >= 0x7FFF0000 or data[:4] == b"RF64"
            return form, None if endless else size, at + 8
        if name == b"fmt ":
            if len(data) < at + 8 + size:
                return None
            form = _parse_format(bytes(data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    if at > 1 << 20:
        raise AudioError("standard input: no sound in the first megabyte of the WAV")
    return None


def _parse_format(data: bytes) -> WavFormat:
    if len(data) < 16:
        raise AudioError("standard input: the WAV header's format is cut off")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data)
    if tag == 0xFFFE and len(data) >= 26:  # "extensible": the real tag follows
        (tag,) = struct.unpack_from("<H", data, 24)
    if (tag, bits) not in _TYPES or channels < 1 or not 1000 <= rate <= 768000:
        raise AudioError(f"standard input: WAV of kind {tag}, {bits} bits, {rate} Hz is not read: {_HINT}")
    return WavFormat(tag, channels, rate, bits)
