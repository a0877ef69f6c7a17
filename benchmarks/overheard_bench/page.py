"""Use the web page as a browser does: load it, and open every view. Make a song with a cover for it."""

from __future__ import annotations

import json
import struct
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from overheard.hear.resampler import to_int16
from overheard_bench import CHECKOUT

STATIC = CHECKOUT / "device" / "overheard" / "web" / "static"
COVER_PIXELS = 1000
_TIMEOUT_S = 30.0


def visit(port: int) -> int:
    """Load the page and what each of its views asks for; return the bytes of all answers."""
    plays = get(port, "/api/v1/plays?limit=500&show=everything")
    return len(plays) + sum(len(get(port, path)) for path in _paths(json.loads(plays)["plays"]))


def _paths(plays: list[dict[str, Any]]) -> Iterator[str]:
    """Yield what the page asks for, which shows these plays."""
    yield "/"
    yield from (f"/static/{path.name}" for path in sorted(STATIC.iterdir()))
    views = ("status", "plays?limit=50", "top?limit=20", "unknown", "packs", "settings")
    yield from (f"/api/v1/{view}" for view in views)
    for play in plays:
        yield f"/api/v1/plays/{play['id']}/explanation"
        yield from (f"/api/v1/covers/{play['track']['id']}{small}" for small in ("", "?small=true"))


def get(port: int, path: str) -> bytes:
    """Return an answer of the page; empty if there is nothing at this address."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=_TIMEOUT_S) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return b""


def write_song(
    path: Path, waveform: npt.NDArray[np.float32], sample_rate: int, picture: bytes | None = None
) -> None:
    """Write mono audio in [-1, 1] as an MP3 whose tags have a cover: a PNG, or else coloured noise."""
    body = b"\0image/png\0\x03\0" + (_noise_picture() if picture is None else picture)
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    tags = b"ID3\x03\0\0" + bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0)) + frame
    audio = path.with_name(f"{path.stem}.audio.mp3")
    with av.open(str(audio), "w", format="mp3") as out:
        stream: Any = out.add_stream("libmp3lame", rate=sample_rate)
        stream.codec_context.layout = "mono"
        sound = av.AudioFrame.from_ndarray(to_int16(waveform)[None], format="s16p", layout="mono")
        sound.sample_rate = sample_rate
        for packet in (*stream.encode(sound), *stream.encode(None)):
            out.mux(packet)
    path.write_bytes(tags + audio.read_bytes())
    audio.unlink()


def _noise_picture() -> bytes:
    """Return a PNG of coloured noise, which does not compress."""
    pixels = np.random.default_rng(0).integers(0, 256, (COVER_PIXELS, 1 + 3 * COVER_PIXELS), dtype=np.uint8)
    pixels[:, 0] = 0  # no filter
    header = struct.pack(">IIBBBBB", COVER_PIXELS, COVER_PIXELS, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels.tobytes(), 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*parts, strict=True)))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
