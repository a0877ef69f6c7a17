"""Read the picture that is embedded in an audio file's tags, and make a small JPEG of it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, cast

import av
from av.codec.context import CodecContext

from overheard.errors import AudioError
from overheard.hear.container import opened

MAX_PICTURE_BYTES = 16 << 20
MAX_PIXELS = 40_000_000  # 120 MB as RGB
_MAX_PACKETS = 64  # the picture is the first packet of its stream
# First bytes of the file formats that are decoded. Never SVG, which can contain programs.
_FORMATS = ((b"\xff\xd8\xff", "mjpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp"))
_CODECS = {codec for _, codec in _FORMATS}


def read_cover(path: str | os.PathLike[str], size: int) -> bytes | None:
    """Return the embedded cover of an audio file as a JPEG.

    The picture is decoded and encoded again, so that nothing but pixels reaches the one who looks at it.

    Parameters
    ----------
    path : of the audio file
    size : longest side in pixels; smaller pictures stay as small as they are

    Returns
    -------
    bytes or None
        None if the file has no picture, or one that is too large or cannot be decoded.
    """
    try:
        data = _embedded(Path(path))
        return None if data is None else _small_jpeg(data, size)
    except (AudioError, OSError, ValueError):  # PyAV's errors are one of the last two
        return None


def _embedded(path: Path) -> bytes | None:
    with opened(path) as container:
        for stream in container.streams.video:
            if stream.codec_context.name not in _CODECS:
                continue
            for number, packet in enumerate(container.demux(stream)):
                if number >= _MAX_PACKETS or packet.size > MAX_PICTURE_BYTES:
                    return None
                if packet.size:
                    return bytes(packet)
    return None


def _small_jpeg(data: bytes, size: int) -> bytes | None:
    codec = next((codec for start, codec in _FORMATS if data.startswith(start)), None)
    if codec is None or (codec == "webp" and data[8:12] != b"WEBP"):
        return None
    decoder: Any = CodecContext.create(codec, "r")
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    frames = [*decoder.decode(av.Packet(data)), *decoder.decode(None)]
    if not frames:
        return None
    frame = frames[0]
    scale = min(1.0, size / max(frame.width, frame.height))
    # The encoder needs even sizes for its subsampled colours.
    width, height = (max(2, round(length * scale / 2) * 2) for length in (frame.width, frame.height))
    small = frame.reformat(width, height, "yuvj420p")
    return _encode(small)


def _encode(frame: Any) -> bytes:
    output = io.BytesIO()
    with av.open(output, "w", format="mjpeg") as container:
        stream = cast(Any, container.add_stream("mjpeg", rate=1))
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuvj420p"
        stream.options = {"qmin": "3", "qmax": "3"}
        frame.pts = 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return output.getvalue()
