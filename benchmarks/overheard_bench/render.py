"""A clean clip to a query: room, noise, microphone, band limit, overdrive, gain.

Every function takes and gives (n,) float32 at 8 kHz. What the issue's protocol leaves open is settled here.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import soxr
from scipy import interpolate, signal

from overheard_bench.corpus import SAMPLE_RATE, Corpus, Part

PREROLL_S = 1.5  # real music that sounds in the room before the query begins
MAX_SPEED = 0.005
MARGIN = 64  # samples before and after that resampling needs
MAX_DECAY_S = 0.8
FRAME = 256  # samples of a frame whose power counts as active or not
ACTIVE_DB = 30.0  # frames down to this much below the loudest are active
SILENT_FRAME_DBFS = -60.0
SILENT_CLIP_DBFS = -50.0
BABBLE_SHARE = 0.3  # of the noises; the rest are noise files


@dataclasses.dataclass(frozen=True)
class Condition:
    """What happens to the clip; None leaves a step out."""

    snr_db: float | None = None
    direct_db: tuple[float, float] | None = None  # direct-to-reverberant ratio
    microphone: bool = False  # microphone, band limit, overdrive, gain
    speed: tuple[float, float] | None = None


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
    """Renders clips with the rooms, microphones and noises of one part."""

    def __init__(self, corpus: Corpus, part: Part) -> None:
        self.corpus, self.part = corpus, part
        self._response = functools.cache(self._load_response)

    def render(
        self, track: str, start: int, n_samples: int, condition: Condition, rng: np.random.Generator
    ) -> np.ndarray:
        """Render `n_samples` of a track from sample `start` on to (n_samples,) int16."""
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
        clip = clip / max(1.0, float(np.max(np.abs(clip))))  # only overdrive may clip
        return np.round(clip * 32767).astype(np.int16)

    def _music(self, track: str, start: int, preroll: int, n_samples: int, speed: float) -> np.ndarray:
        """Cut the clip with its pre-roll, `speed` times as fast; sample `preroll` is the track's `start`."""
        samples = self.corpus.load(track)
        if speed == 1.0:
            return to_float(samples[start - preroll : start + n_samples])
        first = start - round((preroll + MARGIN) * speed)
        last = start + round((n_samples + MARGIN) * speed)
        return soxr.resample(to_float(samples[first:last]), speed, 1.0)[MARGIN : MARGIN + preroll + n_samples]

    def _load_response(self, path: str) -> np.ndarray:
        return to_float(self.corpus.load(path))

    def _room(self, rng: np.random.Generator, direct_db: float) -> np.ndarray:
        """Draw a room, measured and simulated alike often, as a response of the wanted ratio."""
        rooms = self.part.ir_room if rng.random() < 0.5 else self.part.ir_room_synth
        return shape_room(self._response(str(rng.choice(rooms))), direct_db)

    def _microphone(self, rng: np.random.Generator) -> np.ndarray:
        response = self._response(str(rng.choice(self.part.ir_mic)))[: SAMPLE_RATE // 4]
        return (response / np.sqrt(np.sum(response**2))).astype(np.float32)

    def _noise(self, n: int, preroll: int, rng: np.random.Generator) -> np.ndarray:
        """Draw n samples of a noise file, or of three to eight people who talk at once; never silence."""
        for _ in range(50):
            if rng.random() < BABBLE_SHARE:
                talkers = rng.choice(self.part.speech, size=int(rng.integers(3, 9)), replace=False)
                voices = [unit_power(self._bed(str(talker), n, rng)) for talker in talkers]
                noise = np.sum(voices, axis=0, dtype=np.float32)
            else:
                noise = self._bed(str(rng.choice(self.part.noise)), n, rng)
            if np.max(frame_powers(noise[preroll:])) > 1e-7:
                return noise
        raise ValueError("the noise files are silent")

    def _bed(self, path: str, n: int, rng: np.random.Generator) -> np.ndarray:
        """Cut n samples at random from a file, repeated with cross-fades where it is too short."""
        return loop(to_float(self.corpus.load(path)), n, rng)


def to_float(samples: np.ndarray) -> np.ndarray:
    """Scale int16 to float32 in [-1, 1]."""
    return samples.astype(np.float32) / np.float32(32768)


def frame_powers(x: np.ndarray) -> np.ndarray:
    """Mean power of each whole frame, (n // FRAME,)."""
    n = len(x) // FRAME
    return np.mean(x[: n * FRAME].reshape(n, FRAME).astype(np.float64) ** 2, axis=1)


def active_power(x: np.ndarray) -> float:
    """Mean power over the frames at most ACTIVE_DB below the loudest, so that pauses do not count."""
    powers = frame_powers(x)
    return float(np.mean(powers[powers >= powers.max() * 10 ** (-ACTIVE_DB / 10)]))


def unit_power(x: np.ndarray) -> np.ndarray:
    """Scale to an active power of 1."""
    return x / np.float32(np.sqrt(max(active_power(x), 1e-12)))


def near_silence(clip: np.ndarray) -> bool:
    """Whether a clean clip is too quiet to ask for: under -50 dBFS, or half its frames under -60 dBFS."""
    powers = frame_powers(clip)
    loud_frames = np.mean(powers > 10 ** (SILENT_FRAME_DBFS / 10))
    return bool(np.mean(powers) < 10 ** (SILENT_CLIP_DBFS / 10) or loud_frames < 0.5)


def loop(x: np.ndarray, n: int, rng: np.random.Generator, fade: int = 400) -> np.ndarray:
    """Cut n samples at random; a file that is too short repeats, each copy cross-faded into the next."""
    if len(x) > n:
        start = int(rng.integers(len(x) - n + 1))
        return x[start : start + n]
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    period = x[: len(x) - fade].copy()
    period[:fade] = period[:fade] * ramp + x[len(x) - fade :] * (1 - ramp)
    start = int(rng.integers(len(period)))
    return np.resize(np.roll(period, -start), n)


def convolve(x: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Filter causally, same length."""
    return signal.oaconvolve(x, response)[: len(x)].astype(np.float32)


def decay_s(tail: np.ndarray) -> float:
    """Time to fall by 60 dB, from the -5 to -25 dB stretch of the energy that is yet to come (Schroeder)."""
    energy = np.cumsum(tail[::-1].astype(np.float64) ** 2)[::-1]
    level_db = 10 * np.log10(energy / energy[0] + 1e-12)
    return float(np.argmax(level_db < -25) - np.argmax(level_db < -5)) / SAMPLE_RATE * 3


def shape_room(response: np.ndarray, direct_db: float) -> np.ndarray:
    """Give a room response a decay of at most 0.8 s and a direct-to-reverberant ratio.

    The direct sound, from 1 ms before the response's peak to 2.5 ms after it, is made to come at once.
    """
    before, after = SAMPLE_RATE // 1000, SAMPLE_RATE // 400
    peak = int(np.argmax(np.abs(response)))
    shaped = response[max(0, peak - before) : peak + SAMPLE_RATE].astype(np.float64)
    edge = min(peak, before) + after
    direct, tail = shaped[:edge], shaped[edge:]
    for _ in range(8):  # few responses decay evenly: what one pass leaves, the next shortens
        measured = decay_s(tail)
        if measured <= MAX_DECAY_S:
            break
        tail = tail * 10 ** (-3 * np.arange(len(tail)) / SAMPLE_RATE * (1 / MAX_DECAY_S - 1 / measured))
    ratio = np.sum(direct**2) / max(np.sum(tail**2), 1e-12)
    shaped = np.concatenate([direct, tail * np.sqrt(ratio / 10 ** (direct_db / 10))])
    return (shaped / np.sqrt(np.sum(shaped**2))).astype(np.float32)


def add_at_snr(x: np.ndarray, noise: np.ndarray, snr_db: float, preroll: int) -> np.ndarray:
    """Add noise; the powers are those of active frames within the query, not the pre-roll."""
    wanted = active_power(x[preroll:]) / 10 ** (snr_db / 10)
    return x + noise * np.float32(np.sqrt(wanted / active_power(noise[preroll:])))


def equalize(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a smooth random equalizer: a spline through 8 gains, of 5 dB deviation, from 60 Hz to 4 kHz."""
    gains_db = np.clip(rng.normal(0, 5, 8), -12, 12)
    curve = interpolate.make_interp_spline(np.linspace(np.log(60), np.log(4000), 8), gains_db, k=3)
    frequencies = np.clip(np.arange(257) / 256 * SAMPLE_RATE / 2, 60, 4000)
    taps = np.fft.irfft(10 ** (np.clip(curve(np.log(frequencies)), -15, 15) / 20))
    taps = np.roll(taps, 256) * np.hanning(512)
    return signal.oaconvolve(x, taps.astype(np.float32))[256 : 256 + len(x)].astype(np.float32)


def band_limit(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """High-pass at 60-250 Hz (12 dB an octave), low-pass at 3-3.9 kHz (24 dB an octave)."""
    high = signal.butter(2, rng.uniform(60, 250), "highpass", fs=SAMPLE_RATE, output="sos")
    low = signal.butter(4, rng.uniform(3000, 3900), "lowpass", fs=SAMPLE_RATE, output="sos")
    return signal.sosfilt(np.concatenate([high, low]), x).astype(np.float32)


def overdrive(x: np.ndarray, rng: np.random.Generator, preroll: int) -> np.ndarray:
    """Scale to full scale; three in ten are driven 2-8 dB over it and clip."""
    x = x / np.float32(max(np.max(np.abs(x[preroll:])), 1e-9))
    if rng.random() < 0.3:
        x = x * np.float32(10 ** (rng.uniform(2, 8) / 20))
    return np.clip(x, -1, 1)
