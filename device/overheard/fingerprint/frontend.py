"""Convert a waveform to log-mel frames. The device, the indexer and training share this implementation."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.spec import SPEC, FingerprintSpec, FrontendSpec

# Importing scipy.fft takes 20 MB and a quarter of a second. NumPy 1 would transform in float64.
if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
    from numpy.fft import rfft
else:
    from scipy.fft import rfft  # type: ignore[no-redef,assignment,unused-ignore]

FloatArray = npt.NDArray[np.float32]

POWER_FLOOR = 1e-10  # power; below that of one 16-bit step, keeps the log of digital silence finite
NORMALIZED_RANGE = 4.0  # width of the dynamic range after normalization; gives values of about unit size


def _hz_to_mel(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@functools.lru_cache(maxsize=4)
def mel_matrix(spec: FrontendSpec = SPEC.frontend) -> FloatArray:
    """Return triangular mel filters, ``(n_fft // 2 + 1, n_mels)`` float32, each with sum 1.

    Source: HTK's mel scale, Young et al., The HTK Book, section 5.4.
    """
    limits = np.array([spec.f_min, spec.f_max], dtype=np.float64)
    low, high = _hz_to_mel(limits)
    edges = _mel_to_hz(np.linspace(low, high, spec.n_mels + 2))
    bins = np.arange(spec.n_fft // 2 + 1) * spec.sample_rate / spec.n_fft
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    normalized: FloatArray = (filters / filters.sum(axis=0)).astype(np.float32)
    return normalized


@functools.lru_cache(maxsize=4)
def _window(n_fft: int) -> FloatArray:
    window: FloatArray = np.hanning(n_fft + 1)[:-1].astype(np.float32)  # periodic
    window /= np.float32(np.sqrt(np.sum(window**2)))
    return window


def log_mel(waveform: FloatArray, spec: FrontendSpec = SPEC.frontend) -> FloatArray:
    """Return the log-mel power spectrogram in dB.

    Parameters
    ----------
    waveform : (..., n) float32 in [-1, 1] at ``spec.sample_rate``
        The leading axes are independent of each other.

    Returns
    -------
    (..., t, n_mels) float32, dB
        The waveform is not padded: frame ``i`` depends on the samples
        ``[i * hop_length, i * hop_length + n_fft)`` only. A remainder shorter than a frame is dropped.
    """
    waveform = np.asarray(waveform, dtype=np.float32)
    if waveform.shape[-1] < spec.n_fft:
        return np.zeros((*waveform.shape[:-1], 0, spec.n_mels), dtype=np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, spec.n_fft, axis=-1)
    frames = frames[..., :: spec.hop_length, :]
    spectrum = rfft(frames * _window(spec.n_fft), axis=-1)
    power: FloatArray = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
    mel: FloatArray = power @ mel_matrix(spec)
    mel += np.float32(POWER_FLOOR)
    np.log10(mel, out=mel)
    mel *= np.float32(10.0)
    return mel


def slice_segments(mel: FloatArray, step_frames: int, spec: FingerprintSpec = SPEC) -> FloatArray:
    """Return overlapping segments of one spectrogram as a read-only view.

    Parameters
    ----------
    mel : (t, n_mels) float32, dB
    step_frames : int
        Frames between the starts of consecutive segments.

    Returns
    -------
    (n, n_frames, n_mels) float32, dB; n = 0 if ``t < n_frames``
    """
    if len(mel) < spec.n_frames:
        return np.zeros((0, spec.n_frames, mel.shape[-1]), dtype=np.float32)
    view = np.lib.stride_tricks.sliding_window_view(mel, spec.n_frames, axis=0)
    return view[::step_frames].transpose(0, 2, 1)


def normalize_segments(segments: FloatArray, spec: FingerprintSpec = SPEC) -> FloatArray:
    """Remove the gain from segments: clip to the dynamic range, subtract the mean, scale to about unit size.

    Each segment is normalized separately, so its features do not depend on the others in a batch.

    Parameters
    ----------
    segments : (..., n_frames, n_mels) float32, dB

    Returns
    -------
    (..., n_frames, n_mels) float32, zero mean
    """
    top = segments.max(axis=(-2, -1), keepdims=True)
    clipped = np.maximum(segments, top - np.float32(spec.dynamic_range_db))
    centred = clipped - clipped.mean(axis=(-2, -1), keepdims=True)
    normalized: FloatArray = centred * np.float32(NORMALIZED_RANGE / spec.dynamic_range_db)
    return normalized


class StreamingFrontend:
    """Compute the frames of :func:`log_mel` from consecutive blocks of any size."""

    def __init__(self, spec: FrontendSpec = SPEC.frontend) -> None:
        self.spec = spec
        self._pending: FloatArray = np.zeros(0, dtype=np.float32)

    def process(self, block: FloatArray) -> FloatArray:
        """Add ``(n,)`` float32 samples and return the frames ``(t, n_mels)`` that are now complete, in dB."""
        samples = np.concatenate([self._pending, np.asarray(block, dtype=np.float32)])
        mel = log_mel(samples, self.spec)
        self._pending = samples[len(mel) * self.spec.hop_length :].copy()
        return mel

    def reset(self) -> None:
        """Discard the samples of the incomplete frame, for example after lost audio."""
        self._pending = np.zeros(0, dtype=np.float32)
