"""Fit a model's quantizer: coarse cells, codebooks for the residuals, and the neighbourhoods."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, lsmr

from overheard.fingerprint.codebooks import CODEWORDS, CodebookStage
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.neighbourhood import Neighbourhood
from overheard.fingerprint.quantizer import Quantizer
from overheard_export.threads import map_on_every_core

Floats = npt.NDArray[np.float64]

FITTED_ON = 60_000  # embeddings per round, which bounds time and memory
ROUNDS = 8  # of encoding and fitting codewords
RIDGE = 1.0  # weight of the prior, in embeddings
REFINED = 6  # rounds of encoding with a neighbourhood, and fitting codewords and neighbourhood
WORDS_RIDGE = 5.0  # weight of the prior for codewords that are fitted with a neighbourhood, in embeddings
STEPS = 40  # iterations of the least squares for codewords


def kmeans(points: FloatArray, k: int, rng: np.random.Generator, iterations: int = 20) -> FloatArray:
    """Return ``(k, d)`` centres by Lloyd's algorithm; random points replace the centres of empty clusters."""
    centres = points[rng.choice(len(points), k, replace=len(points) < k)].copy()
    for _ in range(iterations):
        nearest = _assign(points, centres)
        counts = np.bincount(nearest, minlength=k)
        order = np.argsort(nearest, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(counts)])[:-1]
        filled = counts > 0
        sums = np.add.reduceat(points[order], bounds[filled], axis=0)
        centres[filled] = sums / counts[filled, None].astype(np.float32)
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
    """Fit the cells, stages of codebooks for their residuals, and a neighbourhood for each length of code.

    Parameters
    ----------
    tracks : unit-norm embeddings ``(n, dim)`` of each training track in time order, one per hop
    n_cells : number of cells
    stage_bytes : bytes that each stage adds to a code
    seed : of the samples and the initial centres
    """
    rng = np.random.default_rng(seed)
    embeddings = np.concatenate(list(tracks))
    cells = kmeans(embeddings, n_cells, rng)
    residuals = embeddings - cells[_assign(embeddings, cells)]
    stages: list[CodebookStage] = []
    neighbourhoods: list[Neighbourhood] = []
    for code_bytes in stage_bytes:
        if stages:
            residuals = residuals - stages[-1].decode(_encode(stages[-1], residuals))
        stages.append(_train_stage(residuals, code_bytes, rng))
        stages[-1], neighbourhood = _refine(cells, stages, neighbourhoods, tracks, rng)
        neighbourhoods.append(neighbourhood)
    return Quantizer(cells, *stages, neighbourhoods=neighbourhoods)


def _refine(
    cells: FloatArray,
    stages: Sequence[CodebookStage],
    neighbourhoods: Sequence[Neighbourhood],
    tracks: Sequence[FloatArray],
    rng: np.random.Generator,
) -> tuple[CodebookStage, Neighbourhood]:
    """Fit a neighbourhood, then alternately the codes, the last stage's codewords and the neighbourhood.

    Parameters
    ----------
    neighbourhoods : of the shorter codes
    """

    def quantizer(last: CodebookStage, longest: Neighbourhood) -> Quantizer:
        return Quantizer(cells, *stages[:-1], last, neighbourhoods=[*neighbourhoods, longest])

    last, neighbourhood = stages[-1], Neighbourhood.none(cells.shape[1])
    for number in range(1 + REFINED):
        sample = _some_tracks(tracks, rng)  # a new sample in each round prevents overfitting
        fitted = quantizer(last, neighbourhood)
        coded = map_on_every_core(fitted.encode_track if number else fitted.encode, sample)
        neighbourhood = _fit_neighbourhood(fitted, sample, coded)
        if number:
            last = _refit_words(quantizer(last, neighbourhood), sample, coded)
            neighbourhood = _fit_neighbourhood(quantizer(last, neighbourhood), sample, coded)
    return last, neighbourhood


def _refit_words(
    quantizer: Quantizer, tracks: Sequence[FloatArray], coded: Sequence[tuple[np.ndarray, np.ndarray]]
) -> CodebookStage:
    """Return the last stage with the codewords that minimize the error of the neighbourhood's estimates."""
    last, near = quantizer.stages[-1], quantizer.neighbourhoods[-1]
    chosen = _chosen_words(np.concatenate([codes[:, -last.code_bytes :] for _, codes in coded]))
    matrices = (near.before, near.itself, near.after, near.missing @ near.before, near.missing @ near.after)
    shifts = _shifts([len(track) for track in tracks])
    terms = [(shift @ chosen, matrix) for shift, matrix in zip(shifts, matrices, strict=True)]
    shape = (last.code_bytes * CODEWORDS, quantizer.dim)

    def estimates(flat: Floats) -> Floats:
        words = flat.reshape(shape).astype(np.float32)
        summed: FloatArray = sum(each @ (words @ matrix) for each, matrix in terms)
        return summed.ravel().astype(np.float64)

    def gradient(flat: Floats) -> Floats:
        errors = flat.reshape(-1, quantizer.dim).astype(np.float32)
        summed: FloatArray = sum((each.T @ errors) @ matrix.T for each, matrix in terms)
        return summed.ravel().astype(np.float64)

    linear = LinearOperator((chosen.shape[0] * quantizer.dim, np.prod(shape)), estimates, gradient)
    errors = [
        track - near.track_estimates(quantizer.sums(*codes))
        for track, codes in zip(tracks, coded, strict=True)
    ]
    target = np.concatenate(errors).ravel().astype(np.float64)
    change = lsmr(linear, target, damp=WORDS_RIDGE**0.5, maxiter=STEPS)[0]
    return CodebookStage(last.codebooks + change.reshape(last.codebooks.shape).astype(np.float32))


def _shifts(lengths: Sequence[int]) -> list[scipy.sparse.csr_matrix]:
    """Return matrices that select previous rows, rows, next rows, and the first and last rows of tracks."""
    ends = np.cumsum(lengths)
    rows = np.arange(ends[-1])
    first, last = np.isin(rows, ends - lengths), np.isin(rows, ends - 1)

    def taking(which: np.ndarray, by: int) -> scipy.sparse.csr_matrix:
        ones = np.ones(np.count_nonzero(which), dtype=np.float32)
        return scipy.sparse.csr_matrix((ones, (rows[which], rows[which] + by)), shape=(len(rows),) * 2)

    everywhere = np.ones_like(first)
    return [taking(~first, -1), taking(everywhere, 0), taking(~last, 1), taking(first, 0), taking(last, 0)]


def _fit_neighbourhood(
    quantizer: Quantizer, tracks: Sequence[FloatArray], coded: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Neighbourhood:
    sums = [quantizer.sums(*codes) for codes in coded]
    inner = [(track[1:-1], each) for track, each in zip(tracks, sums, strict=True) if len(track) > 2]
    if not inner:
        return Neighbourhood.none(quantizer.dim)
    target = np.concatenate([track for track, _ in inner])
    given = np.concatenate([np.hstack([each[:-2], each[1:-1], each[2:]]) for _, each in inner])
    # One estimate serves for the segment before a track's first and for the one after its last.
    known = np.concatenate([*(each[1:] for each in sums), *(each[:-1] for each in sums)])
    unknown = np.concatenate([*(each[:-1] for each in sums), *(each[1:] for each in sums)])
    dim = target.shape[1]
    solution = _least_squares(np.hstack([given, np.ones((len(given), 1), dtype=np.float32)]), target)
    before, itself, after, bias = np.split(solution, [dim, 2 * dim, 3 * dim])
    return Neighbourhood(before, itself, after, _least_squares(known, unknown), bias[0])


def _least_squares(given: np.ndarray, target: np.ndarray) -> FloatArray:
    """Return the matrix ``(d, dim)`` that maps rows ``(n, d)`` closest to the target rows ``(n, dim)``."""
    normal = given.T @ given
    normal[np.diag_indices_from(normal)] += RIDGE
    solution: FloatArray = scipy.linalg.solve(normal, given.T @ target, assume_a="pos").astype(np.float32)
    return solution


def _some_tracks(tracks: Sequence[FloatArray], rng: np.random.Generator) -> list[FloatArray]:
    """Return tracks in random order, up to :data:`FITTED_ON` embeddings."""
    chosen: list[FloatArray] = []
    for number in rng.permutation(len(tracks)):
        if sum(map(len, chosen)) >= FITTED_ON:
            break
        chosen.append(tracks[number])
    return chosen


def _train_stage(residuals: FloatArray, code_bytes: int, rng: np.random.Generator) -> CodebookStage:
    """Fit the codebooks one after another, then all together: alternately encode and solve least squares.

    Source: Martinez et al., Revisiting Additive Quantization, ECCV 2016. The device's beam search replaces
    its stochastic local search.
    """
    remaining = _sample(residuals, rng)
    codebooks = np.empty((code_bytes, CODEWORDS, residuals.shape[1]), dtype=np.float32)
    for words in codebooks:
        words[:] = kmeans(remaining, CODEWORDS, rng, 8)
        remaining = remaining - words[_assign(remaining, words)]
    for _ in range(ROUNDS):
        sample = _sample(residuals, rng)  # a new sample in each round prevents overfitting
        codebooks = _fit_words(sample, _encode(CodebookStage(codebooks), sample), codebooks)
    return CodebookStage(codebooks)


def _encode(stage: CodebookStage, residuals: FloatArray) -> np.ndarray:
    shares = np.array_split(residuals, os.cpu_count() or 1)
    return np.concatenate(map_on_every_core(stage.encode, shares))


def _sample(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    return points[rng.permutation(len(points))[:FITTED_ON]]


def _fit_words(points: FloatArray, codes: np.ndarray, previous: FloatArray) -> FloatArray:
    """Return the codewords ``(n, 256, dim)`` whose sums for these codes are closest to the points."""
    chosen = _chosen_words(codes).astype(np.float64)
    normal = (chosen.T @ chosen).toarray()
    normal[np.diag_indices_from(normal)] += RIDGE
    # Regularize towards the previous codewords: one that few points use stays close to its value.
    target = chosen.T @ points + RIDGE * previous.reshape(normal.shape[0], -1)
    words: Floats = scipy.linalg.solve(normal, target, assume_a="pos")
    return words.reshape(previous.shape).astype(np.float32)


def _chosen_words(codes: np.ndarray) -> scipy.sparse.csr_matrix:
    """Return a sparse 0/1 matrix ``(n, code_bytes * 256)`` of the words in codes ``(n, code_bytes)``."""
    n, width = codes.shape
    columns = codes + CODEWORDS * np.arange(width, dtype=np.int32)
    return scipy.sparse.csr_matrix(
        (np.ones(n * width, dtype=np.float32), columns.ravel(), width * np.arange(n + 1, dtype=np.int32)),
        shape=(n, width * CODEWORDS),
    )
