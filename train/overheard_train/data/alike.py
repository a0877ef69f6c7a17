"""Responses under two names that are the same but for gain, polarity, delay and trimming."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.fft

from overheard.fingerprint.spec import SPEC
from overheard_train.data.decode import FloatArray

MIN_CORRELATION = 0.98
_BEFORE_S, _LENGTH_S = 0.05, 2.0  # what is compared, about the loudest sample
_N_BANDS = 64
_CHUNK = 64


def alike_responses(
    train: Sequence[FloatArray], valid: Sequence[FloatArray], minimum: float = MIN_CORRELATION
) -> Iterator[tuple[int, int, float]]:
    """Yield the pairs whose normalized cross-correlation reaches a minimum at some lag, whatever its sign.

    By Cauchy and Schwarz no lag can correlate two signals better than the energies of their bands agree, so
    that few pairs need more than a product of two short vectors.

    Parameters
    ----------
    train, valid : each (n,) float32 at the front-end's sample rate

    Yields
    ------
    number in `train`, number in `valid`, correlation up to 1
    """
    parts = [_cut(response) for response in train]
    others = [_cut(response) for response in valid]
    if not parts or not others:
        return
    size = scipy.fft.next_fast_len(2 * max(map(len, [*parts, *others])), real=True)
    profiles = np.stack([_profile(part, size) for part in parts])
    for number, other in enumerate(others):
        likely = np.flatnonzero(profiles @ _profile(other, size) >= minimum)
        for start in range(0, len(likely), _CHUNK):
            chosen = likely[start : start + _CHUNK]
            correlations = _correlations([parts[index] for index in chosen], other, size)
            for index, correlation in zip(chosen.tolist(), correlations.tolist(), strict=True):
                if correlation >= minimum:
                    yield index, number, correlation


def _cut(response: FloatArray) -> FloatArray:
    """Return the response about its loudest sample, of unit energy; a silent one is all zeros."""
    rate = SPEC.frontend.sample_rate
    start = max(0, int(np.argmax(np.abs(response))) - int(_BEFORE_S * rate)) if len(response) else 0
    part = np.asarray(response[start : start + int((_BEFORE_S + _LENGTH_S) * rate)], dtype=np.float32)
    energy = float(np.vdot(part, part))
    return part / np.float32(np.sqrt(energy)) if energy > 0 else np.zeros(1, dtype=np.float32)


def _profile(part: FloatArray, size: int) -> FloatArray:
    """Return the root of each band's share of the energy, ``(_N_BANDS,)``."""
    energies = np.abs(scipy.fft.rfft(part, size)) ** 2
    energies[1:-1] *= 2  # the half of the spectrum that rfft leaves out
    edges = np.linspace(0, len(energies), _N_BANDS + 1).astype(int)[:-1]
    shares = np.add.reduceat(energies, edges) / size
    return np.sqrt(shares).astype(np.float32)


def _correlations(parts: Sequence[FloatArray], other: FloatArray, size: int) -> FloatArray:
    spectra = np.stack([scipy.fft.rfft(part, size) for part in parts])
    lags = scipy.fft.irfft(spectra * np.conj(scipy.fft.rfft(other, size)), size)
    return np.asarray(np.abs(lags).max(axis=1), dtype=np.float32)
