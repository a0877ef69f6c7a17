"""Pairs of (clean, degraded) segments: what the catalogue holds, and what a microphone hears of it.

The linear chain (room, noise, microphone, band limits) is done on spectra of one fixed-length window, so that
a pair costs two forward and one inverse FFT however many filters it passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.fft

from overheard.fingerprint.frontend import FloatArray, log_mel, normalize_segments
from overheard.fingerprint.spec import SPEC, FingerprintSpec
from overheard_train.pairs import Batch, draw_tracks, labels_of, music_to_learn, same_music
from overheard_train.pairs.responses import (
    RATE,
    ComplexArray,
    band_limit,
    microphone_responses,
    random_equalizer,
    room_variations,
)

if TYPE_CHECKING:
    from overheard_train.data import Clips, Data

CONTEXT_S = 1.0
SILENT_RMS = 1e-3  # of music that nothing is learned from
WINDOW_SAMPLES = 32768  # 4.1 s: context whose tails ring into the segment, the segment, and room to shift it


@dataclasses.dataclass(frozen=True)
class Degradation:
    """How hard life is; probabilities and uniform ranges."""

    max_shift_s: float = 0.5  # half the catalogue's hop
    room: float = 0.85
    noise: float = 0.92
    snr_db: tuple[float, float] = (-8.0, 15.0)
    noise_resample: float = 0.4
    noise_resample_range: tuple[float, float] = (0.7, 1.4)
    noise_room: float = 0.3
    noise_swell_db: float = 20.0
    microphone: float = 0.9
    band_limit: float = 0.7
    overdrive: float = 0.3
    hiss: float = 0.3
    speed: float = 0.3
    max_speed: float = 0.006
    mask: float = 0.4
    max_mask_frames: int = 8
    max_mask_mels: int = 12


UNDEGRADED = Degradation(
    max_shift_s=0, room=0, noise=0, microphone=0, band_limit=0, overdrive=0, hiss=0, speed=0, mask=0
)


@dataclasses.dataclass(frozen=True)
class Variation:
    """Changes to both sides of a pair, which make new music out of the little there is."""

    resample: float = 0.7
    resample_range: tuple[float, float] = (0.75, 1.33)
    reverse: float = 0.25
    equalize: float = 0.4
    overlay: float = 0.2


NO_VARIATION = Variation(resample=0, reverse=0, equalize=0, overlay=0)


class DegradedPairs:
    """Makes pairs of clean segments and what a microphone hears of them.

    Parameters
    ----------
    music, noise, speech : recordings as :class:`~overheard_train.data.Clips`
    rooms : (n, window_samples // 2 + 1) complex64
    microphones : (n, window_samples // 2 + 1) float32
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
        views: int = 2,
        window_samples: int = WINDOW_SAMPLES,
    ) -> None:
        self.window = window_samples
        self.music, self.noise, self.speech = music, noise, speech
        self.rooms, self.microphones = rooms, microphones
        self.degradation = degradation or Degradation()
        self.variation = variation or Variation()
        self.spec, self.views = spec, views
        self.groups = same_music(music.paths)

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return segments and labels; see :mod:`overheard_train.pairs`."""
        tracks = draw_tracks(rng, len(self.music), n_pairs)
        return self.assemble(rng, tracks, (self.waveforms(rng, int(track)) for track in tracks))

    def assemble(
        self,
        rng: np.random.Generator,
        tracks: npt.NDArray[np.int32],
        moments: Iterable[tuple[FloatArray, ...]],
    ) -> Batch:
        """Return segments and labels of moments, each of its track and with all its views."""
        shape = (self.views, len(tracks), self.spec.n_frames, self.spec.frontend.n_mels)
        segments = np.empty(shape, dtype=np.float32)
        for pair, views in enumerate(moments):  # one pair at a time stays in the processor's cache
            segments[:, pair] = normalize_segments(log_mel(np.stack(views), self.spec.frontend), self.spec)
        for segment in segments[1:].reshape(-1, *shape[2:]):
            if rng.random() < self.degradation.mask:
                self._mask(segment, rng)
        return segments.reshape(-1, *shape[2:]), labels_of(self.groups[tracks], self.views)

    def waveforms(self, rng: np.random.Generator, track: int) -> tuple[FloatArray, ...]:
        """Return one clean waveform and the degraded ones of one moment, each ``(segment_samples,)``."""
        return self.hear(rng, self._music(rng, track), self.spec.segment_samples)[0]

    def hear(
        self, rng: np.random.Generator, music: FloatArray, n_samples: int
    ) -> tuple[tuple[FloatArray, ...], int]:
        """Return views ``(n_samples,)`` of a random moment of ``(window,)`` samples, and its start."""
        context, reach = int(CONTEXT_S * RATE), int(self.degradation.max_shift_s * RATE)
        start = int(rng.integers(context + reach, self.window - n_samples - reach))
        views = [music[start : start + n_samples]]
        for _ in range(1, self.views):
            shift = int(rng.triangular(-reach, 0, reach)) if reach else 0
            views.append(self._hear(music, rng, slice(start + shift, start + shift + n_samples)))
        return tuple(views), start

    def impostors(self, rng: np.random.Generator, n_music: int, n_noise: int, n_speech: int) -> FloatArray:
        """Return ``(n, n_frames, n_mels)`` float32: undegraded music, noise and speech, in that order."""
        samples = self.spec.segment_samples
        makers = [lambda: self._music(rng, int(rng.integers(len(self.music))))] * n_music
        makers += [lambda: self._noise(rng)] * n_noise
        makers += [lambda: self._clip_of(self.speech, rng)] * n_speech
        mels = [log_mel(make()[:samples], self.spec.frontend) for make in makers]
        return normalize_segments(np.stack(mels), self.spec)

    def _music(self, rng: np.random.Generator, track: int) -> FloatArray:
        vary = self.variation
        music = self._excerpt(rng, self.music.clip(track), vary.resample, vary.resample_range)
        if rng.random() < vary.overlay:
            other = self._excerpt(
                rng, self.music.clip(int(rng.integers(len(self.music)))), vary.resample, vary.resample_range
            )
            music = music + other * np.float32(rng.uniform(0.3, 1.0) * rms(music) / max(rms(other), 1e-6))
        if rng.random() < vary.equalize:
            spectrum = scipy.fft.rfft(music) * random_equalizer(rng, rng.uniform(2, 10), self.window)
            music = scipy.fft.irfft(spectrum, self.window)
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
        """Return a random window that is not silent, as (self.window,) float32."""
        factor = rng.uniform(*span) if rng.random() < p_resample else 1.0
        for _ in range(8):  # some recordings have long pauses
            start = int(rng.integers(max(1, len(clip) - self._needed(factor))))
            window = self.window_at(clip, start, factor)
            if rms(window) > SILENT_RMS:
                break
        return window

    def _needed(self, factor: float) -> int:
        return int(self.window * factor) + 2

    def window_at(self, clip: npt.NDArray[np.int16], start: int, factor: float) -> FloatArray:
        """Return a window of a recording from sample ``start`` on, played ``factor`` times as fast."""
        needed = self._needed(factor)
        raw = clip[start : start + needed].astype(np.float32) / np.float32(32768)
        if len(raw) < needed:
            raw = np.resize(raw, needed)
        return raw[: self.window] if factor == 1.0 else _resample(raw, factor, self.window)

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
                spectrum = spectrum * random_equalizer(rng, rng.uniform(2, 14), self.window)
        if rng.random() < how.band_limit:
            spectrum = spectrum * band_limit(rng, self.window)
        heard: FloatArray = scipy.fft.irfft(spectrum, self.window)[place]
        return self._distort(heard, rng)

    def _add_noise(self, spectrum: ComplexArray, rng: np.random.Generator) -> ComplexArray:
        noise: ComplexArray = scipy.fft.rfft(self._noise(rng))
        if rng.random() < 0.4:
            noise = noise * random_equalizer(rng, rng.uniform(2, 12), self.window)
        if rng.random() < self.degradation.noise_room:
            noise = noise * self.rooms[int(rng.integers(len(self.rooms)))]
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
                rms(first) / max(rms(other), 1e-6) * 10 ** rng.uniform(-0.5, 0.5)
            )
        white = rng.standard_normal(self.window, dtype=np.float32)
        return _swell(white, rng, self.degradation.noise_swell_db)

    def _babble(self, rng: np.random.Generator) -> FloatArray:
        total = np.zeros(self.window, dtype=np.float32)
        for _ in range(int(rng.integers(3, 8))):
            voice = self._clip_of(self.speech, rng)
            total += voice * np.float32(rng.uniform(0.3, 1.0) / max(rms(voice), 1e-4))
        return total

    def _clip_of(self, clips: Clips, rng: np.random.Generator) -> FloatArray:
        """Return a random window of a random recording of noise or speech, ``(self.window,)``."""
        how = self.degradation
        clip = clips.clip(int(rng.integers(len(clips))))
        factor = rng.uniform(*how.noise_resample_range) if rng.random() < how.noise_resample else 1.0
        needed = int(self.window * factor) + 2
        start = int(rng.integers(max(1, len(clip) - needed)))
        window = np.resize(clip[start : start + needed], needed).astype(np.float32) / np.float32(32768)
        if len(clip) < needed:
            window = np.roll(window, int(rng.integers(needed)))
        return window[: self.window] if factor == 1.0 else _resample(window, factor, self.window)

    def _distort(self, heard: FloatArray, rng: np.random.Generator) -> FloatArray:
        how = self.degradation
        level = max(rms(heard), 1e-9)
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
        first_frame = int(rng.integers(segment.shape[0] - frames + 1))
        first_mel = int(rng.integers(segment.shape[1] - mels + 1))
        fill = segment.mean()
        if rng.random() < 0.6:
            segment[first_frame : first_frame + frames] = fill
        if rng.random() < 0.6:
            segment[:, first_mel : first_mel + mels] = fill


def rms(samples: npt.NDArray[np.floating]) -> float:
    """Return the root mean square of samples ``(n,)``."""
    return float(np.sqrt(np.vdot(samples, samples).real / max(1, samples.size)))


def _swell(noise: FloatArray, rng: np.random.Generator, depth_db: float) -> FloatArray:
    """Let a noise swell and fade by up to so much, some times in its window."""
    n_knots = int(rng.integers(2, 24))
    knots = np.linspace(0, len(noise) - 1, n_knots)
    levels_db = np.interp(np.arange(len(noise)), knots, rng.uniform(-depth_db, 0, n_knots))
    return noise * (10 ** (levels_db / 20)).astype(np.float32)


def _resample(samples: FloatArray, factor: float, n_samples: int) -> FloatArray:
    """Play ``factor`` times as fast by linear interpolation; (n_samples,) comes back."""
    positions = np.arange(n_samples) * factor
    left = positions.astype(np.int64)
    weight = (positions - left).astype(np.float32)
    return samples[left] * (1 - weight) + samples[left + 1] * weight


def _resample_about(samples: FloatArray, factor: float, centre: float) -> FloatArray:
    """Change the speed so that ``centre`` stays in its place."""
    positions = np.clip((np.arange(len(samples)) - centre) * factor + centre, 0, len(samples) - 2)
    left = positions.astype(np.int64)
    weight = (positions - left).astype(np.float32)
    return samples[left] * (1 - weight) + samples[left + 1] * weight


def make(
    spec: FingerprintSpec,
    data: Data,
    split: str,
    seed: int,
    views: int = 2,
    degradation: Degradation | None = None,
    variation: Variation | None = None,
    n_rooms: tuple[int, int] = (700, 500),
    window_samples: int = WINDOW_SAMPLES,
) -> DegradedPairs:
    """Make the maker from one split of the data.

    Parameters
    ----------
    n_rooms : variations of measured and simulated rooms, and rooms that are synthesized, chosen by ``seed``
    window_samples : what a moment is cut from
    """
    rng = np.random.default_rng([seed, 77])
    rooms = data.responses(["ir_room", "ir_room_synth"], split)
    return DegradedPairs(
        music_to_learn(data, split, spec),
        data.clips(["noise"], split),
        data.clips(["speech"], split),
        room_variations(rooms, rng, *n_rooms, window_samples),
        microphone_responses(data.responses(["ir_mic"], split), window_samples),
        degradation,
        variation,
        spec,
        views,
        window_samples,
    )
