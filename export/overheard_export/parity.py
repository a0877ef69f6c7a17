"""The parity gate: an int8 network that differs too much from the float network is not exported."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from overheard.errors import ModelError
from overheard.fingerprint.frontend import FloatArray
from overheard_export.int8 import Int8Encoder, mean_cosine, top1

if TYPE_CHECKING:
    import keras

MIN_COSINE = 0.99  # the shipped models have 0.998 and more
MAX_TOP1_LOSS = 0.005


@dataclasses.dataclass(frozen=True)
class Parity:
    """Similarity of the int8 network to the float network."""

    mean_cosine: float
    top1_float: float
    top1_int8: float

    @property
    def passed(self) -> bool:
        """Whether the int8 network is similar enough to ship."""
        return self.mean_cosine >= MIN_COSINE and self.top1_float - self.top1_int8 <= MAX_TOP1_LOSS

    def require(self) -> None:
        """Raise ModelError if the int8 network is not similar enough."""
        if not self.passed:
            raise ModelError(
                f"the int8 network differs too much from the float network: cosine {self.mean_cosine:.4f} "
                f"(at least {MIN_COSINE}), top-1 {self.top1_int8:.3f} instead of {self.top1_float:.3f}",
                "train longer, or write it with --no-gate to compare",
            )


def measure_parity(encoder: keras.Model, tflite: bytes, segments: FloatArray) -> Parity:
    """Compare both networks on pairs, ``(2 * n, n_frames, n_mels)``; all clean, then all degraded."""
    exact = encoder.predict(segments[..., None], batch_size=256, verbose=0)
    quantized = Int8Encoder(tflite)(segments)
    shares = [top1(*np.split(embeddings, 2)) for embeddings in (exact, quantized)]
    return Parity(mean_cosine(exact, quantized), *shares)
