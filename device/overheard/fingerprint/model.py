"""Load a model from its files: manifest, network, quantizer, cohort and quality estimator."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.errors import REINSTALL, ModelError
from overheard.files import read_regular
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, hubness, pack_cells
from overheard.fingerprint.json_values import JsonValueError, get_object, get_string, parse_object
from overheard.fingerprint.quality import QualityEstimator
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.spec import FingerprintSpec
from overheard.settings import MODELS_DIR

DEFAULT_MODEL = "overheard"
MANIFEST_VERSION = 3
MAX_FILE_BYTES = 1 << 26  # of each file; the largest of the shipped models has 4 MB
PARTS = (".tflite", ".quantizer.npz", ".cohort.npz", ".quality.npz")


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its manifest, quantizer, cohort and quality estimator.

    Attributes
    ----------
    path : Path
        The manifest.
    manifest : dict
        Contents of the manifest: ``name``, ``spec``, ``scoring``, ``training`` and more.
    spec : FingerprintSpec
    tflite : bytes
        The network.
    quantizer, cohort, quality : Quantizer, Cohort, QualityEstimator
    digest : str
        16 hex digits. Only packs with the same digest can be searched with this model.
    """

    path: Path
    manifest: dict[str, Any]
    spec: FingerprintSpec
    tflite: bytes
    quantizer: Quantizer
    cohort: Cohort
    quality: QualityEstimator
    digest: str

    @property
    def name(self) -> str:
        """The name in the manifest."""
        return str(self.manifest["name"])

    @functools.cached_property
    def references(self) -> FloatArray:
        """Decoded embeddings ``(n, dim)`` float32 of the cohort, for measuring hubness."""
        n_cells = len(self.quantizer.cells)
        return self.quantizer.decode(cells_of(self.cohort.packed_cells, n_cells), self.cohort.codes)

    def encode_track(
        self, embeddings: FloatArray, code_bytes: int | None = None
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return a track's fingerprint as packs store it.

        Parameters
        ----------
        embeddings : (n, dim) float32, unit norm
            One per hop, in time order.
        code_bytes : int or None
            One of ``quantizer.widths``; the longest if None.

        Returns
        -------
        packed_cells : (n,) uint16
        codes : (n, code_bytes) uint8
        """
        cells, codes = self.quantizer.encode_track(embeddings, code_bytes)
        return pack_cells(cells, hubness(embeddings, self.references), len(self.quantizer.cells)), codes


def digest_of(spec: FingerprintSpec, tflite: bytes, quantizer: bytes, cohort: bytes) -> str:
    """Return 16 hex digits that identify the spec, network, quantizer and cohort.

    A pack and a model with different digests are incompatible.
    """
    parts = (spec.digest(), *(hashlib.sha256(part).hexdigest() for part in (tflite, quantizer, cohort)))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def quality_digest(quality: bytes) -> str:
    """Return 16 hex digits that identify the quality estimator. Packs do not depend on it."""
    return hashlib.sha256(quality).hexdigest()[:16]


def load_model(path: Path | None = None) -> Model:
    """Load a model from its manifest ``NAME.json`` and the files beside it.

    They are ``NAME.tflite``, ``NAME.quantizer.npz``, ``NAME.cohort.npz`` and ``NAME.quality.npz``.

    Parameters
    ----------
    path : Path or None
        The manifest; that of the shipped model if None.

    Raises
    ------
    ModelError
        If a file is missing, damaged, or of a version that this overheard does not support.
    """
    path = path or MODELS_DIR / f"{DEFAULT_MODEL}.json"
    remedy = REINSTALL
    if path.parent != MODELS_DIR:
        remedy = "give the .json file that overheard-export model wrote, or export the model again"
    manifest, spec = _read_manifest(path, remedy)
    tflite, quantizer, cohort, quality = (_read(path.with_suffix(suffix), remedy) for suffix in PARTS)
    digest = digest_of(spec, tflite, quantizer, cohort)
    if digest != manifest.get("digest") or quality_digest(quality) != manifest.get("quality_digest"):
        raise ModelError(f"{path} does not match the files beside it (modified or partly copied)", remedy)
    tables = Quantizer.from_bytes(quantizer), Cohort.from_bytes(cohort), QualityEstimator.from_bytes(quality)
    return Model(path, manifest, spec, tflite, *tables, digest)


def _read(path: Path, remedy: str) -> bytes:
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ModelError(f"cannot read the model file {path} ({error.strerror or error})", remedy) from error


def _read_manifest(path: Path, remedy: str) -> tuple[dict[str, Any], FingerprintSpec]:
    """Return a manifest and the spec in it. Raises ModelError if the manifest is invalid."""
    contents = _read(path, remedy)
    try:
        manifest = parse_object(contents)
    except JsonValueError as error:
        raise ModelError(f"{path} is not a model manifest ({error})", remedy) from error
    if manifest.get("manifest_version") != MANIFEST_VERSION:
        raise ModelError(
            f"{path} is not a model manifest of version {MANIFEST_VERSION}",
            "export the model again, or update overheard",
        )
    try:
        get_string(manifest, "name")
        return manifest, FingerprintSpec.from_dict(get_object(manifest, "spec"))
    except JsonValueError as error:
        raise ModelError(f"{path} is not supported ({error})", "update overheard") from error


@functools.lru_cache(maxsize=1)
def default_model() -> Model:
    """Return the shipped model, loaded once per process."""
    return load_model()
