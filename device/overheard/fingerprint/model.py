"""The model: a network with its manifest, quantizer, cohort and quality estimator, loaded from its files."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.errors import ModelError
from overheard.fingerprint.cohort import Cohort
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, hubness, join
from overheard.fingerprint.quality import QualityEstimator
from overheard.fingerprint.quantizer import Quantizer
from overheard.fingerprint.spec import FingerprintSpec
from overheard.settings import MODELS_DIR

DEFAULT_MODEL = "overheard"
MANIFEST_VERSION = 3
PARTS = (".tflite", ".quantizer.npz", ".cohort.npz", ".quality.npz")


@dataclasses.dataclass(frozen=True)
class Model:
    """A network with its manifest, quantizer, cohort and quality estimator.

    Attributes
    ----------
    digest : 16 hex digits; packs of another digest cannot be read with this model
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
        """Name of the model."""
        return str(self.manifest["name"])

    @functools.cached_property
    def references(self) -> FloatArray:
        """Embeddings of the cohort, ``(n, dim)``, that a segment's hubness is measured by."""
        n_cells = len(self.quantizer.cells)
        return self.quantizer.decode(cells_of(self.cohort.packed_cells, n_cells), self.cohort.codes)

    def encode_track(
        self, embeddings: FloatArray, code_bytes: int | None = None
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return what a pack holds of a track: packed_cells ``(n,)`` and codes ``(n, code_bytes)``.

        Parameters
        ----------
        embeddings : (n, dim) float32, one per hop, in time order
        code_bytes : one of the quantizer's widths; the longest where None
        """
        cells, codes = self.quantizer.encode_track(embeddings, code_bytes)
        return join(cells, hubness(embeddings, self.references), len(self.quantizer.cells)), codes


def digest_of(spec: FingerprintSpec, tflite: bytes, quantizer: bytes, cohort: bytes) -> str:
    """Return what packs and model must agree on: 16 hex digits over spec, network, quantizer and cohort."""
    parts = (spec.digest(), *(hashlib.sha256(part).hexdigest() for part in (tflite, quantizer, cohort)))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def quality_digest(quality: bytes) -> str:
    """Return 16 hex digits of the quality estimator, which packs do not depend on."""
    return hashlib.sha256(quality).hexdigest()[:16]


def load_model(path: Path | None = None) -> Model:
    """Load a model by its manifest, ``NAME.json``, and the files beside it.

    They are ``NAME.tflite``, ``NAME.quantizer.npz``, ``NAME.cohort.npz`` and ``NAME.quality.npz``.

    Parameters
    ----------
    path : the manifest; the packaged model where None

    Raises
    ------
    ModelError
        A file is missing, altered, or of a version that this program does not know.
    """
    path = path or MODELS_DIR / f"{DEFAULT_MODEL}.json"
    remedy = "install overheard anew"
    if path.parent != MODELS_DIR:
        remedy = "export it anew, or name the .json that overheard-export model wrote"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read the model {path} ({error}): {remedy}") from error
    if not isinstance(manifest, dict) or manifest.get("manifest_version") != MANIFEST_VERSION:
        raise ModelError(
            f"{path} is not a model manifest of version {MANIFEST_VERSION}: "
            "export the model anew, or upgrade overheard"
        )
    try:
        tflite, quantizer, cohort, quality = (path.with_suffix(end).read_bytes() for end in PARTS)
    except OSError as error:
        raise ModelError(f"cannot read the model {path} ({error}): {remedy}") from error
    try:
        spec = FingerprintSpec.from_dict(manifest["spec"])
    except (TypeError, KeyError) as error:
        raise ModelError(f"{path} describes an unknown fingerprint ({error}): upgrade overheard") from error
    digest = digest_of(spec, tflite, quantizer, cohort)
    if digest != manifest.get("digest") or quality_digest(quality) != manifest.get("quality_digest"):
        raise ModelError(f"{path} does not fit the files beside it (altered or half-copied): {remedy}")
    tables = Quantizer.from_bytes(quantizer), Cohort.from_bytes(cohort), QualityEstimator.from_bytes(quality)
    return Model(path, manifest, spec, tflite, *tables, digest)


@functools.lru_cache(maxsize=1)
def default_model() -> Model:
    """Return the packaged model, read once a process."""
    return load_model()
