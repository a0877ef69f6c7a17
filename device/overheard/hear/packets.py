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

_POLL_PACKETS = 1000  # between calls of `cancelled`
_OPEN_OPTIONS = {"protocol_whitelist": "file"}  # a playlist must not make the demuxer open an address
_METADATA_OPTIONS: dict[str, Any] = (  # as in hear.decode
    {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
)
_GUESSED = {"aac", "ac3", "eac3", "dts", "amr", "loas"}  # formats without an index: the duration is a guess
_MAX_MP3_FRAME = 2881  # bytes, MPEG-2 layer II at 160 kbit/s
_MP3_INDEX = (b"Xing", b"Info", b"VBRI")  # of which one is in the frame before the first packet


@dataclasses.dataclass(frozen=True)
class AudioPackets:
    """Facts about the audio of a file.

    Attributes
    ----------
    hash : str
        SHA-256 of the codec's name, rate and channels, and of the contents of all packets, as 32 hex digits.
    declared_s : float
        Duration according to the file's header; 0 if it has none.
    """

    hash: str
    declared_s: float


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
        file = str(Path(path).absolute())
        with av.open(file, options=_OPEN_OPTIONS, **_METADATA_OPTIONS) as container:
            return _read(container, cancelled) if container.streams.audio else None
    except (av.error.FFmpegError, OSError):
        return None  # decoding it reports the reason


def _read(container: Any, cancelled: Callable[[], bool]) -> AudioPackets | None:
    stream = container.streams.audio[0]
    codec = stream.codec_context
    digest = hashlib.sha256(f"{codec.name} {codec.sample_rate} {codec.channels}\n".encode())
    first: int | None = None  # position of the first packet in the file
    n_bytes = 0
    for number, packet in enumerate(container.demux(stream)):
        if number % _POLL_PACKETS == 0 and cancelled():
            return None
        if packet.size:
            # Not the lengths of the packets: of PCM they depend on where the demuxer began.
            digest.update(packet)
            n_bytes += packet.size
            first = packet.pos if first is None else first
    if not n_bytes:
        return None
    return AudioPackets(digest.hexdigest()[:32], _declared_s(container, stream, first))


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
    with Path(path).open("rb") as file:
        file.seek(max(0, first - _MAX_MP3_FRAME))
        before = file.read(min(first, _MAX_MP3_FRAME))
    return any(word in before for word in _MP3_INDEX)
