"""Simulate the path from a recording to the microphone: loudspeaker, room, and the noise of a cafe."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Rng = np.random.Generator
Wave = NDArray[np.float32]

VOWELS = ((750.0, 1250.0), (450.0, 2100.0), (300.0, 2400.0), (480.0, 900.0), (330.0, 800.0))  # formants in Hz


def room_response(rng: Rng, sample_rate: int, rt60_s: float, direct_to_reverberant_db: float) -> Wave:
    """Return an impulse response, (n,) float32: direct sound, early reflections, exponential noise tail.

    The direct sound has amplitude 1. The tail decays by 60 dB in `rt60_s`.
    """
    n = int(1.1 * rt60_s * sample_rate)
    t = np.arange(n) / sample_rate
    tail = rng.standard_normal(n) * 10 ** (-3 * t / rt60_s)
    dull = signal.lfilter([0.4], [1.0, -0.6], tail)  # walls and air absorb high frequencies first
    late = np.clip(t / (0.6 * rt60_s), 0.0, 1.0)
    rest = tail * (1 - late) + dull * late
    rest *= t > 0.02
    for delay_s in rng.uniform(0.002, 0.04, int(rng.integers(6, 12))):
        strength = rng.choice((-1.0, 1.0)) * rng.uniform(0.3, 1.0)
        rest[int(delay_s * sample_rate)] += strength * np.exp(-delay_s / 0.03)
    rest *= 10 ** (-direct_to_reverberant_db / 20) / np.sqrt(np.sum(rest**2) + 1e-12)
    rest[0] = 1.0
    return np.asarray(rest, np.float32)


def loudspeaker(rng: Rng, waveform: Wave, sample_rate: int) -> Wave:
    """Play through a small loudspeaker: no deep bass, some resonances, soft saturation."""
    shaped = _equalize(rng, waveform, sample_rate, rng.uniform(110.0, 220.0), bumps=4, gain_db=5.0)
    peak = float(np.abs(shaped).max()) or 1.0
    drive = rng.uniform(0.6, 1.4)
    return np.asarray(np.tanh(shaped * (drive / peak)) * (peak / drive), np.float32)


def microphone(rng: Rng, waveform: Wave, sample_rate: int) -> Wave:
    """Record with a cheap microphone: uneven response and a hiss at about -75 dBFS."""
    shaped = _equalize(rng, waveform, sample_rate, rng.uniform(60.0, 150.0), bumps=3, gain_db=4.0)
    shaped += np.float32(10 ** (-75 / 20)) * rng.standard_normal(len(shaped), dtype=np.float32)
    return np.clip(shaped, -1.0, 1.0)


def _equalize(rng: Rng, waveform: Wave, rate: int, low_hz: float, bumps: int, gain_db: float) -> Wave:
    """Apply a high-pass filter, and random resonances of up to plus or minus `gain_db`."""
    out = signal.sosfilt(signal.butter(2, low_hz, "highpass", fs=rate, output="sos"), waveform)
    for _ in range(bumps):
        hz = float(np.exp(rng.uniform(np.log(200.0), np.log(0.42 * rate))))
        b, a = _peak(hz, rng.uniform(-gain_db, gain_db), rate)
        out = signal.lfilter(b, a, out)
    return np.asarray(out, np.float32)


def _peak(hz: float, gain_db: float, rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Peaking filter of Q 1.2 (Source: R. Bristow-Johnson, Audio EQ Cookbook)."""
    a = 10 ** (gain_db / 40)
    w = 2 * np.pi * hz / rate
    alpha = np.sin(w) / 2.4
    b0 = np.array([1 + alpha * a, -2 * np.cos(w), 1 - alpha * a])
    a0 = np.array([1 + alpha / a, -2 * np.cos(w), 1 - alpha / a])
    return b0 / a0[0], a0 / a0[0]


def cafe(rng: Rng, n_samples: int, sample_rate: int, n_talkers: int = 9) -> Wave:
    """Return the noise of a cafe, (n,) float32 of unit RMS: talk, clatter of cups, hum of the room."""
    babble = np.zeros(n_samples, np.float32)
    for _ in range(n_talkers):
        babble += np.float32(rng.uniform(0.3, 1.0)) * _talker(rng, n_samples, sample_rate)
    room = signal.lfilter([0.08], [1.0, -0.92], rng.standard_normal(n_samples, dtype=np.float32))
    mix = babble / _rms(babble) + 0.45 * room / _rms(room) + _clatter(rng, n_samples, sample_rate)
    response = room_response(rng, sample_rate, 0.6, -3.0)  # all sources share the room
    mix = signal.oaconvolve(mix.astype(np.float32), response)[:n_samples]
    return np.asarray(mix / _rms(mix), np.float32)


def _talker(rng: Rng, n_samples: int, rate: int) -> Wave:
    """Return one person's talk at unit RMS: voiced vowels and hissed consonants, with pauses."""
    out = np.zeros(n_samples + rate, np.float32)
    base_hz = rng.uniform(95.0, 230.0)
    size = rng.uniform(0.9, 1.2)  # of the vocal tract; it scales the formants
    at = float(rng.uniform(0, 1.0))
    while at * rate < n_samples:
        for _ in range(int(rng.integers(4, 16))):
            length_s = rng.uniform(0.11, 0.26)
            syllable = _syllable(rng, int(length_s * rate), base_hz * rng.uniform(0.85, 1.25), size, rate)
            start = int(at * rate)
            if start >= n_samples:
                break
            out[start : start + len(syllable)] += syllable
            at += length_s * rng.uniform(0.95, 1.3)
        at += rng.exponential(1.1)
    return out[:n_samples] / _rms(out[:n_samples])


def _syllable(rng: Rng, n: int, hz: float, size: float, rate: int) -> Wave:
    t = np.arange(n) / rate
    glide = hz * t * (1 + rng.uniform(-0.15, 0.15) * t / t[-1])
    source = (2.0 * (glide % 1.0) - 1.0) + 0.1 * rng.standard_normal(n)
    for formant in VOWELS[int(rng.integers(len(VOWELS)))]:
        r = np.exp(-np.pi * 90.0 / rate)
        w = 2 * np.pi * min(formant * size, 0.45 * rate) / rate
        source = signal.lfilter([1 - r], [1.0, -2 * r * np.cos(w), r * r], source)
    envelope = np.sin(np.pi * np.arange(n) / n) ** 0.7
    voiced = source / _rms(source) * envelope * rng.uniform(0.4, 1.0)
    n_hiss = min(n, int(rng.uniform(0.03, 0.07) * rate))
    voiced[:n_hiss] += 0.3 * np.diff(rng.standard_normal(n_hiss + 1)) * np.hanning(n_hiss)
    return np.asarray(voiced, np.float32)


def _clatter(rng: Rng, n_samples: int, rate: int) -> Wave:
    """Return the clatter of cups and spoons: short rings of a few partials, about one every two seconds."""
    out = np.zeros(n_samples + rate, np.float32)
    for start in rng.integers(0, n_samples, rng.poisson(0.5 * n_samples / rate)):
        t = np.arange(int(0.25 * rate)) / rate
        ring = np.zeros(len(t))
        for hz in rng.uniform(1200.0, 0.47 * rate, 4):
            ring += np.sin(2 * np.pi * hz * t) * np.exp(-t / rng.uniform(0.01, 0.06))
        out[start : start + len(t)] += (rng.uniform(0.3, 1.6) * ring).astype(np.float32)
    return out[:n_samples]


def _rms(waveform: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) + 1e-9
