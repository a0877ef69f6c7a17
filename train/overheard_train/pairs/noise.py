"""Make background noise from recordings of noise and speech, and mix it into music."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.fft

from overheard.fingerprint.frontend import FloatArray
from overheard.hear.resampler import to_float
from overheard_train.pairs.degradation import Degradation
from overheard_train.pairs.responses import ComplexArray, random_equalizer
from overheard_train.pairs.waveforms import resample, rms, samples_needed, swell

if TYPE_CHECKING:
    from overheard_train.data import Clips

EQUALIZED_SHARE = 0.4  # of noises
# Upper limits of a uniform draw: half of all noises are recordings, 12% one voice, 18% babble, 15% a mixture
# of two, 5% white noise.
RECORDING, VOICE, BABBLE, MIXTURE = 0.5, 0.62, 0.8, 0.95


class NoiseMaker:
    """Make windows of noise.

    Parameters
    ----------
    noise, speech : recordings as :class:`~overheard_train.data.Clips`
    rooms : spectra of room responses, (n, window_samples // 2 + 1) complex64
    window_samples : length of a window
    """

    def __init__(self, noise: Clips, speech: Clips, rooms: ComplexArray, window_samples: int) -> None:
        self.noise, self.speech, self.rooms, self.window = noise, speech, rooms, window_samples

    def mix(self, spectrum: ComplexArray, degradation: Degradation, rng: np.random.Generator) -> ComplexArray:
        """Add noise to the spectrum of a window, ``(window_samples // 2 + 1,)``."""
        noise: ComplexArray = scipy.fft.rfft(self.waveform(degradation, rng))
        if rng.random() < EQUALIZED_SHARE:
            noise = noise * random_equalizer(rng, rng.uniform(2, 12), self.window)
        if rng.random() < degradation.noise_room:
            noise = noise * self.rooms[int(rng.integers(len(self.rooms)))]
        power, noise_power = np.vdot(spectrum, spectrum).real, np.vdot(noise, noise).real
        if noise_power <= 0:
            return spectrum
        snr_db = rng.uniform(*degradation.snr_db)
        return spectrum + noise * np.float32(np.sqrt(power / noise_power) * 10 ** (-snr_db / 20))

    def waveform(self, degradation: Degradation, rng: np.random.Generator) -> FloatArray:
        """Return noise of a random kind, ``(window_samples,)`` float32."""
        kind = rng.random()
        if kind < RECORDING:
            return self.excerpt(self.noise, degradation, rng)
        if kind < VOICE:
            return self.excerpt(self.speech, degradation, rng)
        if kind < BABBLE:
            return self._babble(degradation, rng)
        if kind < MIXTURE:
            with_babble = rng.random() < 0.5
            other = (
                self._babble(degradation, rng) if with_babble else self.excerpt(self.noise, degradation, rng)
            )
            first = self.excerpt(self.noise, degradation, rng)
            level = rms(first) / max(rms(other), 1e-6) * 10 ** rng.uniform(-0.5, 0.5)
            return first + other * np.float32(level)
        white = rng.standard_normal(self.window, dtype=np.float32)
        return swell(white, rng, degradation.noise_swell_db)

    def excerpt(self, clips: Clips, degradation: Degradation, rng: np.random.Generator) -> FloatArray:
        """Return a random window of a random recording, ``(window_samples,)`` float32."""
        clip = clips.clip(int(rng.integers(len(clips))))
        is_resampled = rng.random() < degradation.noise_resample
        factor = rng.uniform(*degradation.noise_resample_range) if is_resampled else 1.0
        needed = samples_needed(self.window, factor)
        start = int(rng.integers(max(1, len(clip) - needed)))
        window: FloatArray = np.resize(to_float(clip[start : start + needed]), needed)
        if len(clip) < needed:
            window = np.roll(window, int(rng.integers(needed)))
        return window[: self.window] if factor == 1.0 else resample(window, factor, self.window)

    def _babble(self, degradation: Degradation, rng: np.random.Generator) -> FloatArray:
        """Return three to seven voices at once."""
        total = np.zeros(self.window, dtype=np.float32)
        for _ in range(int(rng.integers(3, 8))):
            voice = self.excerpt(self.speech, degradation, rng)
            total += voice * np.float32(rng.uniform(0.3, 1.0) / max(rms(voice), 1e-4))
        return total
