"""Render notes with synthesized instruments: band-limited wavetables with vibrato, and noise drums."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from overheard.demo.composition import Note

Rng = np.random.Generator
Wave = NDArray[np.float32]

TABLE = 2048
FAMILIES = {  # slope of the harmonics, weight of the even ones, attack_s, decay_s (0: none), vibrato in cents
    "piano": (1.3, 1.0, 0.004, 0.9, 0.0),
    "organ": (0.9, 0.8, 0.015, 0.0, 6.0),
    "strings": (1.0, 1.0, 0.12, 0.0, 14.0),
    "brass": (0.7, 1.0, 0.05, 0.0, 9.0),
    "reed": (0.9, 0.25, 0.03, 0.0, 12.0),
    "flute": (2.2, 0.6, 0.05, 0.0, 16.0),
    "guitar": (0.9, 0.9, 0.003, 0.5, 0.0),
    "bell": (1.8, 0.4, 0.002, 1.4, 0.0),
    "saw": (1.0, 1.0, 0.008, 0.0, 5.0),
    "square": (1.0, 0.05, 0.006, 0.6, 0.0),
    "voice": (1.1, 1.0, 0.06, 0.0, 28.0),
}
ROLES = {
    "lead": ("voice", "voice", "brass", "reed", "flute", "saw", "square", "guitar", "strings"),
    "second": ("strings", "reed", "flute", "bell", "voice", "brass"),
    "chords": ("piano", "organ", "strings", "guitar", "saw"),
    "arpeggio": ("guitar", "bell", "piano", "square"),
    "bass": ("guitar", "saw", "square", "piano"),
}
PART_DB = {"lead": -8.0, "second": -13.0, "chords": -17.0, "arpeggio": -15.0, "bass": -8.0}
DRUMS = {  # level in dB, decay_s, pitch in Hz (0: noise alone)
    "kick": (-5.0, 0.12, 52.0),
    "snare": (-9.0, 0.13, 185.0),
    "clap": (-11.0, 0.1, 0.0),
    "rim": (-13.0, 0.03, 420.0),
    "hat": (-17.0, 0.04, 0.0),
    "ride": (-18.0, 0.25, 0.0),
    "shaker": (-19.0, 0.05, 0.0),
    "tom": (-10.0, 0.2, 110.0),
    "crash": (-16.0, 0.7, 0.0),
}
VOWELS = (  # formants in Hz
    (700.0, 1200.0, 2600.0),
    (400.0, 2000.0, 2600.0),
    (500.0, 900.0, 2500.0),
    (320.0, 2300.0, 3000.0),
)


@dataclasses.dataclass(frozen=True)
class Patch:
    """The timbre of one part of one piece."""

    family: str
    slope: float
    even: float
    attack_s: float
    decay_s: float
    vibrato_cents: float
    vibrato_hz: float
    detune_cents: float  # between two copies; 0 for one
    jitter_db: Wave  # deviation of each harmonic, (64,)
    formants_hz: tuple[tuple[float, ...], ...]  # vowels, of which each note takes one at random
    breath: float
    gain: float


class Band:
    """Renders the notes of one piece; all random numbers come from `rng`."""

    def __init__(self, rng: Rng, sample_rate: int) -> None:
        self._rng = rng
        self._rate = sample_rate
        self._patches = {part: _patch(rng, part) for part in ROLES}
        self._tables: dict[tuple[str, int, int, bool], Wave] = {}
        bands = _noise_bands(rng)
        self._noise = {name: _shaped_noise(rng, sample_rate, band) for name, band in bands.items()}
        self._drum_gain = {name: 10 ** ((DRUMS[name][0] + rng.uniform(-3, 3)) / 20) for name in DRUMS}
        self._kit_pitch = rng.uniform(0.8, 1.3)

    def render(self, note: Note) -> Wave:
        """Return one note's waveform, (n,) float32, including its release."""
        if note.part in self._patches:
            return self._tone(note, self._patches[note.part])
        return self._drum(note) * np.float32(self._drum_gain[note.part] * note.velocity)

    def _tone(self, note: Note, patch: Patch) -> Wave:
        rng, rate = self._rng, self._rate
        release_s = 0.05 if patch.decay_s == 0.0 else 0.12
        t = np.arange(2 + int((note.length_s + release_s) * rate)) / rate
        hz = 440.0 * 2.0 ** ((note.pitch - 69.0 + rng.normal(0.0, 0.05)) / 12.0)
        vowel = int(rng.integers(len(patch.formants_hz)))
        bright, mellow = (self._table(note, patch, vowel, soft) for soft in (False, True))
        swing = hz * (2 ** (patch.vibrato_cents / 1200) - 1) / (2 * np.pi * patch.vibrato_hz)
        bend = swing * np.sin(2 * np.pi * patch.vibrato_hz * t + rng.uniform(0, 6.28)) if swing else 0.0
        fade = np.exp(t * (-1.0 / (0.4 * patch.decay_s or 2.0))).astype(np.float32)
        wave = np.zeros(len(t), np.float32)
        for cents in (-patch.detune_cents, patch.detune_cents) if patch.detune_cents else (0.0,):
            phase = hz * 2 ** (cents / 1200) * t + bend + rng.random()
            index = (phase * TABLE).astype(np.int64) & (TABLE - 1)
            low = mellow[index]
            wave += low + fade * (bright[index] - low)
        if patch.breath:
            wave += np.float32(patch.breath) * self._slice("breath", len(t))
        envelope = np.minimum(1.0, t / patch.attack_s) * np.minimum(1.0, (t[-1] - t) / release_s)
        if patch.decay_s:
            envelope *= np.exp(-t / patch.decay_s)
        envelope *= patch.gain * note.velocity
        return np.asarray(wave * envelope, np.float32)

    def _table(self, note: Note, patch: Patch, vowel: int, soft: bool) -> Wave:
        """Return one period at the note's pitch, without harmonics above half the sample rate."""
        key = (note.part, round(note.pitch), vowel, soft)
        if key not in self._tables:
            hz = 440.0 * 2.0 ** ((note.pitch - 69.0) / 12.0)
            count = max(1, min(len(patch.jitter_db), int(0.48 * self._rate / hz)))
            h = np.arange(1, count + 1)
            amplitude = h ** -(patch.slope + (0.8 if soft else 0.0)) * 10 ** (patch.jitter_db[:count] / 20)
            amplitude[1::2] *= patch.even
            for center in patch.formants_hz[vowel]:
                amplitude *= 0.35 + 2.5 * np.exp(-0.5 * ((h * hz - center) / 180.0) ** 2)
            spectrum = np.zeros(TABLE // 2 + 1, complex)
            spectrum[1 : count + 1] = amplitude * np.exp(2j * np.pi * (h * 0.37) ** 2)
            table = np.fft.irfft(spectrum)
            self._tables[key] = np.asarray(0.5 * table / np.sqrt(np.mean(table**2)), np.float32)
        return self._tables[key]

    def _slice(self, name: str, n: int) -> Wave:
        noise = self._noise[name]
        start = int(self._rng.integers(len(noise)))
        return np.asarray(np.take(noise, np.arange(start, start + n), mode="wrap"), np.float32)

    def _drum(self, note: Note) -> Wave:
        _, decay_s, hz = DRUMS[note.part]
        decay_s *= self._rng.uniform(0.8, 1.25)
        if note.part == "tom":
            hz *= self._rng.uniform(0.8, 1.6)
        t = np.arange(int(5 * decay_s * self._rate), dtype=np.float32) / np.float32(self._rate)
        body = np.exp(-t / np.float32(decay_s))
        noise = self._slice(note.part if note.part in self._noise else "snare", len(t))
        if note.part == "shaker":
            body = body * np.minimum(np.float32(1.0), t / np.float32(0.03))
        if note.part == "clap":
            body = body * (0.5 + 0.5 * signal.sawtooth(2 * np.pi * 90.0 * np.minimum(t, 0.033), 0))
        if not hz:
            return np.asarray(noise * body, np.float32)
        sweep = hz * self._kit_pitch * (t + np.float32(0.03) * (1 - np.exp(-t / np.float32(0.015))))
        click = noise * np.exp(-t / np.float32(0.008))
        rattle = 0.9 * noise * body if note.part == "snare" else 0.25 * click
        wave = np.sin(2 * np.pi * sweep) * body + rattle
        return np.asarray(wave, np.float32)


def _patch(rng: Rng, part: str) -> Patch:
    family = str(rng.choice(ROLES[part]))
    slope, even, attack_s, decay_s, vibrato = FAMILIES[family]
    bump = (float(rng.uniform(500, 3000)), float(rng.uniform(500, 3500)))
    return Patch(
        family=family,
        slope=slope * rng.uniform(0.75, 1.25),
        even=even,
        attack_s=attack_s * rng.uniform(0.7, 1.6),
        decay_s=decay_s * rng.uniform(0.6, 1.6),
        vibrato_cents=vibrato * rng.uniform(0.5, 1.3),
        vibrato_hz=rng.uniform(4.5, 6.5),
        detune_cents=float(rng.uniform(3, 9)) if family in ("strings", "saw", "organ") else 0.0,
        jitter_db=rng.normal(0.0, 4.0, 64).astype(np.float32),
        formants_hz=VOWELS if family == "voice" else (bump,),
        breath=0.06 if family in ("flute", "voice") else 0.0,
        gain=10 ** ((PART_DB[part] + rng.uniform(-2, 2)) / 20),
    )


def _noise_bands(rng: Rng) -> dict[str, tuple[float, float]]:
    spread = rng.uniform(0.75, 1.3)
    return {
        "snare": (600 * spread, 6000),
        "clap": (800 * spread, 3000),
        "hat": (2200 * spread, 15000),
        "ride": (1800 * spread, 12000),
        "shaker": (2400 * spread, 9000),
        "crash": (900 * spread, 14000),
        "breath": (500, 6000),
    }


def _shaped_noise(rng: Rng, sample_rate: int, band_hz: tuple[float, float]) -> Wave:
    """Return 3 s of band-limited noise, (n,) float32 with a standard deviation of about 1."""
    low, high = (min(edge, 0.9 * sample_rate / 2) for edge in band_hz)
    if high >= 0.9 * sample_rate / 2:
        sos = signal.butter(2, min(low, 0.7 * sample_rate / 2), "highpass", fs=sample_rate, output="sos")
    else:
        sos = signal.butter(2, (low, high), "bandpass", fs=sample_rate, output="sos")
    noise = signal.sosfilt(sos, rng.standard_normal(3 * sample_rate))
    return np.asarray(noise / noise.std(), np.float32)
