"""Covers of audio files: a small JPEG of what can be decoded, and nothing of what cannot or is too large."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import av
import pytest

import audio_files
from overheard.hear.cover_art import read_cover
from web_fakes import png

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def write_mp3(path: Path, picture: bytes, mime: bytes = b"image/png") -> None:
    """Write a second of music whose tags have a picture."""
    tag = audio_files.id3_frames(0, APIC=mime + b"\0\x03\0" + picture)
    path.write_bytes(tag + audio_files.write_music(path, 1.0).read_bytes())


def one_bit_png(width: int, height: int) -> bytes:
    """Return a picture that is small as a file, whatever its size in pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(((width + 7) // 8 + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def size_of(jpeg: bytes) -> tuple[int, int]:
    with av.open(io.BytesIO(jpeg), "r", format="mjpeg") as container:
        frame = next(container.decode(video=0))
    return frame.width, frame.height


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [(300, 300, (200, 200)), (600, 150, (200, 50)), (60, 40, (60, 40)), (1, 1, (2, 2))],
)
def test_a_cover_is_a_jpeg_of_at_most_the_given_size(
    tmp_path: Path, width: int, height: int, expected: tuple[int, int]
) -> None:
    write_mp3(tmp_path / "a.mp3", png(width, height))
    cover = read_cover(tmp_path / "a.mp3", 200)
    assert cover is not None
    assert cover.startswith(b"\xff\xd8\xff")
    assert size_of(cover) == expected


def test_a_jpeg_is_encoded_again_without_what_it_carries(tmp_path: Path) -> None:
    write_mp3(tmp_path / "a.mp3", png(64, 64))
    jpeg = read_cover(tmp_path / "a.mp3", 64)
    assert jpeg is not None
    comment = b"\xff\xfe\x00\x0asecrets!"
    write_mp3(tmp_path / "b.mp3", jpeg[:2] + comment + jpeg[2:], b"image/jpeg")
    cover = read_cover(tmp_path / "b.mp3", 64)
    assert cover is not None
    assert b"secrets!" not in cover
    assert size_of(cover) == (64, 64)


@pytest.mark.parametrize(
    ("picture", "mime"),
    [
        (SVG, b"image/svg+xml"),
        (SVG, b"image/png"),
        (b"", b"image/png"),
        (png()[:40], b"image/png"),
        (one_bit_png(7000, 7000), b"image/png"),  # 49 million pixels
    ],
    ids=["svg", "svg as png", "empty", "cut off", "too many pixels"],
)
def test_a_picture_that_cannot_be_shown_is_none(tmp_path: Path, picture: bytes, mime: bytes) -> None:
    write_mp3(tmp_path / "a.mp3", picture, mime)
    assert read_cover(tmp_path / "a.mp3", 200) is None


def test_a_picture_of_few_bytes_and_many_pixels_is_shown_below_the_limit(tmp_path: Path) -> None:
    write_mp3(tmp_path / "a.mp3", one_bit_png(3000, 1500))
    cover = read_cover(tmp_path / "a.mp3", 200)
    assert cover is not None
    assert size_of(cover) == (200, 100)


def test_a_file_without_a_cover_is_none(tmp_path: Path) -> None:
    assert read_cover(audio_files.write_music(tmp_path / "a.flac", 1.0), 200) is None
    (tmp_path / "words.mp3").write_text("no music " * 300)
    assert read_cover(tmp_path / "words.mp3", 200) is None
    assert read_cover(tmp_path / "missing.mp3", 200) is None
    assert read_cover(tmp_path, 200) is None
