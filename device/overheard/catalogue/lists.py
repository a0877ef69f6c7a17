"""Inverted lists of a layer: its segments by cell and first code word, with the next words of their codes.

A list is short, and what a search reads of it is contiguous. With 1,024 cells and 256 words there are 262,144
lists, so that a search can choose exactly which small part of a large collection it visits.

Source: Babenko and Lempitsky, The Inverted Multi-Index, CVPR 2012 (finer lists from a second codebook).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from overheard.catalogue.layer import Layer
from overheard.fingerprint.codebooks import CODEWORDS
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of
from overheard.fingerprint.quantizer import Quantizer

RANK_STRIDE = 15  # every so many sums are a sample; odd, so that it holds all words
IntArray = npt.NDArray[np.int64]
N_SCANNED_WORDS = 8  # of each code, after the first, that are read for all segments that a query visits
N_REFINING_WORDS = 4  # after these, that are read for the best of them
LENGTH_STEP = 1 / 128  # of the stored lengths, which are below 2; those of the model's codes are 0.7 to 1.5
LISTS_LENGTH_POWER = 1.5  # chosen by trials of 0 to 2, docs/experiments.md
LengthArray = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Lists:
    """The inverted lists of one layer, in memory or mapped from a file.

    Attributes
    ----------
    bounds : (n_cells * 256 + 1,) uint32
        List number ``cell * 256 + word`` has the rows ``bounds[number]`` to ``bounds[number + 1] - 1``.
    segments : (n,) uint32
        Segment of the layer in each row; ascending within a list.
    words : (n, at most N_SCANNED_WORDS) uint8
        The words of each row's code after the first.
    more_words : (n, at most N_REFINING_WORDS) uint8
        The words after these.
    measure : callable
        Returns :attr:`lengths`; called when they are needed.
    """

    bounds: npt.NDArray[np.uint32]
    segments: npt.NDArray[np.uint32]
    words: npt.NDArray[np.uint8]
    more_words: npt.NDArray[np.uint8]
    measure: Callable[[], LengthArray]

    @functools.cached_property
    def lengths(self) -> LengthArray:
        """Lengths ``(n,)`` of the sums of cell, first word and :attr:`words`, in steps of LENGTH_STEP."""
        return self.measure()

    def sizes(self, numbers: IntArray, width: int = 1) -> IntArray:
        """Return how many segments are in ``width`` lists from each of these numbers on."""
        sizes: IntArray = self.bounds[numbers + width].astype(np.int64) - self.bounds[numbers]
        return sizes

    def scanned_words(self, rows: IntArray) -> npt.NDArray[np.uint8]:
        """Return :attr:`words` of these rows."""
        if self.words.shape[1] != N_SCANNED_WORDS:
            return self.words.take(rows, axis=0)
        whole = self.words.view(np.uint64)  # takes a third of the time
        return whole.take(rows, axis=0).view(np.uint8).reshape(-1, N_SCANNED_WORDS)

    def rows(self, numbers: IntArray, sizes: IntArray) -> IntArray:
        """Return the rows of ranges of lists: their first numbers, and their sizes by :meth:`sizes`."""
        ends = np.cumsum(sizes)
        starts = self.bounds[numbers].astype(np.int64)
        rows: IntArray = np.arange(int(sizes.sum())) + np.repeat(starts - (ends - sizes), sizes)
        return rows


def list_numbers(
    packed_cells: npt.NDArray[np.uint16], codes: npt.NDArray[np.uint8], n_cells: int
) -> npt.NDArray[np.uint32]:
    """Return the list ``(n,)`` of each segment, from packed cells ``(n,)`` and codes ``(n, words)``."""
    return cells_of(packed_cells, n_cells).astype(np.uint32) * np.uint32(CODEWORDS) + codes[:, 0]


def sorted_order(numbers: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Return the stable order ``(n,)`` of 32-bit numbers; NumPy sorts 16 bits at a time fastest, by radix."""
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    high = (numbers >> np.uint32(16)).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")]


def encoded_lengths(
    quantizer: Quantizer, numbers: npt.NDArray[np.uint32], codes: npt.NDArray[np.uint8]
) -> LengthArray:
    """Return :attr:`Lists.lengths` of segments from their lists ``(n,)`` and codes ``(n, words)``."""
    cells = (numbers // CODEWORDS).astype(np.uint16)
    steps = np.rint(quantizer.lengths(cells, codes[:, : 1 + N_SCANNED_WORDS]) / LENGTH_STEP)
    lengths: LengthArray = np.clip(steps, 1, 255).astype(np.uint8)
    return lengths


def build_lists(layer: Layer, quantizer: Quantizer) -> Lists:
    """Sort the segments of a small layer into lists, in memory."""
    n_cells = len(quantizer.cells)
    packed_cells, codes = layer.read(0, layer.n_segments)
    if not layer.n_segments:
        codes = np.zeros((0, 1), dtype=np.uint8)
    numbers = list_numbers(packed_cells, codes, n_cells)
    order = sorted_order(numbers)
    bounds = np.zeros(n_cells * CODEWORDS + 1, dtype=np.uint32)
    np.cumsum(np.bincount(numbers, minlength=n_cells * CODEWORDS), out=bounds[1:])
    words, more_words = (
        np.ascontiguousarray(codes[order, first:end]) for first, end in word_ranges(codes.shape[1])
    )

    def measure() -> LengthArray:
        return encoded_lengths(quantizer, numbers[order], codes[order])

    return Lists(bounds, order.astype(np.uint32), words, more_words, measure)


def word_ranges(code_bytes: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return first and end of the words of a code that lists hold: to be scanned, and to refine."""
    ends = (1 + N_SCANNED_WORDS, 1 + N_SCANNED_WORDS + N_REFINING_WORDS)
    first, second = (min(end, max(1, code_bytes)) for end in ends)
    return (1, first), (first, second)


@functools.lru_cache(maxsize=2)  # models
def list_factors(quantizer: Quantizer) -> FloatArray:
    """Return what to multiply the similarity of each list by to rank it, ``(n_cells, 256)`` float32.

    The sum of a cell's centroid and a word is longest near the dense middle of the model's music, where many
    lists are similar to any query.
    """
    words = np.arange(CODEWORDS, dtype=np.uint8)[:, None]
    cells = np.arange(len(quantizer.cells), dtype=np.uint16)
    lengths = quantizer.lengths(np.repeat(cells, CODEWORDS), np.tile(words, (len(cells), 1)))
    factors: FloatArray = np.maximum(lengths, np.float32(LENGTH_STEP)) ** np.float32(-LISTS_LENGTH_POWER)
    return factors.reshape(len(cells), CODEWORDS)


def best_lists(
    cells: IntArray, cell_products: FloatArray, word_products: FloatArray, n: int, factors: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Return about the `n` best lists of some cells, best first, and their similarities.

    Parameters
    ----------
    cells : (c,) int64
    cell_products : (c,) float32
        Products of the query with the cells' centroids.
    word_products : (256,) float32
        Its products with the words of the first codebook.
    n : how many lists; all if the cells have fewer
    factors : (n_cells, 256) float32
        What the similarities are multiplied by to rank the lists, see :func:`list_factors`.
    """
    sums = cell_products[:, None] + word_products
    ranks, sums = (sums * factors[cells]).ravel(), sums.ravel()
    sample = ranks[::RANK_STRIDE]
    n_sampled = n // RANK_STRIDE
    if n_sampled < len(sample):  # a sample's quantile takes a fifth of the time of an exact one
        limit = np.partition(sample, len(sample) - n_sampled - 1)[len(sample) - n_sampled - 1]
        chosen = np.flatnonzero(ranks >= limit)
    else:
        chosen = np.arange(len(ranks))
    chosen = chosen[np.argsort(-ranks[chosen])]
    return cells[chosen // CODEWORDS] * CODEWORDS + chosen % CODEWORDS, sums[chosen]
