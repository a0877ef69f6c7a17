"""Pairs of (clean, degraded) segments: what the catalogue holds, and what a microphone hears of it.

The linear chain (room, noise, microphone, band limits) is done on spectra of one fixed-length window, so that
a pair costs two forward and one inverse FFT however many filters it passes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import scipy.fft

from overheard.frontend import FloatArray, log_mel, normalize_segments
from overheard.spec import SPEC, FingerprintSpec
from overheard_train.dataset import Clips

ComplexArray = npt.NDArray[np.complex64]

WINDOW_SAMPLES = 32768  # 4.1 s: context whose tails ring into the segment, the segment, and room to shift it
CONTEXT_S = 1.0
RATE = SPEC.frontend.sample_rate
FREQUENCIES = scipy.fft.rfftfreq(WINDOW_SAMPLES, 1 / RATE).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Degradation:
    """How hard life is; probabilities and uniform ranges."""

    max_shift_s: float = 0.5  # half the catalogue's hop
    room: float = 0.85
    noise: float = 0.92
    snr_db: tuple[float, float] = (-8.0, 15.0)
    microphone: float = 0.9
    band_limit: float = 0.7
    overdrive: float = 0.3
    hiss: float = 0.3
    speed: float = 0.3
    max_speed: float = 0.006
    mask: float = 0.4
    max_mask_frames: int = 8
    max_mask_mels: int = 12


@dataclasses.dataclass(frozen=True)
class Variation:
    """Changes to both sides of a pair, which make new music out of the little there is."""

    resample: float = 0.5
    resample_range: tuple[float, float] = (0.8, 1.25)
    reverse: float = 0.15
    equalize: float = 0.3
    overlay: float = 0.1


def room_variations(
    measured: list[FloatArray], rng: np.random.Generator, n_measured: int, n_synthetic: int
) -> ComplexArray:
    """Return spectra of room responses, ``(n, WINDOW_SAMPLES // 2 + 1)`` complex64.

    Measured rooms get a new direct-to-reverberant ratio and a shorter decay; synthetic ones are sparse
    reflections and noise that decays faster at high frequencies.
    """
    spectra = np.empty((n_measured + n_synthetic, len(FREQUENCIES)), dtype=np.complex64)
    for index in range(n_measured):
        response = measured[int(rng.integers(len(measured)))]
        spectra[index] = _spectrum(_rescale_room(response, rng))
    for index in range(n_synthetic):
        spectra[n_measured + index] = _spectrum(_rescale_room(_synthesize_room(rng), rng))
    return spectra


def _spectrum(response: FloatArray) -> ComplexArray:
    spectrum: ComplexArray = scipy.fft.rfft(response[:WINDOW_SAMPLES], WINDOW_SAMPLES)
    return spectrum / np.float32(np.sqrt(np.mean(np.abs(spectrum) ** 2)))


def _synthesize_room(rng: np.random.Generator) -> FloatArray:
    n_samples = int(0.9 * RATE)
    times = np.arange(n_samples, dtype=np.float32) / RATE
    response = np.zeros(n_samples, dtype=np.float32)
    low = rng.uniform(0.15, 0.9)
    for band_decay, smoothing in ((low, 6), (low * rng.uniform(0.4, 1.0), 1)):
        noise = rng.standard_normal(n_samples).astype(np.float32)
        noise = np.convolve(noise, np.ones(smoothing, dtype=np.float32) / smoothing, mode="same")
        response += noise * np.exp(-6.9 * times / band_decay) * rng.uniform(0.5, 1.5)
    gap = int(rng.uniform(0.002, 0.02) * RATE)
    tail = np.concatenate([np.zeros(gap, dtype=np.float32), response[:-gap]])
    for _ in range(int(rng.integers(2, 12))):
        tail[int(rng.uniform(0.001, 0.06) * RATE)] += rng.uniform(-4, 4)
    tail[0] = 10.0
    return tail


def _rescale_room(response: FloatArray, rng: np.random.Generator) -> FloatArray:
    onset = int(np.argmax(np.abs(response)))
    response = response[max(0, onset - 8) :][: int(1.2 * RATE)].astype(np.float32)
    onset = int(np.argmax(np.abs(response)))
    direct_end = onset + int(0.0025 * RATE)
    times = np.arange(len(response), dtype=np.float32) / RATE
    tail = response.copy()
    tail[:direct_end] = 0
    tail *= np.exp(-6.9 * times / rng.uniform(0.3, 1.5))
    direct = response[:direct_end]
    ratio_db = rng.uniform(-15, 0) if rng.random() < 0.35 else rng.uniform(0, 12)
    tail_energy = float(np.sum(tail**2))
    if tail_energy > 0:
        tail *= np.sqrt(float(np.sum(direct**2)) / tail_energy) * 10 ** (-ratio_db / 20)
    tail[:direct_end] = direct
    return tail


def microphone_responses(measured: list[FloatArray]) -> FloatArray:
    """Return magnitudes of measured microphones and cabinets, ``(n, WINDOW_SAMPLES // 2 + 1)``."""
    magnitudes = [np.abs(scipy.fft.rfft(response[:WINDOW_SAMPLES], WINDOW_SAMPLES)) for response in measured]
    return np.stack([m / np.sqrt(np.mean(m**2)) for m in magnitudes]).astype(np.float32)


def random_equalizer(rng: np.random.Generator, depth_db: float) -> FloatArray:
    """Return a smooth random magnitude response, ``(WINDOW_SAMPLES // 2 + 1,)``."""
    n_points = int(rng.integers(4, 10))
    knots = np.geomspace(50, RATE / 2, n_points)
    gains = rng.normal(0, depth_db / 2, n_points)
    log_gain = np.interp(np.log(np.maximum(FREQUENCIES, 20.0)), np.log(knots), gains)
    return np.asarray(10 ** (log_gain / 20), dtype=np.float32)


def band_limit(rng: np.random.Generator) -> FloatArray:
    """Return the magnitude of a random high-pass (60-250 Hz) and low-pass (3-3.9 kHz)."""
    high_pass, low_pass = rng.uniform(60, 250), rng.uniform(3000, 3900)
    order = int(rng.integers(1, 5))
    up = (FREQUENCIES / high_pass) ** (2 * order)
    down = (FREQUENCIES / low_pass) ** (2 * int(rng.integers(2, 7)))
    return np.asarray(np.sqrt(up / (1 + up) / (1 + down)), dtype=np.float32)


class PairMaker:
    """Makes batches of normalized log-mel pairs from the corpus.

    Parameters
    ----------
    music, noise, speech : recordings as :class:`~overheard_train.dataset.Clips`
    rooms : (n, WINDOW_SAMPLES // 2 + 1) complex64
    microphones : (n, WINDOW_SAMPLES // 2 + 1) float32
    """

    def __init__(
        self,
        music: Clips,
        noise: Clips,
        speech: Clips,
        rooms: ComplexArray,
        microphones: FloatArray,
        degradation: Degradation | None = None,
        variation: Variation | None = None,
        spec: FingerprintSpec = SPEC,
    ) -> None:
        self.music, self.noise, self.speech = music, noise, speech
        self.rooms, self.microphones = rooms, microphones
        self.degradation = degradation or Degradation()
        self.variation = variation or Variation()
        self.spec = spec

    def batch(self, rng: np.random.Generator, n_pairs: int) -> FloatArray:
        """Return ``(2 * n_pairs, n_frames, n_mels)`` float32: all clean, then all degraded.

        No track comes twice where there are enough, so that a repeating track is never its own negative.
        """
        order = np.concatenate(
            [rng.permutation(len(self.music)) for _ in range(-(-n_pairs // len(self.music)))]
        )
        shape = (2, n_pairs, self.spec.n_frames, self.spec.frontend.n_mels)
        segments = np.empty(shape, dtype=np.float32)
        for index in range(n_pairs):  # one pair at a time stays in the processor's cache
            pair = np.stack(self.waveforms(rng, int(order[index])))
            segments[:, index] = normalize_segments(log_mel(pair, self.spec.frontend), self.spec)
        for segment in segments[1]:
            if rng.random() < self.degradation.mask:
                self._mask(segment, rng)
        return segments.reshape(2 * n_pairs, *shape[2:])

    def waveforms(self, rng: np.random.Generator, track: int) -> tuple[FloatArray, FloatArray]:
        """Return one clean and one degraded waveform, each ``(segment_samples,)``."""
        music = self._music(rng, track)
        samples, context = self.spec.segment_samples, int(CONTEXT_S * RATE)
        reach = int(self.degradation.max_shift_s * RATE)
        start = int(rng.integers(context + reach, WINDOW_SAMPLES - samples - reach))
        shift = int(rng.triangular(-reach, 0, reach)) if reach else 0
        heard = self._hear(music, rng, slice(start + shift, start + shift + samples))
        return music[start : start + samples], heard

    def _music(self, rng: np.random.Generator, track: int) -> FloatArray:
        vary = self.variation
        music = self._excerpt(rng, self.music.clip(track), vary.resample, vary.resample_range)
        if rng.random() < vary.overlay:
            other = self._excerpt(
                rng, self.music.clip(int(rng.integers(len(self.music)))), vary.resample, vary.resample_range
            )
            music = music + other * np.float32(rng.uniform(0.3, 1.0) * _rms(music) / max(_rms(other), 1e-6))
        if rng.random() < vary.equalize:
            spectrum = scipy.fft.rfft(music) * random_equalizer(rng, rng.uniform(2, 10))
            music = scipy.fft.irfft(spectrum, WINDOW_SAMPLES)
        if rng.random() < vary.reverse:
            music = music[::-1].copy()
        return music

    def _excerpt(
        self,
        rng: np.random.Generator,
        clip: npt.NDArray[np.int16],
        p_resample: float,
        span: tuple[float, float],
    ) -> FloatArray:
        """Return a random window that is not silent, as (WINDOW_SAMPLES,) float32."""
        factor = rng.uniform(*span) if rng.random() < p_resample else 1.0
        needed = int(WINDOW_SAMPLES * factor) + 2
        for _ in range(8):  # some recordings have long pauses
            start = int(rng.integers(max(1, len(clip) - needed)))
            raw = clip[start : start + needed].astype(np.float32) / np.float32(32768)
            if len(raw) < needed:
                raw = np.resize(raw, needed)
            if _rms(raw) > 1e-3:
                break
        if factor == 1.0:
            return raw[:WINDOW_SAMPLES]
        return _resample(raw, factor)

    def _hear(self, music: FloatArray, rng: np.random.Generator, place: slice) -> FloatArray:
        how = self.degradation
        if rng.random() < how.speed:
            factor = 1 + rng.uniform(-how.max_speed, how.max_speed)
            music = _resample_about(music, factor, (place.start + place.stop) / 2)
        spectrum: ComplexArray = scipy.fft.rfft(music)
        if rng.random() < how.room:
            spectrum = spectrum * self.rooms[int(rng.integers(len(self.rooms)))]
        if rng.random() < how.noise:
            spectrum = self._add_noise(spectrum, rng)
        if rng.random() < how.microphone:
            if rng.random() < 0.5:
                spectrum = spectrum * self.microphones[int(rng.integers(len(self.microphones)))]
            else:
                spectrum = spectrum * random_equalizer(rng, rng.uniform(2, 14))
        if rng.random() < how.band_limit:
            spectrum = spectrum * band_limit(rng)
        heard: FloatArray = scipy.fft.irfft(spectrum, WINDOW_SAMPLES)[place]
        return self._distort(heard, rng)

    def _add_noise(self, spectrum: ComplexArray, rng: np.random.Generator) -> ComplexArray:
        noise: ComplexArray = scipy.fft.rfft(self._noise(rng))
        if rng.random() < 0.4:
            noise = noise * random_equalizer(rng, rng.uniform(2, 12))
        power, noise_power = np.vdot(spectrum, spectrum).real, np.vdot(noise, noise).real
        if noise_power <= 0:
            return spectrum
        snr_db = rng.uniform(*self.degradation.snr_db)
        return spectrum + noise * np.float32(np.sqrt(power / noise_power) * 10 ** (-snr_db / 20))

    def _noise(self, rng: np.random.Generator) -> FloatArray:
        kind = rng.random()
        if kind < 0.5:
            return self._clip_of(self.noise, rng)
        if kind < 0.62:
            return self._clip_of(self.speech, rng)
        if kind < 0.8:
            return self._babble(rng)
        if kind < 0.95:
            other = self._babble(rng) if rng.random() < 0.5 else self._clip_of(self.noise, rng)
            first = self._clip_of(self.noise, rng)
            return first + other * np.float32(
                _rms(first) / max(_rms(other), 1e-6) * 10 ** rng.uniform(-0.5, 0.5)
            )
        return rng.standard_normal(WINDOW_SAMPLES, dtype=np.float32)

    def _babble(self, rng: np.random.Generator) -> FloatArray:
        total = np.zeros(WINDOW_SAMPLES, dtype=np.float32)
        for _ in range(int(rng.integers(3, 8))):
            voice = self._clip_of(self.speech, rng)
            total += voice * np.float32(rng.uniform(0.3, 1.0) / max(_rms(voice), 1e-4))
        return total

    def _clip_of(self, clips: Clips, rng: np.random.Generator) -> FloatArray:
        clip = clips.clip(int(rng.integers(len(clips))))
        if len(clip) > WINDOW_SAMPLES:
            start = int(rng.integers(len(clip) - WINDOW_SAMPLES))
            return clip[start : start + WINDOW_SAMPLES].astype(np.float32) / np.float32(32768)
        looped = np.resize(clip, WINDOW_SAMPLES).astype(np.float32) / np.float32(32768)
        return np.roll(looped, int(rng.integers(WINDOW_SAMPLES)))

    def _distort(self, heard: FloatArray, rng: np.random.Generator) -> FloatArray:
        how = self.degradation
        level = max(_rms(heard), 1e-9)
        heard = heard / np.float32(level)
        if rng.random() < how.overdrive:
            drive = np.float32(10 ** (rng.uniform(2, 8) / 20) / 2.5)
            heard = np.tanh(heard * drive)
            if rng.random() < 0.5:
                limit = np.float32(rng.uniform(0.5, 0.95))
                heard = np.clip(heard, -limit, limit)
        if rng.random() < how.hiss:
            hiss = rng.standard_normal(len(heard), dtype=np.float32)
            heard = heard + hiss * np.float32(10 ** (rng.uniform(-60, -25) / 20))
        return heard

    def _mask(self, segment: FloatArray, rng: np.random.Generator) -> None:
        frames = int(rng.integers(1, self.degradation.max_mask_frames + 1))
        mels = int(rng.integers(1, self.degradation.max_mask_mels + 1))
        first_frame = int(rng.integers(segment.shape[0] - frames))
        first_mel = int(rng.integers(segment.shape[1] - mels))
        fill = segment.mean()
        if rng.random() < 0.6:
            segment[first_frame : first_frame + frames] = fill
        if rng.random() < 0.6:
            segment[:, first_mel : first_mel + mels] = fill


def _rms(samples: npt.NDArray[np.floating]) -> float:
    return float(np.sqrt(np.vdot(samples, samples).real / max(1, samples.size)))


def _resample(samples: FloatArray, factor: float) -> FloatArray:
    """Play ``factor`` times as fast by linear interpolation; (WINDOW_SAMPLES,) comes back."""
    positions = np.arange(WINDOW_SAMPLES) * factor
    left = positions.astype(np.int64)
    weight = (positions - left).astype(np.float32)
    return samples[left] * (1 - weight) + samples[left + 1] * weight


def _resample_about(samples: FloatArray, factor: float, centre: float) -> FloatArray:
    """Change the speed so that ``centre`` stays in its place."""
    positions = np.clip((np.arange(WINDOW_SAMPLES) - centre) * factor + centre, 0, WINDOW_SAMPLES - 2)
    left = positions.astype(np.int64)
    weight = (positions - left).astype(np.float32)
    return samples[left] * (1 - weight) + samples[left + 1] * weight
