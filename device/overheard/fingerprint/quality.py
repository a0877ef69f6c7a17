"""How similar a heard segment can be expected to be to its own track, told by its sound alone.

Noise and rooms lower the similarity of the right match: what is heard badly needs less to be named, and what
is heard well needs more. Sources: Mandasari et al., Quality Measure Functions for Calibration of Speaker
Recognition Systems in Various Duration Conditions, IEEE TASLP 21, 2013; pooling over a set of patches,
Zaheer et al., Deep Sets (1703.06114).
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np

from overheard.errors import REINSTALL, ModelError
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.tables import TablesError, read_tables, table

PATCH = 8  # frames, and mels, of a patch
N_LAYERS = 4


@dataclasses.dataclass(frozen=True)
class QualityEstimator:
    """Two layers over each patch, mean and maximum over all patches, two layers.

    Attributes
    ----------
    weights : of each layer, (inputs, outputs) float32
    biases : of each layer, (outputs,) float32
    """

    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]

    def expect(self, segments: FloatArray) -> FloatArray:
        """Return the expected cosine ``(n,)`` of each normalized segment ``(n, n_frames, n_mels)``."""
        x = patches_of(segments)
        for layer in (0, 1):
            x = np.maximum(x @ self.weights[layer] + self.biases[layer], 0)
        x = np.concatenate([x.mean(axis=1), x.max(axis=1)], axis=1)
        x = np.maximum(x @ self.weights[2] + self.biases[2], 0)
        expected: FloatArray = (x @ self.weights[3] + self.biases[3])[:, 0]
        return expected

    def to_bytes(self) -> bytes:
        """Return the layers as an ``.npz``."""
        layers: dict[str, Any] = {f"weights{i}": table for i, table in enumerate(self.weights)}
        layers |= {f"biases{i}": table for i, table in enumerate(self.biases)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **layers)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> QualityEstimator:
        """Read :meth:`to_bytes`; raise ModelError where it is something else."""
        try:
            tables = read_tables(stored)
            weights = [table(tables, f"weights{i}", 2) for i in range(N_LAYERS)]
            biases = [table(tables, f"biases{i}", 1) for i in range(N_LAYERS)]
            _check_shapes(weights, biases)
        except TablesError as error:
            raise ModelError(f"the model's quality estimator is unreadable ({error})", REINSTALL) from error
        return cls(tuple(weights), tuple(biases))


def patches_of(segments: FloatArray) -> FloatArray:
    """Cut segments ``(n, n_frames, n_mels)`` into ``(n, patches, PATCH * PATCH)``, without what is over."""
    n, rows, columns = len(segments), segments.shape[1] // PATCH, segments.shape[2] // PATCH
    whole = segments[:, : rows * PATCH, : columns * PATCH].reshape(n, rows, PATCH, columns, PATCH)
    return whole.swapaxes(2, 3).reshape(n, rows * columns, PATCH * PATCH)


def _check_shapes(weights: list[FloatArray], biases: list[FloatArray]) -> None:
    """Raise TablesError unless each layer takes what the one before it gives."""
    n_inputs = PATCH * PATCH
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if i == 2:
            n_inputs *= 2  # mean and maximum over the patches
        if weight.shape != (n_inputs, len(bias)):
            raise TablesError(f"layer {i} has shape {weight.shape} instead of {(n_inputs, len(bias))}")
        n_inputs = len(bias)
    if n_inputs != 1:
        raise TablesError("there is more than one output")
