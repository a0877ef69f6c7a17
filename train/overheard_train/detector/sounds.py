"""Synthesize sounds that are not music: tones, signals, clicks, noises and hum.

Each maker returns `n` samples, (n,) float32 at the front-end's sample rate, of any level and with random
parameters. The detector is trained on them; the benchmark plays them with other random parameters.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.frontend import FloatArray
from overheard_train.detector.noises import NOISES
from overheard_train.detector.waves import RATE, Maker, Times, as_float, coloured, pitch, times

NYQUIST_SHARE = 0.95  # partials above this share of half the sample rate are left out
DTMF_HZ = ((697, 770, 852, 941), (1209, 1336, 1477, 1633))  # ITU-T Q.23


def _oscillator(rng: np.random.Generator, hz: Times) -> Times:
    """Return a tone that follows a frequency in Hz, ``(n,)``: a sine, or a sum of a few harmonics."""
    phase = 2 * np.pi * np.cumsum(hz) / RATE + rng.uniform(0, 2 * np.pi)
    tone = np.sin(phase)
    if rng.random() < 0.5:
        for harmonic in range(2, int(rng.integers(3, 8))):
            audible = hz * harmonic < NYQUIST_SHARE * RATE / 2
            tone = tone + audible * rng.uniform(0.05, 0.8) / harmonic * np.sin(harmonic * phase)
    return tone


def _pattern(rng: np.random.Generator, n: int, on_s: float, off_s: float) -> Times:
    """Return an envelope that is on and off in turn, ``(n,)``, with edges of a few milliseconds."""
    period = on_s + off_s
    phase = (times(n) + rng.uniform(0, period)) % period
    edge = min(rng.uniform(0.002, 0.02), on_s / 3)
    envelope: Times = np.clip(np.minimum(phase, on_s - phase) / edge, 0, 1)
    return envelope


def tone(rng: np.random.Generator, n: int) -> FloatArray:
    """Return one steady tone, with vibrato or slow drift at times."""
    hz = np.full(n, pitch(rng))
    if rng.random() < 0.3:
        hz = hz * (1 + rng.uniform(0, 0.02) * np.sin(2 * np.pi * rng.uniform(0.2, 6) * times(n)))
    return as_float(_oscillator(rng, hz))


def beeps(rng: np.random.Generator, n: int) -> FloatArray:
    """Return a beep that repeats, as of a timer, a lorry that reverses, or an alarm clock."""
    tone_ = _oscillator(rng, np.full(n, pitch(rng, 300, 3500)))
    envelope = _pattern(rng, n, rng.uniform(0.04, 0.8), rng.uniform(0.05, 1.5))
    if rng.random() < 0.3:  # groups of beeps
        envelope = envelope * _pattern(rng, n, rng.uniform(0.4, 1.2), rng.uniform(0.4, 2))
    return as_float(tone_ * envelope)


def chirps(rng: np.random.Generator, n: int) -> FloatArray:
    """Return rising or falling tones that repeat, as of birds, whistles or radar."""
    period = rng.uniform(0.1, 2.0)
    phase = (times(n) / period + rng.random()) % 1
    low, high = sorted((pitch(rng, 200, 3600), pitch(rng, 200, 3600)))
    position = phase if rng.random() < 0.5 else 1 - phase
    chirp = _oscillator(rng, low * (high / low) ** position)
    return as_float(chirp * _pattern(rng, n, period * rng.uniform(0.3, 0.95), period * rng.uniform(0.05, 1)))


def sweep(rng: np.random.Generator, n: int) -> FloatArray:
    """Return one slow sweep through the frequencies, as of a motor that starts."""
    low, high = pitch(rng, 60, 500), pitch(rng, 600, 3700)
    position = np.linspace(0, 1, n) if rng.random() < 0.5 else np.linspace(1, 0, n)
    return as_float(_oscillator(rng, low * (high / low) ** position))


def siren(rng: np.random.Generator, n: int) -> FloatArray:
    """Return the wail or yelp of a siren, or one that alternates between two tones."""
    low = pitch(rng, 350, 1200)
    high = low * rng.uniform(1.2, 2.6)
    turn = np.sin(2 * np.pi * rng.uniform(0.1, 4) * times(n) + rng.uniform(0, 2 * np.pi))
    if rng.random() < 0.4:
        turn = np.sign(turn)
    return as_float(_oscillator(rng, low * (high / low) ** ((turn + 1) / 2)))


def dtmf(rng: np.random.Generator, n: int) -> FloatArray:
    """Return the dial tones of a telephone's keys."""
    dialled, at = np.zeros(n), int(rng.integers(RATE))
    on, off = int(rng.uniform(0.05, 0.3) * RATE), int(rng.uniform(0.04, 0.4) * RATE)
    while at < n:
        part = slice(at, min(at + on, n))
        for hz in DTMF_HZ:
            dialled[part] += np.sin(2 * np.pi * hz[int(rng.integers(4))] * times(n)[part])
        at += on + off
    return as_float(dialled)


def ringing(rng: np.random.Generator, n: int) -> FloatArray:
    """Return the ringing, engaged or dial tone of a telephone, or its bell."""
    if rng.random() < 0.5:
        low = rng.uniform(340, 480)
        pair = sum(np.sin(2 * np.pi * hz * times(n)) for hz in (low, low + rng.uniform(0, 130)))
        return as_float(pair * _pattern(rng, n, rng.uniform(0.2, 2), rng.uniform(0.2, 4)))
    bell = sum(np.sin(2 * np.pi * pitch(rng, 900, 3500) * times(n)) for _ in range(4))
    trill = 0.6 + 0.4 * np.sign(np.sin(2 * np.pi * rng.uniform(15, 30) * times(n)))
    return as_float(bell * trill * _pattern(rng, n, rng.uniform(0.4, 2), rng.uniform(0.5, 4)))


def hum(rng: np.random.Generator, n: int) -> FloatArray:
    """Return the hum of mains or a transformer: harmonics of 50 or 60 Hz."""
    base = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    decay = rng.uniform(0.2, 1.6)
    hummed = np.zeros(n)
    for harmonic in range(1, int(rng.integers(4, 40))):
        level = harmonic**-decay * rng.uniform(0.1, 1)
        hummed += level * np.sin(2 * np.pi * base * harmonic * times(n) + rng.uniform(0, 2 * np.pi))
    return as_float(hummed)


def engine(rng: np.random.Generator, n: int) -> FloatArray:
    """Return the pulses of an engine, a drill or a fan whose speed changes slowly."""
    knots = rng.uniform(0.8, 1.25, int(rng.integers(2, 6)))
    hz = pitch(rng, 15, 250) * np.interp(np.linspace(0, 1, n), np.linspace(0, 1, len(knots)), knots)
    phase = np.cumsum(hz) / RATE % 1
    pulses = np.exp(-phase * rng.uniform(3, 30)) - 0.1
    return as_float(pulses + rng.uniform(0, 0.3) * rng.standard_normal(n) * (0.3 + pulses))


def _impulses(rng: np.random.Generator, n: int, starts: npt.NDArray[np.int64]) -> FloatArray:
    """Return short decaying sounds, tonal or noisy, at the given samples."""
    length = int(rng.uniform(0.002, 0.05) * RATE)
    decay = np.exp(-np.arange(length) / length * 6)
    kind, hz = rng.random(), pitch(rng, 300, 3500)
    struck = np.zeros(n + length)
    for start in starts:
        grain = rng.standard_normal(length) if kind < 0.6 else np.sin(2 * np.pi * hz * times(length))
        struck[start : start + length] += decay * grain * rng.uniform(0.7, 1)
    return as_float(struck[:n])


def clicks(rng: np.random.Generator, n: int) -> FloatArray:
    """Return clicks at random times, as of a keyboard, rain on a window or a worn record."""
    return _impulses(rng, n, rng.integers(0, n, max(1, int(rng.uniform(0.5, 25) * n / RATE))))


def metronome(rng: np.random.Generator, n: int) -> FloatArray:
    """Return clicks in steady time, as of a metronome or a clock."""
    period = 60 / rng.uniform(40, 240) * RATE
    return _impulses(rng, n, np.arange(rng.uniform(0, period), n, period).astype(np.int64))


def white(rng: np.random.Generator, n: int) -> FloatArray:
    """Return white noise."""
    return rng.standard_normal(n, dtype=np.float32)


def pink(rng: np.random.Generator, n: int) -> FloatArray:
    """Return noise whose power falls by 3 dB an octave."""
    return as_float(coloured(rng, n, 1))


def brown(rng: np.random.Generator, n: int) -> FloatArray:
    """Return noise whose power falls by 6 dB an octave."""
    return as_float(coloured(rng, n, 2))


def gated_noise(rng: np.random.Generator, n: int) -> FloatArray:
    """Return noise that is switched or swells in steady time, as of a train or a sprinkler."""
    noise = coloured(rng, n, rng.uniform(0, 2))
    if rng.random() < 0.6:
        return as_float(noise * _pattern(rng, n, rng.uniform(0.05, 1.2), rng.uniform(0.05, 1.2)))
    return as_float(noise * (1 + rng.uniform(0.5, 1) * np.sin(2 * np.pi * rng.uniform(0.3, 12) * times(n))))


def near_silence(rng: np.random.Generator, n: int) -> FloatArray:
    """Return the hiss of a converter, at times so weak that 16-bit steps show."""
    hiss = coloured(rng, n, rng.uniform(0, 1.5))
    return as_float(np.round(hiss * rng.uniform(0.3, 30))) if rng.random() < 0.5 else as_float(hiss)


SOUNDS: dict[str, Maker] = {
    "tone": tone,
    "beeps": beeps,
    "chirps": chirps,
    "sweep": sweep,
    "siren": siren,
    "DTMF": dtmf,
    "ringing": ringing,
    "hum": hum,
    "engine": engine,
    "clicks": clicks,
    "metronome": metronome,
    "white noise": white,
    "pink noise": pink,
    "brown noise": brown,
    "gated noise": gated_noise,
    "near silence": near_silence,
    **NOISES,
}
