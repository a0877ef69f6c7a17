"""Hash the audio packets of a file without decoding them.

The hash stays the same when the file is renamed or its tags change, so it shows whether a fingerprint still
applies. It takes a small part of the time of decoding.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from overheard.errors import AudioError
from overheard.files import open_regular
from overheard.hear.container import opened
from overheard.hear.mpeg_frames import FrameCheck

_POLL_PACKETS = 1000  # between calls of `cancelled`
_GUESSED = {"aac", "ac3", "eac3", "dts", "amr", "loas"}  # formats without an index: the duration is a guess
_MAX_MP3_FRAME = 2881  # bytes, MPEG-2 layer II at 160 kbit/s
_MPEG_AUDIO = ("mp3", "mp2")  # starts of the names of decoders
_MP3_INDEX = (b"Xing", b"Info", b"VBRI")  # of which one is in the frame before the first packet


@dataclasses.dataclass(frozen=True)
class AudioPackets:
    """Facts about the audio of a file.

    Attributes
    ----------
    hash : str
        SHA-256 of the codec's name, rate and channels, and of the contents of all packets, as 32 hex digits.
    declared_s : float
        Duration according to the file's header. If it has none, the duration of all packets, and of what
        was overwritten in them.
    gaps : float
        Part of the packets in front of which others are missing, as far as the format shows it.
    """

    hash: str
    declared_s: float
    gaps: float = 0.0


def audio_packets(
    path: str | os.PathLike[str], cancelled: Callable[[], bool] = lambda: False
) -> AudioPackets | None:
    """Read the packets of the first audio stream.

    Returns
    -------
    AudioPackets or None
        None if the file has no audio stream, if a part of it cannot be read, or if `cancelled`, which is
        polled several times a second, returns True.
    """
    try:
        with opened(path) as container:
            return _read(container, cancelled)
    except AudioError:
        return None  # decoding it reports the reason


def _read(container: Any, cancelled: Callable[[], bool]) -> AudioPackets | None:
    stream = container.streams.audio[0]
    codec = stream.codec_context
    digest = hashlib.sha256(f"{codec.name} {codec.sample_rate} {codec.channels}\n".encode())
    first: int | None = None  # position of the first packet in the file
    check = FrameCheck() if codec.name.startswith(_MPEG_AUDIO) else None
    n_bytes = duration = 0
    for number, packet in enumerate(container.demux(stream)):
        if number % _POLL_PACKETS == 0 and cancelled():
            return None
        if packet.size:
            # Not the lengths of the packets: of PCM they depend on where the demuxer began.
            digest.update(packet)
            n_bytes += packet.size
            duration += packet.duration or 0
            if check is not None:
                check.add(memoryview(packet))
            first = packet.pos if first is None else first
    if not n_bytes:
        return None
    declared_s, gaps = _declared_s(container, stream, first), 0.0
    if check is not None:
        declared_s, gaps = declared_s or check.expected_s, check.n_gaps / max(1, check.n_frames)
    elif stream.time_base is not None:
        declared_s = declared_s or float(duration * stream.time_base)
    return AudioPackets(digest.hexdigest()[:32], declared_s, gaps)


def _declared_s(container: Any, stream: Any, first: int | None) -> float:
    """Return the duration that the file's header states, 0 if FFmpeg guessed it from the bit rate."""
    name = container.format.name
    if name in _GUESSED or (name == "mp3" and not _has_mp3_index(container.name, first)):
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration:
        return float(container.duration / av.time_base)
    return 0.0


def _has_mp3_index(path: str, first: int | None) -> bool:
    if first is None:
        return False
    with open_regular(Path(path)) as file:
        file.seek(max(0, first - _MAX_MP3_FRAME))
        before = file.read(min(first, _MAX_MP3_FRAME))
    return any(word in before for word in _MP3_INDEX)
