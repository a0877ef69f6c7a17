"""Encode audio files for tests, so that the repository contains none."""

from __future__ import annotations

import functools
import struct
import tempfile
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

# suffix: codec, sample rate in Hz, channel layout
FORMATS = {
    ".wav": ("pcm_s16le", 44100, "stereo"),
    ".flac": ("flac", 44100, "stereo"),
    ".mp3": ("libmp3lame", 44100, "stereo"),
    ".ogg": ("vorbis", 44100, "stereo"),
    ".opus": ("libopus", 48000, "stereo"),
    ".m4a": ("aac", 44100, "stereo"),
    ".aac": ("aac", 44100, "stereo"),
    ".wma": ("wmav2", 44100, "stereo"),
    ".aiff": ("pcm_s16be", 44100, "stereo"),
}
MAX_DELAY_S = 0.06  # lossy codecs delay the audio by less


def music(duration_s: float, seed: int = 0, rate: int = 8000, channels: int = 1) -> Samples:
    """Return (channels, n) float32: four tones that change twice a second, equal at every sample rate."""
    rng = np.random.default_rng(seed)
    n = round(duration_s * rate)
    t = np.arange(n) / rate
    wave = np.zeros((channels, n))
    for note in range(int(duration_s * 2) + 1):
        span = slice(note * rate // 2, (note + 1) * rate // 2)
        for hz in rng.uniform(150, 2500, 4):
            wave[:, span] += 0.1 * np.sin(2 * np.pi * hz * t[span])
    return wave.astype(np.float32)


def encode(
    path: Path,
    samples: Samples,
    rate: int,
    codec: str,
    layout: str,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode (channels, n) float32 into a file."""
    options = {"strict": "-2"} if codec == "vorbis" else {}  # ffmpeg's Vorbis encoder is experimental
    with av.open(str(path), "w", format=container, options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.layout = layout
        stream.codec_context.bit_rate = 128_000  # only lossy codecs use it
        frame_size = 64 if codec == "vorbis" else 1152
        for start in range(0, samples.shape[1] - samples.shape[1] % frame_size, frame_size):
            part = np.ascontiguousarray(samples[:, start : start + frame_size])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def write_music(path: Path, duration_s: float = 4.0, seed: int = 0, level: float = 1.0) -> Path:
    """Encode :func:`music` in the format of the suffix. The same music is encoded once."""
    path.write_bytes(_encoded_music(path.suffix.lower(), duration_s, seed, level))
    return path


@functools.lru_cache(maxsize=64)
def _encoded_music(suffix: str, duration_s: float, seed: int, level: float) -> bytes:
    codec, rate, layout = FORMATS[suffix]
    container = {".wma": "asf", ".aac": "adts"}.get(suffix)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"music{suffix}"
        encode(path, level * music(duration_s, seed, rate, 2), rate, codec, layout, container)
        return path.read_bytes()


def write_tags(path: Path, title: str, artist: str, album: str) -> None:
    """Write tags in the way of the file's format: ID3 in MP3, AAC and AIFF, INFO in WAV."""
    container = {".wma": "asf", ".aac": "adts", ".m4a": "ipod"}.get(path.suffix)
    options = {"write_id3v2": "1"} if path.suffix in (".aac", ".aiff") else {}
    plain = path.rename(path.with_stem(f"{path.stem}-plain"))
    with av.open(str(plain)) as old, av.open(str(path), "w", format=container, options=options) as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        names = {"title": title, "artist": artist, "album": album}
        new.metadata.update(names)
        if path.suffix in (".ogg", ".opus"):
            stream.metadata.update(names)
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    plain.unlink()


def id3_frames(encoding: int, **texts: bytes) -> bytes:
    """Return an ID3v2.3 tag with frames of any bytes, as taggers write them that ignore the encoding."""
    frames = b"".join(
        name.encode() + struct.pack(">IH", len(text) + 1, 0) + bytes([encoding]) + text
        for name, text in texts.items()
    )
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frames
