"""What indexing needs of a model, and the exception that ends the work on a file."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.spec import FingerprintSpec

Waveform = npt.NDArray[np.float32]
Codes = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]  # packed_cells (n,) and codes (n, code_bytes)


class Cancelled(Exception):
    """The user stopped the run."""


class Fingerprinter(Protocol):
    """The part of a model that indexing uses."""

    @property
    def digest(self) -> str:
        """As ``Model.digest``."""

    @property
    def network_digest(self) -> str:
        """As ``Model.network_digest``."""

    @property
    def spec(self) -> FingerprintSpec:
        """As ``Model.spec``."""

    @property
    def code_bytes(self) -> int:
        """Bytes per code."""

    def embed(self, waveform: Waveform) -> npt.NDArray[np.float32]:
        """Return embeddings (n, dim) of a waveform (m,) in [-1, 1], one per hop."""

    def encode(
        self, embeddings: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return packed_cells (n,) and codes (n, code_bytes) of all embeddings (n, dim) of a track."""
