"""Load a model from its files: manifest, network, quantizer, cohort and quality estimator.

A model that defines a space has all five. A model that joins a space has a manifest, a network and a quality
estimator of its own; it uses the quantizer and the cohort of the model that defined the space.
"""

from __future__ import annotations

import dataclasses
import functools
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
from overheard.fingerprint.space import Space, digest_of, file_digest
from overheard.fingerprint.spec import FingerprintSpec
from overheard.settings import MODELS_DIR

DEFAULT_MODEL = "overheard"
MANIFEST_VERSION = 3
MAX_FILE_BYTES = 1 << 26  # of each file; the largest of the shipped models has 4 MB
PARTS = (".tflite", ".quantizer.npz", ".cohort.npz", ".quality.npz")
SPACE_PARTS = (".quantizer.npz", ".cohort.npz")  # those that the networks of a space share

__all__ = [
    "DEFAULT_MODEL",
    "MANIFEST_VERSION",
    "PARTS",
    "SPACE_PARTS",
    "Model",
    "default_model",
    "digest_of",
    "load_model",
    "part_path",
    "quality_digest",
    "read_manifest",
]


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
    space : Space
        What packs depend on.
    network_digest : str
        16 hex digits of the network, which packs record for information.
    """

    path: Path
    manifest: dict[str, Any]
    spec: FingerprintSpec
    tflite: bytes
    quantizer: Quantizer
    cohort: Cohort
    quality: QualityEstimator
    space: Space
    network_digest: str

    @property
    def digest(self) -> str:
        """16 hex digits that packs of the model's space store: only these packs can be searched with it."""
        return self.space.pack_digest

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


def quality_digest(quality: bytes) -> str:
    """Return 16 hex digits that identify the quality estimator. Packs do not depend on it."""
    return file_digest(quality)


def part_path(manifest: Path, suffix: str, space: Space | None) -> Path:
    """Return the path of one of a model's files; `space` is None if the model defines its own."""
    if space is not None and suffix in SPACE_PARTS:
        return manifest.with_name(space.name + suffix)
    return manifest.with_suffix(suffix)


def load_model(path: Path | None = None) -> Model:
    """Load a model from its manifest ``NAME.json`` and the files beside it.

    They are ``NAME.tflite``, ``NAME.quantizer.npz``, ``NAME.cohort.npz`` and ``NAME.quality.npz``; those of
    the quantizer and the cohort have the name of the model's space.

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
    manifest, spec, space = _read_manifest(path, remedy)
    parts = [
        _read(part_path(path, suffix, space), _remedy_for_part(suffix, space, remedy)) for suffix in PARTS
    ]
    tflite, quantizer, cohort, quality = parts
    space_digest = digest_of(spec, quantizer, cohort)
    if space is not None and space.digest != space_digest:
        raise ModelError(
            f"{path} does not match the files of its space {space.name} beside it",
            remedy if remedy == REINSTALL else "train and export the network again for this space",
        )
    digest = digest_of(spec, tflite, quantizer, cohort)
    if digest != manifest.get("digest") or quality_digest(quality) != manifest.get("quality_digest"):
        raise ModelError(f"{path} does not match the files beside it (modified or partly copied)", remedy)
    space = space or Space(path.stem, space_digest, digest)
    tables = Quantizer.from_bytes(quantizer), Cohort.from_bytes(cohort), QualityEstimator.from_bytes(quality)
    return Model(path, manifest, spec, tflite, *tables, space, file_digest(tflite))


def _remedy_for_part(suffix: str, space: Space | None, remedy: str) -> str:
    if remedy == REINSTALL or space is None or suffix not in SPACE_PARTS:
        return remedy
    files = " and ".join(space.name + each for each in SPACE_PARTS)
    return f"copy {files}, which its network shares, beside it"


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a model's manifest without its other files. Raises ModelError if it is missing or invalid."""
    return _read_manifest(path, REINSTALL)[0]


def _read(path: Path, remedy: str) -> bytes:
    try:
        return read_regular(path, MAX_FILE_BYTES)
    except OSError as error:
        raise ModelError(f"cannot read the model file {path} ({error.strerror or error})", remedy) from error


def _read_manifest(path: Path, remedy: str) -> tuple[dict[str, Any], FingerprintSpec, Space | None]:
    """Return a manifest, and spec and space in it. Raises ModelError if the manifest is invalid."""
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
        spec = FingerprintSpec.from_dict(get_object(manifest, "spec"))
        return manifest, spec, Space.from_manifest(manifest)
    except JsonValueError as error:
        raise ModelError(f"{path} is not supported ({error})", "update overheard") from error


@functools.lru_cache(maxsize=1)
def default_model() -> Model:
    """Return the shipped model, loaded once per process."""
    return load_model()
