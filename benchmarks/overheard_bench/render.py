"""Degrade a clean clip to a query: room, noise, microphone, band limit, overdrive, gain.

Signals are (n,) float32 at 8 kHz. benchmarks/README.md describes each step.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
from scipy import interpolate, signal

from overheard.hear.resampler import to_float, to_int16
from overheard.hear.source import Block
from overheard_bench.corpus import SAMPLE_RATE, Corpus, Part

FloatArray = npt.NDArray[np.float32]

# Chosen for this benchmark, not measured: a range of ordinary rooms, microphones and noises.
PREROLL_S = 1.5  # music before the query, which still reverberates in it
MAX_SPEED = 0.005  # relative change of speed: a deck or a broadcaster that is off by half a percent
MARGIN_SAMPLES = 64  # resampling needs them on both sides
MAX_DECAY_S = 0.8  # reverberation time of a large living room
FRAME_SAMPLES = 256  # 32 ms
ACTIVE_DB = 30.0  # frames this far below the loudest frame, or louder, are active
SILENT_FRAME_DBFS = -60.0
SILENT_CLIP_DBFS = -50.0
BABBLE_SHARE = 0.3  # of the noises; the others are noise files


@dataclasses.dataclass(frozen=True)
class Condition:
    """The steps that are applied to a clip; None or False skips a step."""

    snr_db: float | None = None
    direct_db: tuple[float, float] | None = None  # range of the direct-to-reverberant ratio
    microphone: bool = False  # microphone, band limit, overdrive, gain
    speed: tuple[float, float] | None = None  # range of the relative change, faster or slower


NEAR, FAR = (0.0, 10.0), (-15.0, -7.0)
CONDITIONS = {
    "clean": Condition(),
    "noise0": Condition(snr_db=0.0),
    "mic10": Condition(10.0, NEAR, True),
    "mic5": Condition(5.0, NEAR, True),
    "mic0": Condition(0.0, NEAR, True),
    "mic-5": Condition(-5.0, NEAR, True),
    "far10": Condition(10.0, FAR, True),
    "mic10_spd": Condition(10.0, NEAR, True, (0.002, MAX_SPEED)),
}


class Renderer:
    """Render clips with the rooms, microphones and noises of one part."""

    def __init__(self, corpus: Corpus, part: Part) -> None:
        self.corpus, self.part = corpus, part
        self._response = functools.cache(lambda path: to_float(corpus.load(path)))

    def render(
        self, track: str, start: int, n_samples: int, condition: Condition, rng: np.random.Generator
    ) -> Block:
        """Render `n_samples` of a track, from sample `start` on, to (n_samples,) int16."""
        preroll = int(PREROLL_S * SAMPLE_RATE)
        speed = 1.0
        if condition.speed is not None:
            speed += float(rng.choice([-1, 1]) * rng.uniform(*condition.speed))
        x = self._music(track, start, preroll, n_samples, speed)
        if condition.direct_db is not None:
            x = convolve(x, self._room(rng, rng.uniform(*condition.direct_db)))
        if condition.snr_db is not None:
            x = add_at_snr(x, self._noise(len(x), preroll, rng), condition.snr_db, preroll)
        if condition.microphone:
            x = convolve(x, self._microphone(rng)) if rng.random() < 0.5 else equalize(x, rng)
            x = overdrive(band_limit(x, rng), rng, preroll)
            x = x * np.float32(np.exp(rng.uniform(np.log(0.05), 0.0)))
        clip = x[preroll:]
        return to_int16(clip / np.float32(max(1.0, np.max(np.abs(clip)))))  # only overdrive may clip

    def _music(self, track: str, start: int, preroll: int, n_samples: int, speed: float) -> FloatArray:
        """Cut the clip and its pre-roll, `speed` times as fast; sample `preroll` is the track's `start`."""
        samples = self.corpus.load(track)
        if speed == 1.0:
            return to_float(samples[start - preroll : start + n_samples])
        first = start - round((preroll + MARGIN_SAMPLES) * speed)
        last = start + round((n_samples + MARGIN_SAMPLES) * speed)
        resampled: FloatArray = soxr.resample(to_float(samples[first:last]), speed, 1.0)
        return resampled[MARGIN_SAMPLES : MARGIN_SAMPLES + preroll + n_samples]

    def _room(self, rng: np.random.Generator, direct_db: float) -> FloatArray:
        """Draw a measured or a simulated room, equally often, and give it the direct-to-reverberant ratio."""
        rooms = self.part.ir_room if rng.random() < 0.5 else self.part.ir_room_synth
        return shape_room(self._response(str(rng.choice(rooms))), direct_db)

    def _microphone(self, rng: np.random.Generator) -> FloatArray:
        response = self._response(str(rng.choice(self.part.ir_mic)))[: SAMPLE_RATE // 4]
        return unit_energy(response)

    def _noise(self, n: int, preroll: int, rng: np.random.Generator) -> FloatArray:
        """Draw n samples of a noise file or of babble (three to eight voices), skipping silence."""
        for _ in range(50):
            if rng.random() < BABBLE_SHARE:
                talkers = rng.choice(self.part.speech, size=int(rng.integers(3, 9)), replace=False)
                voices = [unit_power(self._bed(str(talker), n, rng)) for talker in talkers]
                noise: FloatArray = np.sum(voices, axis=0, dtype=np.float32)
            else:
                noise = self._bed(str(rng.choice(self.part.noise)), n, rng)
            if np.max(frame_powers(noise[preroll:])) > 1e-7:
                return noise
        raise ValueError("the noise files are silent")

    def _bed(self, path: str, n: int, rng: np.random.Generator) -> FloatArray:
        """Cut n samples from a file at a random position; a short file repeats with cross-fades."""
        return loop(to_float(self.corpus.load(path)), n, rng)


def frame_powers(x: FloatArray) -> npt.NDArray[np.float64]:
    """Return the mean power of each complete frame, (n // FRAME_SAMPLES,)."""
    n = len(x) // FRAME_SAMPLES
    powers: npt.NDArray[np.float64] = np.mean(
        x[: n * FRAME_SAMPLES].reshape(n, FRAME_SAMPLES).astype(np.float64) ** 2, axis=1
    )
    return powers


def active_power(x: FloatArray) -> float:
    """Return the mean power of the active frames, so that pauses do not count."""
    powers = frame_powers(x)
    return float(np.mean(powers[powers >= powers.max() * 10 ** (-ACTIVE_DB / 10)]))


def unit_power(x: FloatArray) -> FloatArray:
    """Scale to an active power of 1."""
    return x / np.float32(np.sqrt(max(active_power(x), 1e-12)))


def unit_energy(response: npt.NDArray[Any]) -> FloatArray:
    """Scale an impulse response to an energy of 1."""
    scaled: FloatArray = (response / np.sqrt(np.sum(response**2))).astype(np.float32)
    return scaled


def near_silence(clip: FloatArray) -> bool:
    """Return whether a clean clip is below -50 dBFS, or at least half of its frames are below -60 dBFS."""
    powers = frame_powers(clip)
    loud_frames = np.mean(powers > 10 ** (SILENT_FRAME_DBFS / 10))
    return bool(np.mean(powers) < 10 ** (SILENT_CLIP_DBFS / 10) or loud_frames < 0.5)


def loop(x: FloatArray, n: int, rng: np.random.Generator, fade: int = 400) -> FloatArray:
    """Cut n samples at a random position; a short signal repeats, cross-faded over `fade` samples."""
    if len(x) > n:
        start = int(rng.integers(len(x) - n + 1))
        return x[start : start + n]
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    period = x[: len(x) - fade].copy()
    period[:fade] = period[:fade] * ramp + x[len(x) - fade :] * (1 - ramp)
    start = int(rng.integers(len(period)))
    return np.resize(np.roll(period, -start), n)


def convolve(x: FloatArray, response: FloatArray) -> FloatArray:
    """Filter causally and keep the length."""
    filtered: FloatArray = signal.oaconvolve(x, response)[: len(x)].astype(np.float32)
    return filtered


def decay_s(tail: npt.NDArray[Any]) -> float:
    """Return the time in which a decay falls by 60 dB, extrapolated from -5 to -25 dB.

    Source: Schroeder, New Method of Measuring Reverberation Time, JASA 37, 1965 (backward integration).
    """
    energy = np.cumsum(tail[::-1].astype(np.float64) ** 2)[::-1]
    level_db = 10 * np.log10(energy / energy[0] + 1e-12)
    return float(np.argmax(level_db < -25) - np.argmax(level_db < -5)) / SAMPLE_RATE * 3


def shape_room(response: FloatArray, direct_db: float) -> FloatArray:
    """Limit a room response's decay to 0.8 s and set its direct-to-reverberant ratio.

    The direct sound lasts from 1 ms before the peak to 2.5 ms after it; everything before it is removed.
    """
    before, after = SAMPLE_RATE // 1000, SAMPLE_RATE // 400
    peak = int(np.argmax(np.abs(response)))
    shaped = response[max(0, peak - before) : peak + SAMPLE_RATE].astype(np.float64)
    edge = min(peak, before) + after
    direct, tail = shaped[:edge], shaped[edge:]
    for _ in range(8):  # few responses decay exponentially, so that one pass may not be enough
        measured = decay_s(tail)
        if measured <= MAX_DECAY_S:
            break
        tail = tail * 10 ** (-3 * np.arange(len(tail)) / SAMPLE_RATE * (1 / MAX_DECAY_S - 1 / measured))
    ratio = np.sum(direct**2) / max(np.sum(tail**2), 1e-12)
    shaped = np.concatenate([direct, tail * np.sqrt(ratio / 10 ** (direct_db / 10))])
    return unit_energy(shaped)


def add_at_snr(x: FloatArray, noise: FloatArray, snr_db: float, preroll: int) -> FloatArray:
    """Add noise. The ratio is that of the active powers within the query, without the pre-roll."""
    wanted = active_power(x[preroll:]) / 10 ** (snr_db / 10)
    return x + noise * np.float32(np.sqrt(wanted / active_power(noise[preroll:])))


def equalize(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Apply a smooth random equalizer: a spline through 8 gains of 5 dB deviation, 60 Hz to 4 kHz."""
    gains_db = np.clip(rng.normal(0, 5, 8), -12, 12)
    curve = interpolate.make_interp_spline(np.linspace(np.log(60), np.log(4000), 8), gains_db, k=3)
    frequencies = np.clip(np.arange(257) / 256 * SAMPLE_RATE / 2, 60, 4000)
    taps = np.fft.irfft(10 ** (np.clip(curve(np.log(frequencies)), -15, 15) / 20))
    taps = np.roll(taps, 256) * np.hanning(512)
    equalized: FloatArray = signal.oaconvolve(x, taps.astype(np.float32))[256 : 256 + len(x)]
    return equalized.astype(np.float32)


def band_limit(x: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Apply a high-pass at 60-250 Hz (12 dB per octave) and a low-pass at 3-3.9 kHz (24 dB per octave)."""
    high = signal.butter(2, rng.uniform(60, 250), "highpass", fs=SAMPLE_RATE, output="sos")
    low = signal.butter(4, rng.uniform(3000, 3900), "lowpass", fs=SAMPLE_RATE, output="sos")
    limited: FloatArray = signal.sosfilt(np.concatenate([high, low]), x).astype(np.float32)
    return limited


def overdrive(x: FloatArray, rng: np.random.Generator, preroll: int) -> FloatArray:
    """Scale to full scale. With a probability of 0.3, drive it 2-8 dB above full scale, so that it clips."""
    x = x / np.float32(max(np.max(np.abs(x[preroll:])), 1e-9))
    if rng.random() < 0.3:
        x = x * np.float32(10 ** (rng.uniform(2, 8) / 20))
    return np.clip(x, -1, 1)
