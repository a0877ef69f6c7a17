"""Find recordings of `valid` that are also in `train`: fingerprints propose them, waveforms confirm them.

The recordings of `train` are indexed like a user's music, and windows of `valid` are recognized in that
catalogue. Where a window is recognized, the waveforms decide. Those of a copy correlate in a sharp peak,
whatever its format, level or length. Those of another version of a piece do not, but many of its windows are
recognized.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from overheard.catalogue.layers import compact
from overheard.catalogue.pack import Pack, open_pack
from overheard.files import link_files
from overheard.fingerprint.model import load_model
from overheard.fingerprint.spec import SPEC
from overheard.hear.resampler import to_float
from overheard.index.run import index
from overheard.index.scan import AUDIO_SUFFIXES
from overheard.index.worker import ModelFingerprinter
from overheard.recognize.recognizer import Recognizer
from overheard_train.data.decode import FloatArray, Int16Array
from overheard_train.data.sources import Recording

log = logging.getLogger(__name__)

WINDOW_S, STEP_S = 5.0, 7.3
MAX_WINDOWS = 40  # per recording: windows of longer recordings are farther apart
SLACK_S = 2  # largest error of the proposed position
MIN_SIMILARITY = 0.3  # far below that of any match: the waveforms decide
MIN_CORRELATION = 0.18  # unrelated recordings reach 0.14 with a common drum or note, copies at least 0.2
MIN_RECOGNIZED, MIN_RECOGNIZED_SHARE = (
    3,
    0.5,
)  # windows of a track that is another version of a piece in `train`
MIN_WINDOW_S, MIN_PEAK = 0.5, 1e-3  # shorter and quieter windows are skipped
_RATE = SPEC.frontend.sample_rate

Sounds = Sequence[tuple[Recording, Int16Array]]


@dataclasses.dataclass(frozen=True)
class Copy:
    """A recording of `valid` that is a copy, or another version, of one of `train`.

    Attributes
    ----------
    correlation : largest result of :func:`correlation_at` over all windows, from 0 to 1
    recognized : share of the `valid` recording's windows that are recognized as the `train` recording
    """

    train: Recording
    valid: Recording
    correlation: float
    recognized: float

    @property
    def is_same_recording(self) -> bool:
        """Whether it is a copy rather than another version of the piece."""
        return self.correlation >= MIN_CORRELATION


def find_copies(
    train: Sounds, valid: Sounds, base: Path, model: Path | None = None, jobs: int = 2
) -> Iterator[Copy]:
    """Yield copies and versions.

    Parameters
    ----------
    train, valid : recordings with their samples, ``(n,)`` int16
    base : the catalogue is kept in ``BASE.pack`` and a folder of links, ``BASE.links``
    model : manifest of a model; by default the shipped one
    jobs : number of processes that index
    """
    if not train or not valid:
        return
    links = {_link_name(recording.path): number for number, (recording, _) in enumerate(train)}
    link_files(base.with_suffix(".links"), {name: train[number][0].path for name, number in links.items()})
    pack = _index(base, model, jobs)
    if any(Path(track.path).name not in links for track in pack.tracks):  # of a cache that has been moved
        pack.path.unlink()
        pack = _index(base, model, jobs)
    loaded = load_model(model)
    recognizer = Recognizer(loaded, [pack])
    numbers = [links[Path(track.path).name] for track in pack.tracks]
    for recording, samples in valid:
        for number, (correlation, recognized) in _recognize(recognizer, numbers, train, samples).items():
            copy = Copy(train[number][0], recording, correlation, recognized)
            is_version = recognized >= MIN_RECOGNIZED_SHARE and recording.kind == "music"
            if copy.is_same_recording or is_version:
                yield copy


def _index(base: Path, model: Path | None, jobs: int) -> Pack:
    """Update the catalogue from the folder of links, and open it."""
    path = base.with_suffix(".pack")
    make = functools.partial(ModelFingerprinter, model)
    report = index([base.with_suffix(".links")], path, make, jobs)
    if report.failed:
        log.info("%d recordings of train are silent or too short to compare", len(report.failed))
    compact(path)  # without hidden tracks, a track has the same number in the pack and in the catalogue
    return open_pack(path)


def _recognize(
    recognizer: Recognizer, numbers: Sequence[int], train: Sounds, samples: Int16Array
) -> Mapping[int, tuple[float, float]]:
    """Recognize the windows of a recording.

    Parameters
    ----------
    numbers : number in `train` of each track of the catalogue

    Returns
    -------
    By number in `train`: the largest correlation, and the share of windows that are recognized.
    """
    frames_per_s = SPEC.frontend.frames_per_s
    scoring = recognizer.matcher.scoring
    best: dict[int, float] = defaultdict(float)
    accepted: dict[int, int] = defaultdict(int)
    windows = list(_windows(samples))
    for window in windows:
        evidence = recognizer.matcher.weigh(*recognizer.window(window))
        if evidence is None or evidence.similarity < MIN_SIMILARITY:
            continue
        number = numbers[evidence.track]
        accepted[number] += scoring.score(evidence, len(window) / _RATE) >= scoring.threshold
        position_s = evidence.offset_frames / frames_per_s
        best[number] = max(best[number], correlation_at(window, train[number][1], position_s))
    shares = {number: count / len(windows) for number, count in accepted.items() if count >= MIN_RECOGNIZED}
    return {number: (correlation, shares.get(number, 0.0)) for number, correlation in best.items()}


def _windows(samples: Int16Array) -> Iterator[FloatArray]:
    """Yield windows, evenly spread over the recording, without silent ones."""
    size = int(WINDOW_S * _RATE)
    last = max(0, len(samples) - size)
    n_windows = min(MAX_WINDOWS, int(last / (STEP_S * _RATE)) + 1)
    for start in np.linspace(0, last, n_windows).astype(int):
        window = to_float(samples[start : start + size])
        if len(window) > MIN_WINDOW_S * _RATE and np.abs(window).max() > MIN_PEAK:
            yield window


def correlation_at(window: FloatArray, samples: Int16Array, position_s: float) -> float:
    """Return how well a window lines up with a recording near a position, from 0 to 1.

    It is the peak of the cross-correlation of whitened spectra (GCC-PHAT; Knapp and Carter, IEEE Trans. ASSP
    24, 1976). Recordings with a common key or drone correlate at every lag, copies at one.

    Parameters
    ----------
    window : (n,) float32
    samples : (m,) int16
    position_s : proposed position of the window in `samples`
    """
    begin = max(0, int((position_s - SLACK_S) * _RATE))
    stretch = samples[begin : begin + len(window) + 2 * SLACK_S * _RATE]
    if not len(stretch):
        return 0.0
    size = next_fast_len(len(window) + len(stretch), real=True)
    cross = rfft(to_float(stretch), size) * np.conj(rfft(window, size))
    magnitude = np.abs(cross)
    loud = magnitude > 1e-6 * magnitude.max(initial=1e-9)
    whitened = np.where(loud, cross / np.maximum(magnitude, 1e-12), 0)
    return float(np.max(irfft(whitened, size)) * size / max(1, 2 * np.count_nonzero(loud)))


def _link_name(path: Path) -> str:
    name, suffix = os.fsencode(os.path.normpath(path.absolute())), path.suffix.lower()
    return hashlib.sha256(name).hexdigest()[:24] + (suffix if suffix in AUDIO_SUFFIXES else ".wav")
