"""Find impulse responses of two splits that differ only in gain, polarity, delay and length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.fft

from overheard.fingerprint.spec import SPEC
from overheard_train.data.decode import FloatArray

MIN_CORRELATION = 0.98  # leaves room for resampling and rounding; chosen by hand
# The compared part begins before the loudest sample, which need not be the first one, and contains most of
# the reverberation of all but the largest rooms.
BEFORE_PEAK_S, COMPARED_S = 0.05, 2.0
N_BANDS = 64  # of the first test, which only saves time: the correlation decides
CHUNK = 64  # responses to correlate at once, to bound memory


def duplicate_responses(
    train: Sequence[FloatArray], valid: Sequence[FloatArray], minimum: float = MIN_CORRELATION
) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs whose normalized cross-correlation has a magnitude of at least `minimum` at some lag.

    By the Cauchy-Schwarz inequality, two signals correlate at no lag better than their energies by band do.
    A product of two short vectors therefore excludes most pairs.

    Parameters
    ----------
    train, valid : responses, each (n,) float32 at the front-end's sample rate

    Yields
    ------
    number in `train`, number in `valid`, and correlation, at most 1
    """
    parts = [_cut(response) for response in train]
    others = [_cut(response) for response in valid]
    if not parts or not others:
        return
    size = scipy.fft.next_fast_len(2 * max(map(len, [*parts, *others])), real=True)
    profiles = np.stack([_profile(part, size) for part in parts])
    for number, other in enumerate(others):
        likely = np.flatnonzero(profiles @ _profile(other, size) >= minimum)
        for start in range(0, len(likely), CHUNK):
            some = likely[start : start + CHUNK]
            correlations = _correlations([parts[index] for index in some], other, size)
            for index, correlation in zip(some.tolist(), correlations.tolist(), strict=True):
                if correlation >= minimum:
                    yield index, number, correlation


def _cut(response: FloatArray) -> FloatArray:
    """Return the part around the loudest sample, normalized to unit energy; zeros if it is silent."""
    rate = SPEC.frontend.sample_rate
    start = max(0, int(np.argmax(np.abs(response))) - int(BEFORE_PEAK_S * rate)) if len(response) else 0
    part = np.asarray(response[start : start + int((BEFORE_PEAK_S + COMPARED_S) * rate)], dtype=np.float32)
    energy = float(np.vdot(part, part))
    return part / np.float32(np.sqrt(energy)) if energy > 0 else np.zeros(1, dtype=np.float32)


def _profile(part: FloatArray, size: int) -> FloatArray:
    """Return the square root of each band's share of the energy, ``(N_BANDS,)``."""
    energies = np.abs(scipy.fft.rfft(part, size)) ** 2
    energies[1:-1] *= 2  # rfft returns only half of the spectrum
    edges = np.linspace(0, len(energies), N_BANDS + 1).astype(int)[:-1]
    shares = np.add.reduceat(energies, edges) / size
    return np.sqrt(shares).astype(np.float32)


def _correlations(parts: Sequence[FloatArray], other: FloatArray, size: int) -> FloatArray:
    spectra = np.stack([scipy.fft.rfft(part, size) for part in parts])
    lags = scipy.fft.irfft(spectra * np.conj(scipy.fft.rfft(other, size)), size)
    return np.asarray(np.abs(lags).max(axis=1), dtype=np.float32)
