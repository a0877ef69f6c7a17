"""Synthesize pieces of music from seeds, for the demonstration and for tests."""

from __future__ import annotations

import dataclasses
import os
import struct
import wave
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from overheard.demo.composition import compose
from overheard.demo.voices import Band
from overheard.hear.resampler import to_int16

Rng = np.random.Generator
Wave = NDArray[np.float32]

FADE_S = 1.0
ADJECTIVES = (
    "Amber",
    "Borrowed",
    "Copper",
    "Distant",
    "Electric",
    "Faded",
    "Gentle",
    "Hollow",
    "Idle",
    "Jade",
    "Kind",
    "Lunar",
    "Midnight",
    "Northern",
    "Opal",
    "Paper",
    "Quiet",
    "Restless",
    "Silver",
    "Tidal",
    "Velvet",
    "Wandering",
    "Wild",
    "Yellow",
)
NOUNS = (
    "Avenue",
    "Bridges",
    "Carousel",
    "Daylight",
    "Embers",
    "Ferry",
    "Garden",
    "Harbour",
    "Islands",
    "Kites",
    "Lanterns",
    "Meridian",
    "Nocturne",
    "Orchard",
    "Parade",
    "Rain",
    "Satellites",
    "Station",
    "Thread",
    "Umbrella",
    "Voyage",
    "Waltz",
    "Window",
    "Winter",
)
ARTISTS = (
    "Alder & Finch",
    "Blue Hour Trio",
    "Cassia Moon",
    "Delta Post",
    "Ester Vane",
    "Fable Radio",
    "Glass Menagerie Club",
    "Halcyon Street",
    "Ivo Marsh",
    "June Parallel",
    "Kite Theory",
    "Lowlight",
    "Mara Quill",
    "Nine Ferns",
    "Oskar Bloom",
    "Penny Arcadia",
    "Quartz Choir",
    "Rosa Tallow",
    "Sable & Co.",
    "Tin Harbor",
    "Una Vero",
    "Violet Static",
)


@dataclasses.dataclass(frozen=True)
class Piece:
    """A synthesized piece of music."""

    waveform: Wave  # (n,) float32 mono, peak 0.5-0.95
    title: str
    artist: str


def synthesize(seed: int, duration_s: float, sample_rate: int = 8000) -> Piece:
    """Compose and render a piece; equal arguments give equal samples, different seeds different music.

    Parameters
    ----------
    seed : int
        0 or more.
    duration_s : float
        Length of the piece; it has music in every second.
    sample_rate : int
        In Hz; the music uses the whole spectrum up to half of it.

    Returns
    -------
    Piece
        The waveform, with a title and an artist.

    Raises
    ------
    ValueError
        If the duration or the sample rate is not positive.
    """
    if duration_s <= 0 or sample_rate <= 0:
        raise ValueError("duration_s and sample_rate must be positive")
    notes_rng, band_rng, mix_rng, name_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4)
    )
    n = max(1, round(duration_s * sample_rate))
    dry = np.zeros(n, np.float32)
    band = Band(band_rng, sample_rate)
    for note in sorted(compose(notes_rng, duration_s), key=lambda note: note.start_s):
        start = int(note.start_s * sample_rate)
        sound = band.render(note)[: max(0, n - start)]
        dry[start : start + len(sound)] += sound
    title = f"{name_rng.choice(ADJECTIVES)} {name_rng.choice(NOUNS)}"
    return Piece(_master(mix_rng, dry, sample_rate), title, str(name_rng.choice(ARTISTS)))


def _master(rng: Rng, dry: Wave, sample_rate: int) -> Wave:
    """Add reverberation and hiss, saturate softly, fade out the end, and normalize the peak."""
    decay_s = rng.uniform(0.08, 0.35)
    t = np.arange(int(4 * decay_s * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(t)) * np.exp(-t / decay_s)
    tail *= rng.uniform(0.1, 0.35) / np.sqrt(np.sum(tail**2) + 1e-12)
    wet = dry + signal.oaconvolve(dry, tail.astype(np.float32))[: len(dry)].astype(np.float32)
    wet += np.float32(10 ** (rng.uniform(-66, -54) / 20)) * rng.standard_normal(len(dry), dtype=np.float32)
    level = np.sqrt(np.mean(wet**2)) + 1e-9
    loud = np.tanh(wet * np.float32(rng.uniform(0.18, 0.3) / level))
    fade = min(len(loud), int(FADE_S * sample_rate))
    loud[len(loud) - fade :] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return np.asarray(loud * np.float32(rng.uniform(0.6, 0.95) / (np.abs(loud).max() + 1e-9)), np.float32)


def write_wav(
    path: Path | str, waveform: Wave, sample_rate: int = 8000, tags: Mapping[str, str] | None = None
) -> None:
    """Write a mono 16-bit PCM file; samples outside [-1, 1] are clipped.

    Parameters
    ----------
    tags : Mapping
        Texts by their name in a RIFF INFO chunk, such as ``INAM`` for the title.
    """
    pcm = to_int16(waveform).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(pcm.tobytes())
    if tags:
        _append_tags(Path(path), tags)


def _append_tags(path: Path, tags: Mapping[str, str]) -> None:
    """Append a RIFF INFO chunk to a WAV file. Texts end with NUL, and have an even length with it."""
    content = b"INFO"
    for name, text in tags.items():
        data = text.encode() + b"\0"
        content += name.encode() + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
    with path.open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(bytes(file.tell() % 2) + b"LIST" + struct.pack("<I", len(content)) + content)
        riff_bytes = file.tell() - 8
        file.seek(4)
        file.write(struct.pack("<I", riff_bytes))
