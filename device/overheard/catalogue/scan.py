"""Score the segments of lists by the first words of their codes, and keep the best."""

from __future__ import annotations

import numpy as np

from overheard.catalogue.lists import LENGTH_STEP, N_SCANNED_WORDS, IntArray, Lists
from overheard.fingerprint.codebooks import CODEWORDS, CodeArray
from overheard.fingerprint.frontend import FloatArray

SCANNED_AT_ONCE = 1 << 16  # segments; what they need fits into a processor's cache
INVERSE_LENGTHS: FloatArray = (1 / LENGTH_STEP / np.maximum(1, np.arange(256))).astype(np.float32)


class Scanner:
    """Scores segments for one query, by the cosines of the query and the sums of their first words.

    Parameters
    ----------
    table : (code_bytes, 256) float32
        Products of the query with the words.
    """

    def __init__(self, table: FloatArray) -> None:
        self._table = table
        # Two words at once take less time than one by one: 65,536 sums per pair fit into a processor's cache.
        first, second = table[1 : 1 + N_SCANNED_WORDS : 2], table[2 : 2 + N_SCANNED_WORDS : 2]
        whole = len(second) == N_SCANNED_WORDS // 2
        self._pairs = (second[:, :, None] + first[:, None]).reshape(-1, CODEWORDS**2) if whole else None

    def best(self, lists: Lists, numbers: IntArray, sums: FloatArray, n: int) -> tuple[IntArray, FloatArray]:
        """Return the rows of the `n` most similar segments of lists, and their similarities.

        Parameters
        ----------
        lists : Lists
        numbers : (m,) int64, of lists, the most promising first
        sums : (m,) float32, their similarities
        n : how many
        """
        sizes = lists.sizes(numbers)
        ends = np.cumsum(sizes)
        rows, similarities = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        first = 0
        while first < len(numbers):
            scanned = int(ends[first - 1]) if first else 0
            end = max(first + 1, int(np.searchsorted(ends, scanned + SCANNED_AT_ONCE, side="right")))
            new_rows = lists.rows(numbers[first:end], sizes[first:end])
            new = np.repeat(sums[first:end], sizes[first:end])
            self._add(new, lists, new_rows)
            new *= INVERSE_LENGTHS.take(lists.lengths.take(new_rows))
            if len(rows) == n:  # most of those in the later lists are less similar than all so far
                better = np.flatnonzero(new > similarities[-1])
                new_rows, new = new_rows[better], new[better]
            rows, similarities = top(np.concatenate([rows, new_rows]), np.concatenate([similarities, new]), n)
            first = end
        n_listed = 1 + lists.words.shape[1]
        more: FloatArray = np.zeros(len(rows), dtype=np.float32)
        add_words(more, lists.more_words.take(rows, axis=0), self._table[n_listed:])
        more *= INVERSE_LENGTHS.take(lists.lengths.take(rows))
        similarities += more
        return rows, similarities

    def _add(self, similarities: FloatArray, lists: Lists, rows: IntArray) -> None:
        """Add the products of the query and the scanned words of these rows."""
        words = lists.scanned_words(rows)
        if self._pairs is None or words.shape[1] != N_SCANNED_WORDS:
            add_words(similarities, words, self._table[1:])
            return
        for products, column in zip(self._pairs, words.view("<u2").T, strict=True):
            similarities += products.take(column)


def add_words(similarities: FloatArray, codes: CodeArray, table: FloatArray) -> None:
    """Add the products of a query and the words of codes to similarities.

    Parameters
    ----------
    similarities : (n,) float32
    codes : (n, words)
    table : (words, 256) float32, with any number of words
    """
    # Column by column takes half the time of one gather. Compact codes have fewer columns than the table.
    for products, column in zip(table, codes.T, strict=False):
        similarities += products.take(column)


def best_rows(segments: IntArray, similarities: FloatArray, n: int) -> IntArray:
    """Return the rows of the at most `n` most similar segments, most similar first.

    Copies of a recording have equal similarities. The lower segment number then comes first, so that a
    catalogue in several parts gives the same order as the whole.
    """
    rows = np.arange(len(segments))
    if len(segments) > n:
        lowest = np.partition(similarities, len(segments) - n)[len(segments) - n]
        above, equal = np.flatnonzero(similarities > lowest), np.flatnonzero(similarities == lowest)
        rows = np.concatenate([above, equal[np.argsort(segments[equal])][: n - len(above)]])
    return rows[np.lexsort((segments[rows], -similarities[rows]))]


def top(segments: IntArray, similarities: FloatArray, n: int) -> tuple[IntArray, FloatArray]:
    """Return the at most `n` most similar segments and their similarities, see :func:`best_rows`."""
    rows = best_rows(segments, similarities, n)
    return segments[rows], similarities[rows]
