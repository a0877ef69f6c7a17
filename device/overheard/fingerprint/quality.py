"""Estimate from a segment's sound how similar it should be to its own track.

Noise and reverberation lower the similarity of correct matches. The score compares the similarity with this
estimate, so a noisy recording needs a lower similarity than a clean one. Sources: Mandasari et al., Quality
Measure Functions for Calibration of Speaker Recognition Systems in Various Duration Conditions, IEEE TASLP
21, 2013; pooling over a set of patches, Zaheer et al., Deep Sets (1703.06114).
"""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np

from overheard.errors import REINSTALL, ModelError
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.tables import TablesError, read_tables, table

PATCH = 8  # frames and mel bands of a patch; 4 to 16 did equally well, docs/experiments.md
N_LAYERS = 4
POOLED_LAYER = 2  # the first layer after pooling


@dataclasses.dataclass(frozen=True)
class QualityEstimator:
    """A network of two layers per patch, pooling by mean and maximum over the patches, and two more layers.

    Attributes
    ----------
    weights : one (inputs, outputs) float32 array per layer
    biases : one (outputs,) float32 array per layer
    """

    weights: tuple[FloatArray, ...]
    biases: tuple[FloatArray, ...]

    def expect(self, segments: FloatArray) -> FloatArray:
        """Return the expected cosine ``(n,)`` float32 of normalized segments ``(n, n_frames, n_mels)``."""
        x = patches_of(segments)
        for layer in (0, 1):
            x = np.maximum(x @ self.weights[layer] + self.biases[layer], 0)
        x = np.concatenate([x.mean(axis=1), x.max(axis=1)], axis=1)
        x = np.maximum(x @ self.weights[2] + self.biases[2], 0)
        expected: FloatArray = (x @ self.weights[3] + self.biases[3])[:, 0]
        return expected

    def to_bytes(self) -> bytes:
        """Return the contents of an ``.npz`` file."""
        layers: dict[str, Any] = {f"weights{i}": table for i, table in enumerate(self.weights)}
        layers |= {f"biases{i}": table for i, table in enumerate(self.biases)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **layers)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> QualityEstimator:
        """Read the result of :meth:`to_bytes`. Raises ModelError if it is invalid."""
        try:
            tables = read_tables(stored)
            weights = [table(tables, f"weights{i}", 2) for i in range(N_LAYERS)]
            biases = [table(tables, f"biases{i}", 1) for i in range(N_LAYERS)]
            _check_shapes(weights, biases)
        except TablesError as error:
            raise ModelError(f"the model's quality estimator is invalid ({error})", REINSTALL) from error
        return cls(tuple(weights), tuple(biases))


def patches_of(segments: FloatArray) -> FloatArray:
    """Cut segments ``(n, n_frames, n_mels)`` into square patches ``(n, n_patches, PATCH * PATCH)``.

    Frames and mel bands beyond the last complete patch are dropped.
    """
    n, rows, columns = len(segments), segments.shape[1] // PATCH, segments.shape[2] // PATCH
    grid = segments[:, : rows * PATCH, : columns * PATCH].reshape(n, rows, PATCH, columns, PATCH)
    return grid.swapaxes(2, 3).reshape(n, rows * columns, PATCH * PATCH)


def _check_shapes(weights: list[FloatArray], biases: list[FloatArray]) -> None:
    """Raise TablesError unless the outputs of each layer fit the inputs of the next."""
    n_inputs = PATCH * PATCH
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        if i == POOLED_LAYER:
            n_inputs *= 2  # mean and maximum
        if weight.shape != (n_inputs, len(bias)):
            raise TablesError(f"layer {i} has shape {weight.shape} instead of {(n_inputs, len(bias))}")
        n_inputs = len(bias)
    if n_inputs != 1:
        raise TablesError("the last layer has more than one output")
