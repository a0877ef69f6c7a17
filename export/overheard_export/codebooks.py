"""Fits a model's quantizer: coarse cells, codebooks for what they leave, and what neighbours tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse

from overheard.frontend import FloatArray
from overheard.neighbourhood import Neighbourhood
from overheard.quantizer import CODEWORDS, Quantizer, Stage

FITTED_ON = 60_000  # embeddings a round
ROUNDS = 8
RIDGE = 1.0  # embeddings that what is known before counts for
NEIGHBOURHOOD_ROUNDS = 1  # of choosing codes for a neighbourhood, and fitting it to them


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
    tracks: Sequence[FloatArray], n_cells: int, stage_bytes: Sequence[int], seed: int = 0
) -> Quantizer:
    """Fit cells, stages of codebooks for what they leave, and a neighbourhood for each length of a code.

    Parameters
    ----------
    tracks : embeddings ``(n, dim)`` of each training track in time order, one per hop, unit norm
    stage_bytes : bytes that each stage adds to a code
    """
    rng = np.random.default_rng(seed)
    embeddings = np.concatenate(list(tracks))
    cells = kmeans(embeddings, n_cells, rng)
    residuals = embeddings - cells[_assign(embeddings, cells)]
    stages: list[Stage] = []
    for code_bytes in stage_bytes:
        if stages:
            residuals = residuals - stages[-1].decode(stages[-1].encode(residuals))
        stages.append(_train_stage(residuals, code_bytes, rng))
    quantizer = Quantizer(cells, *stages)
    some = _some_tracks(tracks, rng)
    neighbourhoods = [train_neighbourhood(quantizer, some, width) for width in quantizer.widths]
    return Quantizer(cells, *stages, neighbourhoods=neighbourhoods)


def train_neighbourhood(quantizer: Quantizer, tracks: Sequence[FloatArray], code_bytes: int) -> Neighbourhood:
    """Fit what codes and their neighbours' tell of embeddings, to codes that are then chosen for it.

    Parameters
    ----------
    quantizer : its cells and stages are used, its neighbourhoods not
    """
    coded = [quantizer.encode(track, code_bytes) for track in tracks]
    found = _fit_neighbourhood(quantizer, tracks, coded)
    for _ in range(NEIGHBOURHOOD_ROUNDS):
        neighbourhoods = [found] * len(quantizer.widths)
        fitted = Quantizer(quantizer.cells, *quantizer.stages, neighbourhoods=neighbourhoods)
        coded = [fitted.encode_track(track, code_bytes) for track in tracks]
        found = _fit_neighbourhood(quantizer, tracks, coded)
    return found


def _fit_neighbourhood(
    quantizer: Quantizer, tracks: Sequence[FloatArray], coded: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Neighbourhood:
    sums = [quantizer.sums(*codes) for codes in coded]
    inner = [(track[1:-1], each) for track, each in zip(tracks, sums, strict=True) if len(track) > 2]
    if not inner:
        return Neighbourhood.none(quantizer.dim)
    wanted = np.concatenate([track for track, _ in inner])
    given = np.concatenate([np.hstack([each[:-2], each[1:-1], each[2:]]) for _, each in inner])
    # Either neighbour is guessed alike: what is missing at a track's start is as much as at its end.
    known = np.concatenate([*(each[1:] for each in sums), *(each[:-1] for each in sums)])
    unknown = np.concatenate([*(each[:-1] for each in sums), *(each[1:] for each in sums)])
    dim = wanted.shape[1]
    found = _least_squares(np.hstack([given, np.ones((len(given), 1), dtype=np.float32)]), wanted)
    before, itself, after, bias = np.split(found, [dim, 2 * dim, 3 * dim])
    return Neighbourhood(before, itself, after, _least_squares(known, unknown), bias[0])


def _least_squares(given: np.ndarray, wanted: np.ndarray) -> FloatArray:
    """Return the matrix ``(d, dim)`` that takes rows ``(n, d)`` nearest to the wanted ones."""
    normal = given.T @ given
    normal[np.diag_indices_from(normal)] += RIDGE
    found: FloatArray = scipy.linalg.solve(normal, given.T @ wanted, assume_a="pos").astype(np.float32)
    return found


def _some_tracks(tracks: Sequence[FloatArray], rng: np.random.Generator) -> list[FloatArray]:
    """Return tracks in random order, until they hold :data:`FITTED_ON` embeddings."""
    chosen: list[FloatArray] = []
    for number in rng.permutation(len(tracks)):
        if sum(map(len, chosen)) >= FITTED_ON:
            break
        chosen.append(tracks[number])
    return chosen


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
