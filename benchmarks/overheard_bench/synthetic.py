"""Make clips of sixteen kinds of synthetic sounds that are no music, with random parameters and levels."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import wave

import numpy as np
import soxr

from overheard.hear.resampler import to_float
from overheard_bench.corpus import SAMPLE_RATE, seeded
from overheard_bench.detector import PLACES, placed
from overheard_bench.detector_sounds import SOUNDS as MAKERS
from overheard_bench.render import FloatArray, Renderer, unit_power

SEED = 5
LEVELS_DB = (-40.0, -12.0)  # RMS in dB of full scale
SINE_HZ = 440.0
SINE_EVERY = 3  # so many tones, one is this plain sine
ESPEAK = "espeak-ng"
VOICES = ("en-gb", "en-us", "de", "fr-fr", "es", "it")
WORDS = (
    *("signal", "window", "morning", "seven", "platform", "weather", "message", "garden", "eleven", "river"),
    *("number", "doctor", "silver", "please", "turn", "left", "after", "two", "hundred", "metres"),
)
WORDS_PER_S = 4  # more than any voice speaks
SPEECH_TIMEOUT_S = 60


def clip(renderer: Renderer, name: str, number: int, seconds: float, seed: int = SEED) -> FloatArray:
    """Return a clip of a sound, (n,) float32 at 8 kHz in [-1, 1].

    A third of the clips are the sound itself, a third are near a microphone in a room, a third far from it.

    Parameters
    ----------
    renderer : its rooms and microphones are used
    name : one of `SOUNDS`
    number : of the clip; its random choices depend on it, the name, the length and the seed alone
    """
    rng = seeded(seed, "synthetic sound", name, number, seconds)
    n = round(seconds * SAMPLE_RATE)
    if name == "tone" and number % SINE_EVERY == 0:
        sound = np.sin(2 * np.pi * SINE_HZ * np.arange(n) / SAMPLE_RATE + rng.uniform(0, 2 * np.pi))
    elif name == "speech synthesis" and speech_program() is not None:
        sound = speech(rng, n)
    else:
        sound = MAKERS[name](rng, n)
    level = np.float32(10 ** (rng.uniform(*LEVELS_DB) / 20))
    place = list(PLACES)[number // SINE_EVERY % len(PLACES)]
    return placed(renderer, unit_power(sound.astype(np.float32)) * level, place, rng)


SOUNDS = tuple(MAKERS)


@functools.cache
def speech_program() -> str | None:
    """Return the path of espeak-ng; None if it is not installed, and the formant synthesizer speaks."""
    return shutil.which(ESPEAK)


def speech(rng: np.random.Generator, n: int) -> FloatArray:
    """Return random words that espeak-ng speaks in a random voice, at a random pitch and speed."""
    words = rng.choice(WORDS, 2 + round(WORDS_PER_S * n / SAMPLE_RATE))
    options = {"-v": rng.choice(VOICES), "-p": rng.integers(10, 90), "-s": rng.integers(110, 220)}
    arguments = [str(part) for option in options.items() for part in option]
    spoken = subprocess.run(
        [ESPEAK, *arguments, "--stdout", " ".join(words)],
        capture_output=True,
        check=True,
        timeout=SPEECH_TIMEOUT_S,
    ).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
    waveform = soxr.resample(to_float(samples), rate, SAMPLE_RATE)
    return np.resize(waveform, n).astype(np.float32)
