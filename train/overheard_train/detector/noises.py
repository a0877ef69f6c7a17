"""Synthesize noises of a household and of the outdoors, of which there are few recordings.

The makers are as those of :mod:`overheard_train.detector.sounds`.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from overheard.demo import room
from overheard.fingerprint.frontend import FloatArray
from overheard_train.detector.waves import RATE, Maker, Times, as_float, coloured, pitch

TRANSIENT_S = 0.6  # length of one blow, drop or clap, at most


def shaped(rng: np.random.Generator, n: int, n_bands: int, spread_db: float) -> Times:
    """Return noise whose level differs from band to band, ``(n,)``, of unit power."""
    spectrum = scipy.fft.rfft(rng.standard_normal(n))
    edges = np.geomspace(40, RATE / 2, n_bands)
    hz = np.maximum(scipy.fft.rfftfreq(n, 1 / RATE), 40)
    gains_db = np.interp(np.log(hz), np.log(edges), rng.normal(0, spread_db, n_bands))
    noise: Times = scipy.fft.irfft(spectrum * 10 ** (gains_db / 20), n)
    noise /= np.sqrt(np.mean(noise**2))
    return noise


def slow(rng: np.random.Generator, n: int, per_s: float, deviation: float) -> Times:
    """Return a level that wanders, ``(n,)``; its logarithm has this deviation, and turns `per_s` a second."""
    knots = rng.normal(0, deviation, max(3, int(per_s * n / RATE) + 2))
    return np.exp(np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots))


def scattered(rng: np.random.Generator, n: int, per_s: float, grains: list[Times], spread: float) -> Times:
    """Return grains at random times, ``(n,)``, with levels whose logarithm has the deviation `spread`."""
    longest = max(map(len, grains))
    made = np.zeros(n + longest)
    for start in rng.integers(0, n, max(1, int(per_s * n / RATE))):
        grain = grains[int(rng.integers(len(grains)))]
        made[start : start + len(grain)] += grain * np.exp(rng.normal(0, spread))
    return made[:n]


def decaying(rng: np.random.Generator, seconds: float, tonal: float) -> Times:
    """Return one blow: noise and a few resonances that decay; `tonal` is the share of the resonances."""
    length = max(8, int(min(seconds, TRANSIENT_S) * RATE))
    at = np.arange(length) / RATE
    blow = (1 - tonal) * rng.standard_normal(length) * np.exp(-at * 7 / seconds)
    for _ in range(int(rng.integers(1, 6))):
        decay = np.exp(-at * rng.uniform(4, 12) / seconds)
        blow += tonal * rng.uniform(0.2, 1) * decay * np.sin(2 * np.pi * pitch(rng, 120, 3600) * at)
    return blow


def rain(rng: np.random.Generator, n: int) -> FloatArray:
    """Return rain: drops on a hard surface over the hiss of all the others."""
    drops = [decaying(rng, rng.uniform(0.003, 0.03), rng.uniform(0, 0.7)) for _ in range(8)]
    return as_float(
        scattered(rng, n, rng.uniform(10, 300), drops, 0.8) + rng.uniform(0.1, 1.5) * shaped(rng, n, 6, 4)
    )


def wind(rng: np.random.Generator, n: int) -> FloatArray:
    """Return gusts of wind, at times with a whistle."""
    gusts = slow(rng, n, rng.uniform(0.2, 2.5), rng.uniform(0.3, 1.0))
    blown = coloured(rng, n, rng.uniform(1, 3)) * gusts
    if rng.random() < 0.3:
        phase = 2 * np.pi * np.cumsum(pitch(rng, 250, 1500) * gusts ** rng.uniform(0.05, 0.3)) / RATE
        blown += rng.uniform(0.1, 1) * np.sin(phase) * gusts**2
    return as_float(blown)


def crackle(rng: np.random.Generator, n: int) -> FloatArray:
    """Return a fire, a worn record or paper that rustles."""
    snaps = [decaying(rng, rng.uniform(0.002, 0.02), 0) for _ in range(6)]
    bursts = slow(rng, n, rng.uniform(1, 8), rng.uniform(0.2, 1.2))
    return as_float(
        scattered(rng, n, rng.uniform(5, 150), snaps, 1.2) * bursts
        + rng.uniform(0, 0.2) * shaped(rng, n, 5, 5)
    )


def dishes(rng: np.random.Generator, n: int) -> FloatArray:
    """Return dishes, cutlery or tools: blows with high resonances."""
    blows = [
        decaying(rng, rng.uniform(0.03, 0.4), rng.uniform(0.5, 1)) for _ in range(int(rng.integers(2, 9)))
    ]
    return as_float(
        scattered(rng, n, rng.uniform(0.5, 6), blows, 0.9) + rng.uniform(0, 0.15) * shaped(rng, n, 6, 5)
    )


def steps(rng: np.random.Generator, n: int) -> FloatArray:
    """Return steps, knocks or a hammer: blows in uneven time."""
    blows = [decaying(rng, rng.uniform(0.03, 0.25), rng.uniform(0, 0.6)) for _ in range(3)]
    struck, at = np.zeros(n + int(TRANSIENT_S * RATE) + 1), rng.uniform(0, RATE)
    period, unevenness = rng.uniform(0.15, 1.2) * RATE, rng.uniform(0.03, 0.3)
    while at < n:
        blow = blows[int(rng.integers(len(blows)))]
        struck[int(at) : int(at) + len(blow)] += blow * rng.uniform(0.5, 1)
        at += period * max(0.3, 1 + rng.normal(0, unevenness))
        if rng.random() < 0.05:
            at += rng.uniform(0.5, 3) * RATE
    return as_float(struck[:n])


def applause(rng: np.random.Generator, n: int) -> FloatArray:
    """Return many hands that clap, each in a time of its own."""
    claps = [decaying(rng, rng.uniform(0.01, 0.05), rng.uniform(0, 0.3)) for _ in range(10)]
    return as_float(scattered(rng, n, rng.uniform(20, 400), claps, 0.5) * slow(rng, n, 0.5, 0.5))


def water(rng: np.random.Generator, n: int) -> FloatArray:
    """Return running water: rising bubbles in a hiss."""
    bubbles: list[Times] = []
    for _ in range(10):
        length = int(rng.uniform(0.01, 0.12) * RATE)
        at = np.arange(length) / RATE
        rise = pitch(rng, 300, 2500) * (1 + rng.uniform(0, 3) * at)
        bubbles.append(np.sin(2 * np.pi * np.cumsum(rise) / RATE) * np.exp(-at * rng.uniform(15, 80)))
    return as_float(
        scattered(rng, n, rng.uniform(5, 120), bubbles, 0.7) + rng.uniform(0, 0.8) * shaped(rng, n, 6, 5)
    )


def machine(rng: np.random.Generator, n: int) -> FloatArray:
    """Return a fan, a vacuum cleaner or a washing machine: harmonics and noise, both modulated."""
    base = pitch(rng, 18, 400) * slow(rng, n, rng.uniform(0.1, 1), rng.uniform(0, 0.04))
    phase, whirred = 2 * np.pi * np.cumsum(base) / RATE, np.zeros(n)
    for harmonic in range(1, int(rng.integers(3, 25))):
        audible = base * harmonic < 0.95 * RATE / 2
        whirred += (
            audible * rng.exponential(1) * harmonic ** -rng.uniform(0.2, 1.5) * np.sin(harmonic * phase)
        )
    turns = 1 + rng.uniform(0, 0.9) * np.sin(phase / rng.integers(1, 9))
    return as_float(rng.uniform(0.1, 1.5) * whirred + shaped(rng, n, int(rng.integers(4, 12)), 6) * turns)


def traffic(rng: np.random.Generator, n: int) -> FloatArray:
    """Return vehicles that pass: noise and an engine that swell and sink."""
    total = 0.2 * coloured(rng, n, rng.uniform(0.5, 2))
    for _ in range(int(rng.integers(1, 5))):
        middle, width = rng.uniform(-0.1, 1.1) * n, rng.uniform(0.3, 3) * RATE
        near = 1 / (1 + ((np.arange(n) - middle) / width) ** 2)
        hz = pitch(rng, 30, 140) * (1 - rng.uniform(0.02, 0.12) * np.tanh((np.arange(n) - middle) / width))
        engine = np.sign(np.sin(2 * np.pi * np.cumsum(hz) / RATE)) * rng.uniform(0, 0.4)
        total += near * (shaped(rng, n, 6, 5) + engine)
    return as_float(total)


def animals(rng: np.random.Generator, n: int) -> FloatArray:
    """Return birds, insects, dogs or the like: short glides, alone or in groups."""
    calls: list[Times] = []
    for _ in range(int(rng.integers(1, 5))):
        length = int(rng.uniform(0.03, 0.5) * RATE)
        position = np.linspace(0, 1, length)
        low, high = pitch(rng, 200, 3500), pitch(rng, 200, 3500)
        hz = (
            low
            * (high / low) ** position
            * (1 + rng.uniform(0, 0.1) * np.sin(2 * np.pi * rng.uniform(5, 60) * position))
        )
        call = np.sin(2 * np.pi * np.cumsum(np.minimum(hz, 3800)) / RATE) * np.hanning(length)
        calls.append(call + rng.uniform(0, 0.5) * rng.standard_normal(length) * np.hanning(length))
    return as_float(
        scattered(rng, n, rng.uniform(0.5, 8), calls, 0.8) + rng.uniform(0, 0.2) * shaped(rng, n, 6, 5)
    )


def hall(rng: np.random.Generator, n: int) -> FloatArray:
    """Return the murmur of a station or a canteen: bands of noise that change at the rate of syllables."""
    total = np.zeros(n)
    for _ in range(int(rng.integers(4, 14))):
        total += shaped(rng, n, 24, 8) * slow(rng, n, rng.uniform(2, 8), rng.uniform(0.4, 1.2))
    return as_float(total)


def cafe(rng: np.random.Generator, n: int) -> FloatArray:
    """Return a cafe: formants that change like talk, and clatter, in a room."""
    return room.cafe(rng, n, RATE, int(rng.integers(1, 12)))


NOISES: dict[str, Maker] = {
    "cafe": cafe,
    "rain": rain,
    "wind": wind,
    "crackle": crackle,
    "dishes": dishes,
    "steps": steps,
    "applause": applause,
    "water": water,
    "machine": machine,
    "traffic": traffic,
    "animals": animals,
    "hall": hall,
}
