"""The sixteen synthetic sounds that are played to the music detector."""

from __future__ import annotations

import numpy as np
from scipy import signal

from overheard_bench.corpus import SAMPLE_RATE
from overheard_bench.render import FloatArray
from overheard_train.detector import sounds
from overheard_train.detector.waves import Maker

VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
BANDWIDTHS_HZ = (80, 100, 140)  # of the formants
STEPS = 16  # of a bar of the drum machine


def speech_synthesis(rng: np.random.Generator, n: int) -> FloatArray:
    """Return syllables of a formant synthesizer: a pulse train or noise through three resonators.

    Source of the vowels' formants: Peterson and Barney, JASA 24, 1952, table II (men).
    """
    spoken, at, pitch = np.zeros(n), 0, rng.uniform(85, 230)
    while at < n:
        length = min(int(rng.uniform(0.08, 0.3) * SAMPLE_RATE), n - at)
        syllable = np.arange(length)
        contour = pitch * (1 + rng.uniform(-0.15, 0.15) - 0.1 * syllable / length)
        voiced = np.diff(np.floor(np.cumsum(contour) / SAMPLE_RATE), prepend=0.0)
        source = voiced if rng.random() < 0.8 else 0.05 * rng.standard_normal(length)
        for hz, width in zip(VOWELS_HZ[int(rng.integers(len(VOWELS_HZ)))], BANDWIDTHS_HZ, strict=True):
            radius = np.exp(-np.pi * width / SAMPLE_RATE)
            source = signal.lfilter(
                [1 - radius], [1, -2 * radius * np.cos(2 * np.pi * hz / SAMPLE_RATE), radius**2], source
            )
        spoken[at : at + length] = source * np.hanning(length) ** 0.5
        at += length + int(rng.choice([0, 0.03, 0.25], p=[0.6, 0.25, 0.15]) * SAMPLE_RATE)
    return spoken.astype(np.float32)


def drum_machine(rng: np.random.Generator, n: int) -> FloatArray:
    """Return a bar of bass drum, snare and hi-hat that repeats; the detector may take it for music."""
    step = 60 / rng.uniform(80, 160) / 4 * SAMPLE_RATE
    times = np.arange(int(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
    kick = np.sin(2 * np.pi * (50 * times + 6 * (1 - np.exp(-30 * times)))) * np.exp(-12 * times)
    hiss = rng.standard_normal(len(times))
    drums = (kick, hiss * np.exp(-18 * times) * 0.6, np.diff(hiss, prepend=0) * np.exp(-60 * times) * 0.3)
    bars = [rng.random(STEPS) < share for share in (0.3, 0.2, 0.6)]
    played = np.zeros(n + len(times))
    for number, start in enumerate(np.arange(0, n, step).astype(int)):
        for drum, bar in zip(drums, bars, strict=True):
            played[start : start + len(times)] += drum * bar[number % STEPS]
    return played[:n].astype(np.float32)


TRAINED = (
    *("tone", "beeps", "chirps", "sweep", "siren", "DTMF", "ringing", "hum", "clicks", "metronome"),
    *("white noise", "pink noise", "brown noise", "gated noise"),
)
SOUNDS: dict[str, Maker] = {
    **{name: sounds.SOUNDS[name] for name in TRAINED},
    "speech synthesis": speech_synthesis,
    "drum machine": drum_machine,
}
