"""Additive quantization: code a vector as the sum of one word from each of a few codebooks.

Source: Babenko and Lempitsky, Additive Quantization for Extreme Vector Compression, CVPR 2014, including the
beam search in the encoder.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from overheard.fingerprint.frontend import FloatArray

CodeArray = npt.NDArray[np.uint8]

CODEWORDS = 256  # words per codebook, so that a word's number is one byte
BEAM = 8  # partial codes kept while encoding; 32 costs four times the time: docs/experiments.md
ENCODED_AT_ONCE = 256  # embeddings; bounds the memory of the beam to about 5 MB
DECODED_AT_ONCE = 128  # codes; their words fit into a processor's cache
GROUP_SIZE = 16  # values per group in `smallest`; must divide CODEWORDS


@dataclasses.dataclass(frozen=True)
class CodebookStage:
    """Codebooks whose chosen words, one from each, add up to an estimate.

    Attributes
    ----------
    codebooks : (code_bytes, 256, dim) float32
    """

    codebooks: FloatArray

    @functools.cached_property
    def _squares(self) -> FloatArray:
        squares: FloatArray = np.sum(self.codebooks**2, axis=2)
        return squares

    @property
    def code_bytes(self) -> int:
        """Bytes that this stage adds to a code: one per codebook."""
        return len(self.codebooks)

    def encode(self, residuals: FloatArray) -> CodeArray:
        """Return codes ``(n, code_bytes)`` uint8 of residuals ``(n, dim)`` float32, by beam search."""
        blocks = [
            self._encode_block(residuals[first : first + ENCODED_AT_ONCE])
            for first in range(0, len(residuals), ENCODED_AT_ONCE)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.code_bytes), dtype=np.uint8)

    def _encode_block(self, residuals: FloatArray) -> CodeArray:
        n, dim = residuals.shape
        remainders = residuals[:, None]  # (n, beam, dim): residual minus the words chosen so far
        errors = np.zeros((n, 1), dtype=np.float32)  # squared norms of the remainders, up to a constant
        codes = np.zeros((n, 1, self.code_bytes), dtype=np.uint8)
        for position, words in enumerate(self.codebooks):
            # |remainder - word|^2 = |remainder|^2 - 2 remainder . word + |word|^2
            extended = (remainders.reshape(-1, dim) @ (-2 * words.T)).reshape(n, -1, CODEWORDS)
            extended += self._squares[position]
            extended += errors[:, :, None]
            extended = extended.reshape(n, -1)
            kept = smallest(extended, BEAM)
            parents, chosen = kept // CODEWORDS, kept % CODEWORDS
            errors = np.take_along_axis(extended, kept, axis=1)
            remainders = np.take_along_axis(remainders, parents[:, :, None], axis=1) - words[chosen]
            codes = np.take_along_axis(codes, parents[:, :, None], axis=1)
            codes[:, :, position] = chosen
        best: CodeArray = codes[np.arange(n), np.argmin(errors, axis=1)]
        return best

    def decode(self, codes: CodeArray) -> FloatArray:
        """Return the estimated residuals ``(n, dim)`` float32 of codes ``(n, code_bytes)``."""
        n, width = codes.shape
        words = self.codebooks.reshape(-1, self.codebooks.shape[2])
        first_words = CODEWORDS * np.arange(width)
        residuals = np.empty((n, words.shape[1]), dtype=np.float32)
        ones = np.ones((1, width), dtype=np.float32)
        for start in range(0, n, DECODED_AT_ONCE):  # a product with ones adds faster than np.sum
            chosen = np.take(words, codes[start : start + DECODED_AT_ONCE] + first_words, axis=0)
            np.matmul(ones, chosen, out=residuals[start : start + DECODED_AT_ONCE, None])
        return residuals

    def table(self, query: FloatArray) -> FloatArray:
        """Return the products ``(code_bytes, 256)`` float32 of a query ``(dim,)`` with all words."""
        products: FloatArray = self.codebooks @ query
        return products


def smallest(values: FloatArray, n: int) -> npt.NDArray[np.int64]:
    """Return the columns ``(rows, n)`` of the `n` smallest values of each row, in any order.

    Parameters
    ----------
    values : (rows, columns) float32
        `columns` is a multiple of :data:`GROUP_SIZE` and more than ``n * GROUP_SIZE``.
    """
    # The n smallest values lie in the n groups with the smallest minima. Partitioning the minima, then those
    # groups, is faster than partitioning whole rows.
    groups = values.reshape(len(values), -1, GROUP_SIZE)
    best_groups = np.argpartition(groups.min(axis=2), n, axis=1)[:, :n]
    shortlist = np.take_along_axis(groups, best_groups[:, :, None], axis=1).reshape(len(values), -1)
    kept = np.argpartition(shortlist, n, axis=1)[:, :n]
    first_columns = np.take_along_axis(best_groups, kept // GROUP_SIZE, axis=1) * GROUP_SIZE
    columns: npt.NDArray[np.int64] = first_columns + kept % GROUP_SIZE
    return columns
