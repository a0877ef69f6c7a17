"""Write a small corpus of synthesized sounds: a manifest and files of every kind."""

from __future__ import annotations

import csv
import functools
import tempfile
from pathlib import Path

import numpy as np

import audio_files

N_MUSIC = 5  # tracks per split


def write_corpus(folder: Path, music_s: float = 7.0) -> Path:
    """Write ``manifest.csv`` and its files, a few seconds each, at the sample rates of the real corpus."""
    for name, content in _corpus(music_s).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@functools.cache
def _corpus(music_s: float) -> dict[str, bytes]:
    """Return the content of each file by its path; many tests need these files, and encoding takes long."""
    with tempfile.TemporaryDirectory() as name:
        folder = _make_corpus(Path(name), music_s)
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _make_corpus(folder: Path, music_s: float) -> Path:
    rows: list[tuple[str, str, str]] = []
    for split_number, split in enumerate(("train", "valid")):
        rng = np.random.default_rng(split_number)
        for number in range(N_MUSIC):
            rows.append(("music", split, f"music/{split}-{number}.{'ogg' if number == 0 else 'wav'}"))
            wave = audio_files.music(music_s, 10 * split_number + number, 8000)
            wave += 0.01 * rng.standard_normal(wave.shape, dtype=np.float32)
            _write(folder / rows[-1][2], wave, 8000)
        for kind in ("noise", "speech"):
            for number in range(2):
                rows.append((kind, split, f"{kind}/{split}-{number}.wav"))
                _write(folder / rows[-1][2], _noise(rng, 3.0 + 3 * number, 8000), 8000)
        for kind, seconds in (("ir_room", 0.5), ("ir_room_synth", 0.3), ("ir_mic", 0.15)):
            rows.append((kind, split, f"{kind}/{split}.flac"))
            _write(folder / rows[-1][2], _response(rng, seconds), 16000)
    write_manifest(folder, rows)
    return folder


def write_manifest(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    """Write the manifest from rows of kind, split and path."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("kind", "split", "path"), *rows])


def _write(path: Path, samples: np.ndarray, rate: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    codec = {".wav": "pcm_s16le", ".flac": "flac", ".ogg": "vorbis"}[path.suffix]
    if codec == "vorbis":  # ffmpeg's encoder supports only stereo
        audio_files.encode(path, np.repeat(samples, 2, axis=0), rate, codec, "stereo")
    else:
        audio_files.encode(path, samples, rate, codec, "mono")


def _noise(rng: np.random.Generator, seconds: float, rate: int) -> np.ndarray:
    return 0.1 * rng.standard_normal((1, int(seconds * rate)), dtype=np.float32)


def _response(rng: np.random.Generator, seconds: float) -> np.ndarray:
    wave = 0.2 * _noise(rng, seconds, 16000)
    wave *= np.exp(-np.arange(wave.shape[1], dtype=np.float32) / (0.2 * wave.shape[1]))
    wave[0, 40] = 0.8
    return wave
