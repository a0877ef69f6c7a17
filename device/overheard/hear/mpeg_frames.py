"""Find frames that are missing or overwritten in an MP3, which decoders do not report.

A frame of layer III may begin in the rest of the frames before it, its bit reservoir. Where a frame refers to
more bytes than these left over, the frames between them are missing. Sources: ISO/IEC 11172-3, 2.4.1.3
(header) and 2.4.1.7 (side information); ISO/IEC 13818-3 for the lower sample rates.
"""

from __future__ import annotations

import dataclasses

_KBIT_S = {  # by MPEG version (3 is MPEG-1; 2 is MPEG-2, 0 is 2.5) and layer (1 is III, 2 is II)
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (2, 1): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBIT_S |= {(version, layer): _KBIT_S[2, 1] for version in (2, 0) for layer in (1, 2)}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_TAGS = (b"APETAGEX", b"ID3", b"LYRICSBEGIN")  # may be between frames and at the end
_LAYER_3 = 1
_MPEG_1 = 3
_MONO = 3
_HEADER_BYTES = 4
_CHECKSUM_BYTES = 2
_SIDE_BYTES = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}  # MPEG-1, mono
_MAX_START_BYTES = _HEADER_BYTES + _CHECKSUM_BYTES + 32


@dataclasses.dataclass(frozen=True)
class _Frame:
    """What the header and the side information of a frame state."""

    n_bytes: int
    duration_s: float
    reservoir_bytes: int = 0  # where its data begins, counted back from its own bytes
    left_bytes: int | None = None  # of the reservoir, at most, for the next frame; None if unknown


class FrameCheck:
    """Checks the packets of one MP3 in the order of the file.

    Attributes
    ----------
    n_frames : int
    n_gaps : int
        Frames in front of which others are missing, as far as it shows.
    """

    def __init__(self) -> None:
        self.n_frames = self.n_gaps = 0
        self._n_bytes = self._frame_bytes = 0
        self._duration_s = 0.0
        self._left_bytes: int | None = None

    @property
    def expected_s(self) -> float:
        """Duration if all bytes were frames, which is longer than that of a file with zeros in it."""
        return self._duration_s * self._n_bytes / max(1, self._frame_bytes)

    def add(self, packet: memoryview) -> None:
        """Check a packet, which starts or ends with a frame unless that is damaged."""
        frame = _parse(bytes(packet[:_MAX_START_BYTES])) or _at_end(bytes(packet))
        frame_bytes = 0 if frame is None else min(frame.n_bytes, len(packet))
        self._frame_bytes += frame_bytes
        self._n_bytes += len(packet)
        if frame_bytes < len(packet) and any(tag in bytes(packet) for tag in _TAGS):
            self._n_bytes += frame_bytes - len(packet)
        if frame is None:
            self._left_bytes = None
            return
        self.n_frames += 1
        self._duration_s += frame.duration_s
        if self._left_bytes is not None and frame.reservoir_bytes > self._left_bytes:
            self.n_gaps += 1
        self._left_bytes = frame.left_bytes


def _parse(start: bytes) -> _Frame | None:
    """Return the facts about a frame; None if these are not its first bytes."""
    if len(start) < _HEADER_BYTES or start[0] != 0xFF or start[1] & 0xE0 != 0xE0:
        return None
    version, layer = start[1] >> 3 & 3, start[1] >> 1 & 3
    rates, kbit_s = _RATES_HZ.get(version), _KBIT_S.get((version, layer))
    index, rate_index = start[2] >> 4, start[2] >> 2 & 3
    if rates is None or kbit_s is None or not 0 < index < len(kbit_s) or rate_index == len(rates):
        return None
    samples = 576 if layer == _LAYER_3 and version != _MPEG_1 else 1152
    n_bytes = samples // 8 * 1000 * kbit_s[index] // rates[rate_index] + (start[2] >> 1 & 1)
    frame = _Frame(n_bytes, samples / rates[rate_index])
    return _with_reservoir(frame, start, version == _MPEG_1) if layer == _LAYER_3 else frame


def _at_end(packet: bytes) -> _Frame | None:
    """Return the facts about the frame that a packet ends with, behind other bytes; None if there is none."""
    at = packet.find(b"\xff", 1)
    while at >= 0:
        frame = _parse(packet[at : at + _MAX_START_BYTES])
        if frame is not None and at + frame.n_bytes == len(packet):
            return frame
        at = packet.find(b"\xff", at + 1)
    return None


def _with_reservoir(frame: _Frame, start: bytes, is_mpeg_1: bool) -> _Frame:
    """Add what the side information of a frame of layer III states."""
    is_mono = start[3] >> 6 == _MONO
    side_start = _HEADER_BYTES if start[1] & 1 else _HEADER_BYTES + _CHECKSUM_BYTES
    side_bytes = _SIDE_BYTES[is_mpeg_1, is_mono]
    side = start[side_start : side_start + side_bytes].ljust(side_bytes, b"\0")  # a packet may be cut off
    bits = int.from_bytes(side, "big")
    n_bits = 8 * side_bytes
    n_channels = 1 if is_mono else 2
    if is_mpeg_1:  # two granules; 9 bits, then private bits and 4 bits per channel
        begin_bits, skipped, n_granules, granule_bits = 9, 18 if is_mono else 20, 2, 59
    else:
        begin_bits, skipped, n_granules, granule_bits = 8, 9 if is_mono else 10, 1, 63
    reservoir_bytes = bits >> (n_bits - begin_bits)
    used_bits = 0
    for number in range(n_granules * n_channels):
        end = skipped + number * granule_bits + 12  # of the length of a granule's data
        used_bits += bits >> (n_bits - end) & 0xFFF
    left_bytes = reservoir_bytes + frame.n_bytes - side_start - side_bytes - (used_bits + 7) // 8
    return dataclasses.replace(frame, reservoir_bytes=reservoir_bytes, left_bytes=max(0, left_bytes))
