"""Make labelled scenes for the music detector: music, or anything else, as a microphone records it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.fft

from overheard.fingerprint.frontend import FloatArray, log_mel
from overheard.fingerprint.spec import SPEC
from overheard.hear.resampler import to_float
from overheard.hear.texture import COLUMNS, LEAD_FRAMES, POOLED_FRAMES, Texture
from overheard_train.data.cache import Clips
from overheard_train.detector.held_out import part_of, share_of
from overheard_train.detector.sounds import SOUNDS
from overheard_train.detector.waves import RATE
from overheard_train.pairs.degradation import Degradation
from overheard_train.pairs.noise import NoiseMaker
from overheard_train.pairs.responses import (
    ComplexArray,
    band_limit,
    microphone_responses,
    random_equalizer,
    room_variations,
)
from overheard_train.pairs.waveforms import distort, resample, rms, samples_needed

if TYPE_CHECKING:
    from overheard_train.data import Data

SCENE_S = 8  # each example is so many seconds of sound
N_FRAMES = SCENE_S * COLUMNS * POOLED_FRAMES - LEAD_FRAMES
SCENE_SAMPLES = (N_FRAMES - 1) * SPEC.frontend.hop_length + SPEC.frontend.n_fft
WINDOW_SAMPLES = 73728  # 9.2 s: the scene, and a second of sound before it, whose reverberation lasts into it
ROOMS = (400, 300)  # variations of measured and simulated rooms, synthesized rooms
KINDS = ("music", "noise", "talk", "babble", "mixture", "synthetic")
UNLABELLED = 255  # seconds in which music has just begun or ended
BEGINS_S, ENDS_S = 0.8, 3.0  # length of these
N_EXCERPTS = 8  # windows to try, as some tracks have long pauses
SILENT_RMS = 1e-3  # -60 dB of full scale: music that ends with less is not used


@dataclasses.dataclass(frozen=True)
class Mix:
    """Probabilities and ranges of the examples.

    Attributes
    ----------
    music : share of the examples
    others : shares of noise, talk, babble, mixture and synthetic sounds among the rest
    begin, begin_s : probability that the sound begins within the scene, and when
    end, end_s : probability that it ends within the scene, and when
    room, noise, microphone, band_limit : probability of each change
    music_snr_db, other_snr_db : range of the signal-to-noise ratio, for music and for everything else
    speed, speed_range : probability that music plays at another speed, and that speed
    overlay, reverse, equalize : probability of each variation of music
    """

    music: float = 0.5
    others: tuple[float, ...] = (0.22, 0.27, 0.17, 0.1, 0.24)
    begin: float = 0.35
    begin_s: tuple[float, float] = (0.5, 6.0)
    end: float = 0.15
    end_s: tuple[float, float] = (2.0, 7.5)
    room: float = 0.8
    noise: float = 0.85
    microphone: float = 0.8
    band_limit: float = 0.7
    music_snr_db: tuple[float, float] = (-7.0, 20.0)
    other_snr_db: tuple[float, float] = (-3.0, 25.0)
    speed: float = 0.5
    speed_range: tuple[float, float] = (0.8, 1.25)
    overlay: float = 0.1
    reverse: float = 0.05
    equalize: float = 0.3


class ExampleMaker:
    """Make examples from recordings, rooms and microphones; see :func:`make`.

    Parameters
    ----------
    music, noise, speech : recordings
    rooms : spectra of room responses, (n, WINDOW_SAMPLES // 2 + 1) complex64
    microphones : magnitudes of microphone responses, (n, WINDOW_SAMPLES // 2 + 1) float32
    window_samples : length of what is recorded; rooms and microphones must be of this length
    """

    def __init__(
        self,
        music: Clips,
        noise: Clips,
        speech: Clips,
        rooms: ComplexArray,
        microphones: FloatArray,
        mix: Mix | None = None,
        window_samples: int = WINDOW_SAMPLES,
    ) -> None:
        self.music, self.speech = music, speech
        self.rooms, self.microphones = rooms, microphones
        self.window = window_samples
        self.noise = NoiseMaker(noise, speech, rooms, window_samples)
        self.mix = mix or Mix()
        self._degradation = Degradation()

    def example(self, rng: np.random.Generator) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
        """Return the features ``(SCENE_S, N_FEATURES)`` float32 and the labels of a random scene."""
        frames, made = self.scene(rng)
        return features_by_second(frames), made

    def scene(self, rng: np.random.Generator) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
        """Return a random scene.

        Returns
        -------
        frames : (N_FRAMES, n_mels) float32, dB
        labels : (SCENE_S,) uint8
            The index of the kind of sound in :data:`KINDS`, or :data:`UNLABELLED`, for each second.
        """
        mix, kind = self.mix, 0
        if rng.random() >= mix.music:
            kind = 1 + int(rng.choice(len(mix.others), p=mix.others))
        sound = self._music(rng) if kind == 0 else self.other(KINDS[kind], rng)
        begin_s = rng.uniform(*mix.begin_s) if rng.random() < mix.begin else 0.0
        end_s = rng.uniform(*mix.end_s) if rng.random() < mix.end else math.inf
        offset = self.window - SCENE_SAMPLES
        if begin_s > 0:
            sound[: offset + int(begin_s * RATE)] = 0
        if end_s < math.inf:
            sound[offset + int(max(end_s, begin_s + 1) * RATE) :] = 0
        snr_db = rng.uniform(*(mix.music_snr_db if kind == 0 else mix.other_snr_db))
        recorded = self.record(sound, snr_db, SCENE_SAMPLES, rng)
        return log_mel(recorded), labels(kind, begin_s, max(end_s, begin_s + 1))

    def record(
        self, sound: FloatArray, snr_db: float, n_samples: int, rng: np.random.Generator
    ) -> FloatArray:
        """Return the end of a window ``(window,)`` as a microphone records it, ``(n_samples,)`` float32."""
        mix, active = self.mix, max(1, int(np.count_nonzero(sound))) / self.window
        spectrum: ComplexArray = scipy.fft.rfft(sound)
        if rng.random() < mix.room:
            spectrum = spectrum * self.rooms[int(rng.integers(len(self.rooms)))]
        if rng.random() < mix.noise:
            noise: ComplexArray = scipy.fft.rfft(self._background(rng))
            if rng.random() < self._degradation.noise_room:
                noise = noise * self.rooms[int(rng.integers(len(self.rooms)))]
            power = float(np.vdot(spectrum, spectrum).real) / active
            noise_power = max(float(np.vdot(noise, noise).real), 1e-9)
            gain = np.sqrt(power / noise_power) * 10 ** (-snr_db / 20)
            spectrum = spectrum + noise * np.float32(gain)
        if rng.random() < mix.microphone:
            if rng.random() < 0.5:
                spectrum = spectrum * self.microphones[int(rng.integers(len(self.microphones)))]
            else:
                spectrum = spectrum * random_equalizer(rng, rng.uniform(2, 14), self.window)
        if rng.random() < mix.band_limit:
            spectrum = spectrum * band_limit(rng, self.window)
        recorded: FloatArray = scipy.fft.irfft(spectrum, self.window)[self.window - n_samples :]
        return distort(recorded, self._degradation, rng)

    def _background(self, rng: np.random.Generator) -> FloatArray:
        if rng.random() < 0.2:
            return self._synthetic(rng)
        return self.noise.waveform(self._degradation, rng)

    def _music(self, rng: np.random.Generator) -> FloatArray:
        """Return a random window of music, ``(window,)``."""
        mix = self.mix
        music = self._excerpt(rng)
        if rng.random() < mix.overlay:
            other = self._excerpt(rng)
            music = music + other * np.float32(rng.uniform(0.3, 1.0) * rms(music) / max(rms(other), 1e-6))
        if rng.random() < mix.equalize:
            spectrum = scipy.fft.rfft(music) * random_equalizer(rng, rng.uniform(2, 10), self.window)
            music = scipy.fft.irfft(spectrum, self.window)
        return music[::-1].copy() if rng.random() < mix.reverse else music

    def _excerpt(self, rng: np.random.Generator) -> FloatArray:
        clip, mix = self.music.clip(int(rng.integers(len(self.music)))), self.mix
        factor = rng.uniform(*mix.speed_range) if rng.random() < mix.speed else 1.0
        needed = samples_needed(self.window, factor)
        for _ in range(N_EXCERPTS):
            start = int(rng.integers(max(1, len(clip) - needed)))
            if rng.random() < 0.1:
                start = 0  # beginnings, which the device must recognize
            raw = np.resize(to_float(clip[start : start + needed]), needed)
            if rms(raw[-4 * RATE :]) > SILENT_RMS:
                break
        return resample(raw, factor, self.window) if factor != 1.0 else raw[: self.window].copy()

    def other(self, name: str, rng: np.random.Generator) -> FloatArray:
        """Return a random window of one of :data:`KINDS` but music, ``(window,)``."""
        if name == "noise":
            return self.noise.excerpt(self.noise.noise, self._degradation, rng).copy()
        if name == "talk":
            return self._talk(rng)
        if name == "babble":
            voices = [self._talk(rng) for _ in range(int(rng.integers(2, 8)))]
            levels = [rng.uniform(0.3, 1) / max(rms(voice), 1e-4) for voice in voices]
            babble: FloatArray = np.tensordot(np.array(levels, np.float32), np.stack(voices), 1)
            return babble
        if name == "mixture":
            return self.noise.waveform(self._degradation, rng).copy()
        return self._synthetic(rng)

    def _talk(self, rng: np.random.Generator) -> FloatArray:
        """Return voices one after the other, with pauses."""
        parts: list[FloatArray] = []
        n = 0
        while n < self.window:
            clip = self.speech.clip(int(rng.integers(len(self.speech))))
            start = int(rng.integers(max(1, len(clip) // 2))) if not parts else 0
            voice = to_float(clip[start : start + 10 * RATE])
            if rng.random() < 0.3:
                factor = rng.uniform(0.8, 1.25)
                voice = resample(voice, factor, max(1, int((len(voice) - 2) / factor)))
            voice = voice * np.float32(10 ** rng.uniform(-0.3, 0.3) / max(rms(voice), 1e-4))
            parts += [voice, np.zeros(int(rng.uniform(0, 0.7) * RATE), np.float32)]
            n += len(parts[-1]) + len(voice)
        return np.concatenate(parts)[: self.window]

    def _synthetic(self, rng: np.random.Generator) -> FloatArray:
        names = list(SOUNDS)
        sound = SOUNDS[names[int(rng.integers(len(names)))]](rng, self.window)
        if rng.random() < 0.2:  # two at once, as at a crossing
            other = SOUNDS[names[int(rng.integers(len(names)))]](rng, self.window)
            sound = sound / np.float32(max(rms(sound), 1e-6)) + other / np.float32(max(rms(other), 1e-6))
        return sound


def features_by_second(mel: FloatArray) -> FloatArray:
    """Return what the network sees each second of log-mel frames ``(t, n_mels)``: ``(n, N_FEATURES)``."""
    texture, seconds = Texture(), []
    while len(mel) >= texture.n_needed:
        n = texture.n_needed
        seconds.append(texture.update(mel[:n]))
        mel = mel[n:]
    return np.stack(seconds)


def labels(kind: int, begin_s: float, end_s: float) -> npt.NDArray[np.uint8]:
    """Return the label of each second of a scene whose sound begins and ends at these times."""
    made = np.full(SCENE_S, kind, np.uint8)
    if kind == KINDS.index("music"):
        ends = np.arange(1, SCENE_S + 1)
        made[ends < begin_s + BEGINS_S] = UNLABELLED
        made[ends > end_s] = UNLABELLED
        made[(ends <= begin_s) | (ends > end_s + ENDS_S)] = KINDS.index("noise")
    return made


def make(
    data: Data,
    held_out: bool,
    seed: int,
    n_rooms: tuple[int, int] | None = None,
    window_samples: int = WINDOW_SAMPLES,
) -> ExampleMaker:
    """Create the maker of the examples to fit, or of those that are held out; both are of the split train.

    Parameters
    ----------
    seed : determines the rooms
    n_rooms : variations of measured and simulated rooms, and synthesized rooms
    """
    rng = np.random.default_rng([seed, 78, int(held_out)])
    clips = {kind: part_of(data, kind, held_out) for kind in ("music", "noise", "speech")}
    rooms = share_of(data.responses(["ir_room", "ir_room_synth"], "train"), held_out)
    microphones = share_of(data.responses(["ir_mic"], "train"), held_out)
    n_measured, n_synthetic = n_rooms or ([n // 4 for n in ROOMS] if held_out else ROOMS)
    return ExampleMaker(
        clips["music"],
        clips["noise"],
        clips["speech"],
        room_variations(rooms, rng, n_measured, n_synthetic, window_samples),
        microphone_responses(microphones, window_samples),
        window_samples=window_samples,
    )
