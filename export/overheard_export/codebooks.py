"""Fits a model's quantizer: coarse cells, codebooks for what they leave, and what neighbours tell."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import scipy.sparse
from scipy.sparse.linalg import LinearOperator, lsmr

from overheard.fingerprint.codebooks import CODEWORDS, CodebookStage
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.neighbourhood import Neighbourhood
from overheard.fingerprint.quantizer import Quantizer
from overheard_export.threads import map_on_every_core

FITTED_ON = 60_000  # embeddings a round
ROUNDS = 8
RIDGE = 1.0  # embeddings that what is known before counts for
REFINED = 6  # rounds of choosing codes for a neighbourhood, and fitting words and it to them
WORDS_RIDGE = 5.0  # the same as RIDGE, for words that are fitted to a neighbourhood
STEPS = 40  # of the least squares of words: near enough


def kmeans(points: FloatArray, k: int, rng: np.random.Generator, iterations: int = 20) -> FloatArray:
    """Lloyd's algorithm in blocks; empty clusters are refilled from random points. Returns ``(k, d)``."""
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
    stages: list[CodebookStage] = []
    neighbourhoods: list[Neighbourhood] = []
    for code_bytes in stage_bytes:
        if stages:
            residuals = residuals - stages[-1].decode(_encode(stages[-1], residuals))
        stages.append(_train_stage(residuals, code_bytes, rng))
        stages[-1], found = _refine(cells, stages, neighbourhoods, tracks, rng)
        neighbourhoods.append(found)
    return Quantizer(cells, *stages, neighbourhoods=neighbourhoods)


def _refine(
    cells: FloatArray,
    stages: Sequence[CodebookStage],
    neighbourhoods: Sequence[Neighbourhood],
    tracks: Sequence[FloatArray],
    rng: np.random.Generator,
) -> tuple[CodebookStage, Neighbourhood]:
    """Fit a neighbourhood to codes of all stages, then codes, words of the last and neighbourhood by turns.

    Parameters
    ----------
    neighbourhoods : of the shorter codes
    """

    def quantizer(last: CodebookStage, neighbourhood: Neighbourhood) -> Quantizer:
        together = [*neighbourhoods, neighbourhood]
        return Quantizer(cells, *stages[:-1], last, neighbourhoods=together)

    last, found = stages[-1], Neighbourhood.none(cells.shape[1])
    for number in range(1 + REFINED):
        sample = _some_tracks(tracks, rng)  # another one each time, lest words know theirs by heart
        fitted = quantizer(last, found)
        coded = map_on_every_core(fitted.encode_track if number else fitted.encode, sample)
        found = _fit_neighbourhood(fitted, sample, coded)
        if number:
            last = _refit_words(quantizer(last, found), sample, coded)
            found = _fit_neighbourhood(quantizer(last, found), sample, coded)
    return last, found


def _refit_words(
    quantizer: Quantizer, tracks: Sequence[FloatArray], coded: Sequence[tuple[np.ndarray, np.ndarray]]
) -> CodebookStage:
    """Return the last stage with the words whose neighbourhoods' estimates are nearest to the tracks."""
    last, near = quantizer.stages[-1], quantizer.neighbourhoods[-1]
    chosen = last.chosen(np.concatenate([codes[:, -last.code_bytes :] for _, codes in coded]))
    matrices = (near.before, near.itself, near.after, near.missing @ near.before, near.missing @ near.after)
    shifts = _shifts([len(track) for track in tracks])
    terms = [(shift @ chosen, matrix) for shift, matrix in zip(shifts, matrices, strict=True)]
    shape = (last.code_bytes * CODEWORDS, quantizer.dim)

    def estimates(words: np.ndarray) -> np.ndarray:
        words = words.reshape(shape).astype(np.float32)
        return sum(each @ (words @ matrix) for each, matrix in terms).ravel().astype(np.float64)

    def gradient(errors: np.ndarray) -> np.ndarray:
        errors = errors.reshape(-1, quantizer.dim).astype(np.float32)
        return sum((each.T @ errors) @ matrix.T for each, matrix in terms).ravel().astype(np.float64)

    linear = LinearOperator((chosen.shape[0] * quantizer.dim, np.prod(shape)), estimates, gradient)
    errors = [
        track - near.track_estimates(quantizer.sums(*codes))
        for track, codes in zip(tracks, coded, strict=True)
    ]
    wanted = np.concatenate(errors).ravel().astype(np.float64)
    change = lsmr(linear, wanted, damp=WORDS_RIDGE**0.5, maxiter=STEPS)[0]
    return CodebookStage(last.codebooks + change.reshape(last.codebooks.shape).astype(np.float32))


def _shifts(lengths: Sequence[int]) -> list[scipy.sparse.csr_matrix]:
    """Return matrices from tracks' rows to those before, themselves, those after, firsts and lasts."""
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


def _train_stage(residuals: FloatArray, code_bytes: int, rng: np.random.Generator) -> CodebookStage:
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
        codebooks = _fit_words(sample, _encode(CodebookStage(codebooks), sample), codebooks)
    return CodebookStage(codebooks)


def _encode(stage: CodebookStage, residuals: FloatArray) -> np.ndarray:
    shares = np.array_split(residuals, os.cpu_count() or 1)
    return np.concatenate(map_on_every_core(stage.encode, shares))


def _sample(points: FloatArray, rng: np.random.Generator) -> FloatArray:
    return points[rng.permutation(len(points))[:FITTED_ON]]


def _fit_words(points: FloatArray, codes: np.ndarray, previous: FloatArray) -> FloatArray:
    """Return the words ``(n, 256, dim)`` whose sums by these codes are nearest to the points."""
    chosen = CodebookStage(previous).chosen(codes).astype(np.float64)
    normal = (chosen.T @ chosen).toarray()
    normal[np.diag_indices_from(normal)] += RIDGE
    # Towards the words before: what few points chose stays near to what it was.
    wanted = chosen.T @ points + RIDGE * previous.reshape(normal.shape[0], -1)
    words = scipy.linalg.solve(normal, wanted, assume_a="pos")
    return words.reshape(previous.shape).astype(np.float32)
