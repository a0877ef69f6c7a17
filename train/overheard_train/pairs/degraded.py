"""Make pairs of a clean segment, as in the catalogue, and the same segment as a microphone records it.

Room, noise, microphone and band limits are products and sums of spectra of one window, so that a pair costs
two forward FFTs and one inverse FFT, however many filters it passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.fft

from overheard.fingerprint.frontend import FloatArray, log_mel, normalize_segments
from overheard.fingerprint.spec import SPEC, FingerprintSpec
from overheard_train.pairs.degradation import Degradation, Variation
from overheard_train.pairs.labels import Batch, draw_tracks, labels_of, near_duplicate_groups, training_music
from overheard_train.pairs.noise import NoiseMaker
from overheard_train.pairs.responses import (
    RATE,
    ComplexArray,
    band_limit,
    microphone_responses,
    random_equalizer,
    room_variations,
)
from overheard_train.pairs.waveforms import distort, mask, resample_about, rms, samples_needed, window_at

if TYPE_CHECKING:
    from overheard_train.data import Clips, Data

CONTEXT_S = 1.0  # music before a segment, whose reverberation lasts into it
SILENT_RMS = 1e-3  # -60 dB of full scale: a window with less is not used
N_EXCERPTS = 8  # windows to try, as some recordings have long pauses
WINDOW_SAMPLES = 32768  # 4.1 s: the context, the segment, and room to shift it


class DegradedPairs:
    """Make pairs of clean segments and degraded ones.

    Parameters
    ----------
    music, noise, speech : recordings as :class:`~overheard_train.data.Clips`
    rooms : spectra of room responses, (n, window_samples // 2 + 1) complex64
    microphones : magnitudes of microphone responses, (n, window_samples // 2 + 1) float32
    views : rows per pair, one of them clean
    window_samples : length of the window that a moment is cut from
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
        self.music, self.rooms, self.microphones = music, rooms, microphones
        self.noise = NoiseMaker(noise, speech, rooms, window_samples)
        self.degradation = degradation or Degradation()
        self.variation = variation or Variation()
        self.spec, self.views = spec, views
        self.groups = near_duplicate_groups(music.paths)

    def batch(self, rng: np.random.Generator, n_pairs: int) -> Batch:
        """Return the segments and labels of a batch; see :mod:`overheard_train.pairs`."""
        tracks = draw_tracks(rng, len(self.music), n_pairs)
        return self.assemble(rng, tracks, (self.waveforms(rng, int(track)) for track in tracks))

    def assemble(
        self,
        rng: np.random.Generator,
        tracks: npt.NDArray[np.int32],
        moments: Iterable[tuple[FloatArray, ...]],
    ) -> Batch:
        """Return the segments and labels of a batch from its waveforms.

        Parameters
        ----------
        tracks : (n_pairs,) track of each moment
        moments : the waveforms of each moment's views, as :meth:`waveforms` returns them
        """
        shape = (self.views, len(tracks), self.spec.n_frames, self.spec.frontend.n_mels)
        segments = np.empty(shape, dtype=np.float32)
        for pair, views in enumerate(moments):  # one pair at a time fits into the processor's cache
            segments[:, pair] = normalize_segments(log_mel(np.stack(views), self.spec.frontend), self.spec)
        for segment in segments[1:].reshape(-1, *shape[2:]):
            if rng.random() < self.degradation.mask:
                mask(segment, self.degradation, rng)
        return segments.reshape(-1, *shape[2:]), labels_of(self.groups[tracks], self.views)

    def waveforms(self, rng: np.random.Generator, track: int) -> tuple[FloatArray, ...]:
        """Return a random moment of a track: one clean waveform and the degraded ones.

        Returns
        -------
        Each is ``(segment_samples,)`` float32.
        """
        return self.views_of(rng, self.varied_window(rng, track), self.spec.segment_samples)[0]

    def views_of(
        self, rng: np.random.Generator, music: FloatArray, n_samples: int
    ) -> tuple[tuple[FloatArray, ...], int]:
        """Cut a random moment out of a window of music, and degrade it.

        Parameters
        ----------
        music : (window_samples,) float32
        n_samples : length of the moment

        Returns
        -------
        The clean waveform and the degraded ones, each ``(n_samples,)``, and the first sample of the moment.
        """
        context, max_shift = int(CONTEXT_S * RATE), int(self.degradation.max_shift_s * RATE)
        start = int(rng.integers(context + max_shift, self.window - n_samples - max_shift))
        return self.views_at(rng, music, start, n_samples), start

    def views_at(
        self, rng: np.random.Generator, music: FloatArray, start: int, n_samples: int
    ) -> tuple[FloatArray, ...]:
        """Return a given moment of a window of music, ``(n_samples,)``, and its degraded views."""
        max_shift = int(self.degradation.max_shift_s * RATE)
        views = [music[start : start + n_samples]]
        for _ in range(1, self.views):
            shift = int(rng.triangular(-max_shift, 0, max_shift)) if max_shift else 0
            views.append(self._degrade(music, rng, slice(start + shift, start + shift + n_samples)))
        return tuple(views)

    def cohort_segments(
        self, rng: np.random.Generator, n_music: int, n_noise: int, n_speech: int
    ) -> FloatArray:
        """Return undegraded segments ``(n, n_frames, n_mels)`` float32 of music, noise and speech."""
        samples, noise = self.spec.segment_samples, self.noise

        def music() -> FloatArray:
            return self.varied_window(rng, int(rng.integers(len(self.music))))

        def voice() -> FloatArray:
            return noise.excerpt(noise.speech, self.degradation, rng)

        def background() -> FloatArray:
            return noise.waveform(self.degradation, rng)

        makers: list[Callable[[], FloatArray]] = [music] * n_music + [background] * n_noise
        makers += [voice] * n_speech
        mels = [log_mel(make()[:samples], self.spec.frontend) for make in makers]
        return normalize_segments(np.stack(mels), self.spec)

    def varied_window(self, rng: np.random.Generator, track: int) -> FloatArray:
        """Return a random, varied window of a track, ``(window_samples,)``."""
        vary = self.variation
        music = self._excerpt(rng, track)
        if rng.random() < vary.overlay:
            other = self._excerpt(rng, int(rng.integers(len(self.music))))
            music = music + other * np.float32(rng.uniform(0.3, 1.0) * rms(music) / max(rms(other), 1e-6))
        if rng.random() < vary.equalize:
            spectrum = scipy.fft.rfft(music) * random_equalizer(rng, rng.uniform(2, 10), self.window)
            music = scipy.fft.irfft(spectrum, self.window)
        if rng.random() < vary.reverse:
            music = music[::-1].copy()
        return music

    def _excerpt(self, rng: np.random.Generator, track: int) -> FloatArray:
        """Return a random window of a track that is not silent, if there is one."""
        clip, vary = self.music.clip(track), self.variation
        factor = rng.uniform(*vary.resample_range) if rng.random() < vary.resample else 1.0
        for _ in range(N_EXCERPTS):
            start = int(rng.integers(max(1, len(clip) - samples_needed(self.window, factor))))
            window = window_at(clip, start, factor, self.window)
            if rms(window) > SILENT_RMS:
                break
        return window

    def _degrade(self, music: FloatArray, rng: np.random.Generator, moment: slice) -> FloatArray:
        """Return a moment of a window as a microphone hears it."""
        degradation = self.degradation
        if rng.random() < degradation.speed:
            factor = 1 + rng.uniform(-degradation.max_speed, degradation.max_speed)
            music = resample_about(music, factor, (moment.start + moment.stop) / 2)
        spectrum: ComplexArray = scipy.fft.rfft(music)
        if rng.random() < degradation.room:
            spectrum = spectrum * self.rooms[int(rng.integers(len(self.rooms)))]
        if rng.random() < degradation.noise:
            spectrum = self.noise.mix(spectrum, degradation, rng)
        if rng.random() < degradation.microphone:
            if rng.random() < 0.5:
                spectrum = spectrum * self.microphones[int(rng.integers(len(self.microphones)))]
            else:
                spectrum = spectrum * random_equalizer(rng, rng.uniform(2, 14), self.window)
        if rng.random() < degradation.band_limit:
            spectrum = spectrum * band_limit(rng, self.window)
        degraded: FloatArray = scipy.fft.irfft(spectrum, self.window)[moment]
        return distort(degraded, degradation, rng)


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
    """Create the pair maker for one split of the data.

    Parameters
    ----------
    seed : determines the rooms
    n_rooms : number of variations of measured and simulated rooms, and number of synthesized rooms
    window_samples : length of the window that a moment is cut from
    """
    rng = np.random.default_rng([seed, 77])
    rooms = data.responses(["ir_room", "ir_room_synth"], split)
    return DegradedPairs(
        training_music(data, split, spec),
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
