"""Fits a model's quantizer: coarse cells, and codebooks for what they leave of an embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overheard.frontend import FloatArray
from overheard.quantizer import CODEWORDS, Quantizer, Stage


def kmeans(points: FloatArray, k: int, rng: np.random.Generator, iterations: int = 20) -> FloatArray:
    """Lloyd's algorithm in blocks; empty clusters are refilled from random points. Returns ``(k, d)``."""
    centres = points[rng.choice(len(points), k, replace=len(points) < k)].copy()
    for _ in range(iterations):
        nearest = _assign(points, centres)
        counts = np.bincount(nearest, minlength=k).astype(np.float32)
        order = np.argsort(nearest, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)[:-1]
        filled = counts > 0
        sums = np.add.reduceat(points[order], bounds[filled], axis=0)
        centres[filled] = sums / counts[filled, None]
        centres[~filled] = points[rng.integers(len(points), size=int((~filled).sum()))]
    return centres


def _assign(points: FloatArray, centres: FloatArray) -> np.ndarray:
    squares = np.sum(centres**2, axis=1)
    blocks = [
        np.argmin(squares - 2 * (points[i : i + 16384] @ centres.T), axis=1)
        for i in range(0, len(points), 16384)
    ]
    return np.concatenate(blocks)


def train_quantizer(
    embeddings: FloatArray, n_cells: int, stage_bytes: Sequence[int], seed: int = 0
) -> Quantizer:
    """Fit cells, and stages of codebooks for what they leave.

    Parameters
    ----------
    embeddings : (n, dim) float32, unit norm; of training tracks
    stage_bytes : bytes that each stage adds to a code
    """
    rng = np.random.default_rng(seed)
    cells = kmeans(embeddings, n_cells, rng)
    residuals = embeddings - cells[_assign(embeddings, cells)]
    stages = []
    for code_bytes in stage_bytes:
        stages.append(_train_stage(residuals, code_bytes, rng))
        residuals = residuals - stages[-1].decode(stages[-1].encode(residuals))
    return Quantizer(cells, *stages)


def _train_stage(residuals: FloatArray, code_bytes: int, rng: np.random.Generator) -> Stage:
    """Fit a rotation and codebooks in turns (optimized product quantization).

    Source: Ge et al., Optimized Product Quantization, PAMI 2014, section 3 (non-parametric).
    """
    dim = residuals.shape[1]
    width = -(-dim // code_bytes)
    rotation = _spread(np.linalg.qr(rng.standard_normal((dim, dim)))[0], code_bytes)
    codebooks = np.zeros((code_bytes, CODEWORDS, width), dtype=np.float32)
    for round_number in range(6):
        rotated = residuals @ rotation
        approximated = np.empty_like(rotated)
        for part in range(code_bytes):
            columns = slice(part * width, (part + 1) * width)
            words = kmeans(rotated[:, columns], CODEWORDS, rng, 12 if round_number == 0 else 6)
            codebooks[part] = words
            approximated[:, columns] = words[_assign(rotated[:, columns], words)]
        if round_number < 5:
            used = np.abs(rotation).max(axis=0) > 0
            left, _, right = np.linalg.svd(residuals.T @ approximated[:, used])
            rotation = np.zeros_like(rotation)
            rotation[:, used] = left @ right
    return Stage(rotation, codebooks)


def _spread(rotation: np.ndarray, parts: int) -> FloatArray:
    """Share columns ``(dim, dim)`` out over parts of one width, some of whose last stay at zero."""
    dim = rotation.shape[1]
    width = -(-dim // parts)
    places = [
        part * width + np.arange(len(own)) for part, own in enumerate(np.array_split(np.arange(dim), parts))
    ]
    spread = np.zeros((dim, parts * width), dtype=np.float32)
    spread[:, np.concatenate(places)] = rotation
    return spread
