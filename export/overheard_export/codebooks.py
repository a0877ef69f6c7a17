"""Fits a model's quantizer: coarse cells, and codebooks for what they leave of an embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse

from overheard.frontend import FloatArray
from overheard.quantizer import CODEWORDS, Quantizer, Stage

FITTED_ON = 60_000  # embeddings a round
ROUNDS = 8
RIDGE = 1.0  # embeddings that each word before counts for


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
    """Fit codebooks one after the other, then all together, by turns of encoding and least squares.

    Source: Martinez et al., Revisiting Additive Quantization, ECCV 2016, with the beam of the device for its
    stochastic local search.
    """
    left = _sample(residuals, rng)
    codebooks = np.empty((code_bytes, CODEWORDS, residuals.shape[1]), dtype=np.float32)
    for words in codebooks:
        words[:] = kmeans(left, CODEWORDS, rng, 8)
        left = left - words[_assign(left, words)]
    for _ in range(ROUNDS):
        sample = _sample(residuals, rng)  # another one each time, lest words know theirs by heart
        codebooks = _fit_words(sample, Stage(codebooks).encode(sample), codebooks)
    return Stage(codebooks)


def _sample(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    return points[rng.permutation(len(points))[:FITTED_ON]]


def _fit_words(points: FloatArray, codes: np.ndarray, previous: FloatArray) -> FloatArray:
    """Return the words ``(n, 256, dim)`` whose sums by these codes are nearest to the points."""
    n_books, n_words, dim = previous.shape
    columns = codes.astype(np.int64) + n_words * np.arange(n_books)  # one word of each book
    rows = np.repeat(np.arange(len(points)), n_books)
    chosen = scipy.sparse.csr_matrix((np.ones(columns.size), (rows, columns.ravel())))
    chosen.resize(len(points), n_books * n_words)
    normal = (chosen.T @ chosen).toarray()
    normal[np.diag_indices_from(normal)] += RIDGE
    # Towards the words before: what few points chose stays near to what it was.
    wanted = chosen.T @ points + RIDGE * previous.reshape(-1, dim)
    words = scipy.linalg.solve(normal, wanted, assume_a="pos")
    return words.reshape(previous.shape).astype(np.float32)
