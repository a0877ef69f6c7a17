"""Detect music in log-mel frames, so that the fingerprint network need not run without music."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overheard.errors import REINSTALL, ModelError
from overheard.files import read_regular
from overheard.fingerprint.json_values import (
    JsonValueError,
    get_integer,
    get_number,
    get_numbers,
    get_object,
    get_string,
    parse_object,
)
from overheard.fingerprint.runtime import Network
from overheard.fingerprint.spec import SPEC
from overheard.hear.texture import N_FEATURES, Texture, texture_spec
from overheard.settings import MODELS_DIR

FloatArray = npt.NDArray[np.float32]

DETECTOR_PATH = MODELS_DIR / "detector" / "music-detector.json"
MANIFEST_VERSION = 1
MAX_FILE_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """Parameters of the decision: a running sum of the network's outputs, with hysteresis.

    The evidence is a sum of log-odds, kept between 0 and `ceiling`: a clear case is decided after one second,
    a weak one after several.

    Attributes
    ----------
    bias : subtracted from each output; music has log-odds above it, on average
    wake : evidence at which music begins
    rest : evidence at which it ends
    ceiling : largest evidence; the distance to `rest` is how much speech or noise ends the music
    step : largest change of the evidence in one second
    """

    bias: float
    wake: float
    rest: float
    ceiling: float
    step: float


@dataclasses.dataclass(frozen=True)
class DetectorModel:
    """The network of the detector, the scaling of its input, and the smoothing of its output.

    Attributes
    ----------
    tflite : bytes
    mean, deviation : (N_FEATURES,) float32
        Of each feature in the examples; the network's input has mean 0 and deviation 1.
    smoothing : Smoothing
    """

    tflite: bytes
    mean: FloatArray
    deviation: FloatArray
    smoothing: Smoothing


class MusicDetector:
    """Decide once per second of audio whether there is music.

    Parameters
    ----------
    model_path : Path or None
        The manifest ``NAME.json`` of a detector; that of the shipped one if None.
    runtime : str or None
        Distribution name of the TensorFlow Lite runtime; the preferred installed one if None.

    Attributes
    ----------
    probability : float
        The network's last probability of music in the last 4 s, 0-1, not smoothed; 0 before the first second.

    Raises
    ------
    ModelError
        A file is missing or damaged, or there is no runtime.
    """

    def __init__(self, model_path: Path | None = None, runtime: str | None = None) -> None:
        model = load_detector(model_path)
        self._network = DetectorNetwork(model.tflite, model.mean, model.deviation, runtime)
        self._smoothing = model.smoothing
        self.reset()

    def reset(self) -> None:
        """Forget the sound: there is no music until the next frames show some."""
        self._texture = Texture()
        self._waiting: FloatArray = np.zeros((0, SPEC.frontend.n_mels), np.float32)
        self._evidence = 0.0
        self._is_music = False
        self.probability = 0.0

    @property
    def is_music(self) -> bool:
        """Whether there is music after the frames so far."""
        return self._is_music

    def process(self, frames: FloatArray) -> bool:
        """Add log-mel frames; return whether there is music after them.

        Parameters
        ----------
        frames : (n, n_mels) float32, dB
            Of the shared front-end. The result does not depend on how a sound is divided into calls.
        """
        waiting = np.concatenate([self._waiting, frames])
        while len(waiting) >= self._texture.n_needed:
            n = self._texture.n_needed
            self._decide(self._network(self._texture.update(waiting[:n])))
            waiting = waiting[n:]
        self._waiting = waiting
        return self._is_music

    def _decide(self, output: float) -> None:
        rules = self._smoothing
        self.probability = 1 / (1 + math.exp(-output))
        change = min(max(output - rules.bias, -rules.step), rules.step)
        self._evidence = min(max(self._evidence + change, 0.0), rules.ceiling)
        self._is_music = self._evidence > rules.rest if self._is_music else self._evidence >= rules.wake


class DetectorNetwork:
    """Compute the log-odds of music from the features of a second.

    Parameters
    ----------
    tflite : bytes
    mean, deviation : (N_FEATURES,) float32
    runtime : str or None
        As in :class:`MusicDetector`.
    """

    def __init__(
        self, tflite: bytes, mean: FloatArray, deviation: FloatArray, runtime: str | None = None
    ) -> None:
        self._network = Network(tflite, runtime=runtime)
        self._gain = (1 / (deviation * self._network.input_scale)).astype(np.float32)
        self._offset = (self._network.input_zero_point - mean * self._gain).astype(np.float32)

    def __call__(self, features: FloatArray) -> float:
        """Return the log-odds for features ``(N_FEATURES,)`` float32."""
        values = features * self._gain
        values += self._offset
        np.rint(values, out=values)
        np.clip(values, -128, 127, out=values)
        output = int(self._network.invoke(values.astype(np.int8)[None]).flat[0])
        return float(self._network.output_scale * (output - self._network.output_zero_point))


@functools.lru_cache(maxsize=2)
def load_detector(path: Path | None = None) -> DetectorModel:
    """Load a detector from its manifest ``NAME.json`` and the network ``NAME.tflite`` beside it.

    Parameters
    ----------
    path : Path or None
        The manifest; that of the shipped detector if None.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or of a version that this overheard does not support.
    """
    path = path or DETECTOR_PATH
    remedy = REINSTALL if path == DETECTOR_PATH else "train the detector again with overheard-train detector"
    contents, tflite = (_read(name, remedy) for name in (path, path.with_suffix(".tflite")))
    try:
        sidecar = parse_object(contents)
        if get_integer(sidecar, "manifest_version") != MANIFEST_VERSION:
            raise ModelError(
                f"{path} is not the manifest of a music detector of version {MANIFEST_VERSION}", remedy
            )
        if get_string(sidecar, "spec_digest") != spec_digest():
            raise ModelError(f"{path} was trained with another front-end", remedy)
        if get_string(sidecar, "digest") != digest_of(tflite):
            raise ModelError(
                f"{path} does not match the network beside it (modified or partly copied)", remedy
            )
        moments = get_object(sidecar, "features")
        mean, deviation = (_vector(moments, name) for name in ("mean", "deviation"))
        if deviation.min() <= 0:
            raise JsonValueError("deviation must be positive")
        return DetectorModel(tflite, mean, deviation, _smoothing(get_object(sidecar, "smoothing")))
    except JsonValueError as error:
        raise ModelError(f"{path} is not the manifest of a music detector ({error})", remedy) from error


def _vector(values: dict[str, object], name: str) -> FloatArray:
    return np.array(get_numbers(values, name, N_FEATURES), np.float32)


def _smoothing(values: dict[str, object]) -> Smoothing:
    bias, wake, rest = (get_number(values, name, -100, 100) for name in ("bias", "wake", "rest"))
    ceiling, step = (get_number(values, name, 0, 1000) for name in ("ceiling", "step"))
    if not 0 <= rest < wake <= ceiling or step <= 0:
        raise JsonValueError("the smoothing must have 0 <= rest < wake <= ceiling and 0 < step")
    return Smoothing(bias, wake, rest, ceiling, step)


def digest_of(tflite: bytes) -> str:
    """Return 16 hex digits that identify the network."""
    return hashlib.sha256(tflite).hexdigest()[:16]


def spec_digest() -> str:
    """Return 16 hex digits that change with any parameter of the front-end or of the features."""
    spec = (*dataclasses.astuple(SPEC.frontend), *texture_spec())
    return hashlib.sha256(repr(spec).encode()).hexdigest()[:16]


def _read(path: Path, remedy: str) -> bytes:
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ModelError(
            f"cannot read the detector's file {path} ({error.strerror or error})", remedy
        ) from error
