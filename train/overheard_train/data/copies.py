"""Recordings of `valid` that sound in `train` too: proposed by fingerprints, confirmed by the waveforms.

The catalogue is all that trains, indexed as a user's music would be; every stretch of `valid` is asked for.
Where the fingerprints name a place, the waveforms there decide: a copy correlates sharply however it was
encoded, cut or amplified. Another version or speed of a piece does not, but is named over and over.
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

from overheard.catalogue.pack import Pack, open_pack
from overheard.fingerprint.model import load_model
from overheard.fingerprint.spec import SPEC
from overheard.index.run import index
from overheard.index.scan import AUDIO_SUFFIXES
from overheard.index.worker import ModelFingerprinter
from overheard.recognize.pipeline import Recognizer
from overheard_train.data.decode import FloatArray, Int16Array
from overheard_train.data.sources import Recording

log = logging.getLogger(__name__)

WINDOW_S, STEP_S = 5.0, 7.3
MAX_WINDOWS = 40  # a recording: longer ones are asked for at wider steps
SLACK_S = 2  # how far the proposed place may be off
MIN_SIMILARITY = 0.3  # far below any match: the waveforms decide
MIN_CORRELATION = 0.18  # unrelated recordings reach 0.14 by a shared drum or note, copies 0.2 at least
MIN_NAMED, MIN_NAMED_SHARE = 3, 0.5  # of a track's windows: another version of a piece in `train`
_RATE = SPEC.frontend.sample_rate

Sounds = Sequence[tuple[Recording, Int16Array]]


@dataclasses.dataclass(frozen=True)
class Copy:
    """A recording of `valid` and one of `train` that sound alike.

    Attributes
    ----------
    correlation : peak of the whitened cross-correlation in the best window, as :func:`correlation_at`
    named : the share of the windows of the `valid` recording that the fingerprints accept as the other
    """

    train: Recording
    valid: Recording
    correlation: float
    named: float

    @property
    def is_same_recording(self) -> bool:
        """Tell a copy from another version of the piece."""
        return self.correlation >= MIN_CORRELATION


def find_copies(
    train: Sounds, valid: Sounds, base: Path, model: Path | None = None, jobs: int = 2
) -> Iterator[Copy]:
    """Yield what is on both sides.

    Parameters
    ----------
    train, valid : recordings with their decoded sound, ``(n,)`` int16
    base : where the catalogue is kept between runs: ``BASE.pack``, and a folder of links
    model : manifest of a model other than the shipped one
    jobs : processes that index
    """
    if not train or not valid:
        return
    links = {_link_name(recording.path): number for number, (recording, _) in enumerate(train)}
    _link(base.with_suffix(".links"), {name: train[number][0].path for name, number in links.items()})
    pack = _index(base, model, jobs)
    if any(Path(track.path).name not in links for track in pack.tracks):  # of a cache that lay elsewhere
        pack.path.unlink()
        pack = _index(base, model, jobs)
    loaded = load_model(model)
    recognizer = Recognizer(loaded, [pack])
    numbers = [links[Path(track.path).name] for track in pack.tracks]
    for recording, samples in valid:
        for number, (correlation, named) in _ask(recognizer, numbers, train, samples).items():
            copy = Copy(train[number][0], recording, correlation, named)
            if copy.is_same_recording or (named >= MIN_NAMED_SHARE and recording.kind == "music"):
                yield copy


def _index(base: Path, model: Path | None, jobs: int) -> Pack:
    """Bring the catalogue up to date with the folder of links."""
    path = base.with_suffix(".pack")
    make = functools.partial(ModelFingerprinter, model)
    report = index([base.with_suffix(".links")], path, make, jobs)
    if report.failed:
        log.info("%d recordings of train are silent or too short to be compared", len(report.failed))
    return open_pack(path)


def _ask(
    recognizer: Recognizer, numbers: Sequence[int], train: Sounds, samples: Int16Array
) -> Mapping[int, tuple[float, float]]:
    """Return, by number in `train`, correlation and share of what the windows of a recording seem to hold."""
    step_frames, frames_per_s = recognizer.clip_step_frames, SPEC.frontend.frames_per_s
    scoring = recognizer.matcher.scoring
    best: dict[int, float] = defaultdict(float)
    accepted: dict[int, int] = defaultdict(int)
    windows = list(_windows(samples))
    for window in windows:
        queries, found, rows = recognizer.window_candidates(window)
        evidence = recognizer.matcher.weigh(queries, found, rows, step_frames)
        if evidence is None or evidence.similarity < MIN_SIMILARITY:
            continue
        number = numbers[evidence.track]
        accepted[number] += scoring.score(evidence, len(window) / _RATE) >= scoring.threshold
        place_s = evidence.offset_frames / frames_per_s
        best[number] = max(best[number], correlation_at(window, train[number][1], place_s))
    shares = {number: count / len(windows) for number, count in accepted.items() if count >= MIN_NAMED}
    return {number: (correlation, shares.get(number, 0.0)) for number, correlation in best.items()}


def _windows(samples: Int16Array) -> Iterator[FloatArray]:
    """Yield the windows that are asked for, spread over the recording, silent ones left out."""
    size = int(WINDOW_S * _RATE)
    last = max(0, len(samples) - size)
    n_windows = min(MAX_WINDOWS, int(last / (STEP_S * _RATE)) + 1)
    for start in np.linspace(0, last, n_windows).astype(int):
        window = samples[start : start + size].astype(np.float32) / np.float32(32768)
        if len(window) > _RATE // 2 and np.abs(window).max() > 1e-3:
            yield window


def correlation_at(window: FloatArray, samples: Int16Array, place_s: float) -> float:
    """Return how sharply a window lines up with a recording about a place in it, from 0 to 1.

    The cross-correlation of the whitened spectra (GCC-PHAT; Knapp and Carter, IEEE Trans. ASSP 24, 1976): a
    common key or drone correlates at every lag, a common recording at one.

    Parameters
    ----------
    window : (n,) float32
    samples : (m,) int16
    place_s : where in `samples` the window seems to begin
    """
    begin = max(0, int((place_s - SLACK_S) * _RATE))
    stretch = samples[begin : begin + len(window) + 2 * SLACK_S * _RATE].astype(np.float32)
    if not len(stretch):
        return 0.0
    size = next_fast_len(len(window) + len(stretch), real=True)
    cross = rfft(stretch / np.float32(32768), size) * np.conj(rfft(window, size))
    magnitude = np.abs(cross)
    loud = magnitude > 1e-6 * magnitude.max(initial=1e-9)
    whitened = np.where(loud, cross / np.maximum(magnitude, 1e-12), 0)
    return float(np.max(irfft(whitened, size)) * size / max(1, 2 * np.count_nonzero(loud)))


def _link_name(path: Path) -> str:
    name, suffix = os.fsencode(os.path.abspath(path)), path.suffix.lower()
    return hashlib.sha256(name).hexdigest()[:24] + (suffix if suffix in AUDIO_SUFFIXES else ".wav")


def _link(folder: Path, targets: Mapping[str, Path]) -> None:
    """Make a folder that holds links to exactly these files, so that the indexer sees nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in set(os.listdir(folder)) - set(targets):
        os.unlink(folder / name)
    for name, target in targets.items():
        if not os.path.lexists(folder / name):
            os.symlink(os.path.abspath(target), folder / name)
