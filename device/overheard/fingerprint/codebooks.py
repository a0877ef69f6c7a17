"""One stage of a code: words of full length, one from each of a few codebooks, that add up.

Source: Babenko and Lempitsky, Additive Quantization for Extreme Vector Compression, CVPR 2014, with the beam
that finds them.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import scipy.sparse

from overheard.fingerprint.frontend import FloatArray

CodeArray = npt.NDArray[np.uint8]
WideCodeArray = npt.NDArray[np.uint16]  # where a number may say that there is no word

CODEWORDS = 256  # the number of a word is one byte
BEAM = 8  # partial codes that are kept while an embedding is encoded
ENCODED_AT_ONCE = 256  # embeddings
GROUP = 16  # values of which only the least is looked at first; codebooks are of a multiple


@dataclasses.dataclass(frozen=True)
class CodebookStage:
    """Codebooks of which one word each is added to the others.

    Attributes
    ----------
    codebooks : (n, 256, dim) float32
    """

    codebooks: FloatArray

    @functools.cached_property
    def _squares(self) -> FloatArray:
        squares: FloatArray = np.sum(self.codebooks**2, axis=2)
        return squares

    @property
    def code_bytes(self) -> int:
        """Bytes that it adds to a code."""
        return len(self.codebooks)

    def encode(self, residuals: FloatArray) -> CodeArray:
        """Return the codes ``(n, code_bytes)`` of residuals ``(n, dim)``: the best sums that a beam finds."""
        blocks = [
            self._encode_block(residuals[first : first + ENCODED_AT_ONCE])
            for first in range(0, len(residuals), ENCODED_AT_ONCE)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.code_bytes), dtype=np.uint8)

    def _encode_block(self, residuals: FloatArray) -> CodeArray:
        n, dim = residuals.shape
        left = residuals[:, None]  # (n, beam, dim), what the words so far leave
        errors = np.zeros((n, 1), dtype=np.float32)  # their squares, but for a constant
        codes = np.zeros((n, 1, self.code_bytes), dtype=np.uint8)
        for place, words in enumerate(self.codebooks):
            grown = (left.reshape(-1, dim) @ (-2 * words.T)).reshape(n, -1, CODEWORDS)
            grown += self._squares[place]
            grown += errors[:, :, None]
            grown = grown.reshape(n, -1)
            kept = least(grown, BEAM)
            parents, chosen = kept // CODEWORDS, kept % CODEWORDS
            errors = np.take_along_axis(grown, kept, axis=1)
            left = np.take_along_axis(left, parents[:, :, None], axis=1) - words[chosen]
            codes = np.take_along_axis(codes, parents[:, :, None], axis=1)
            codes[:, :, place] = chosen
        best: CodeArray = codes[np.arange(n), np.argmin(errors, axis=1)]
        return best

    def decode(self, codes: CodeArray) -> FloatArray:
        """Return the residuals ``(n, dim)`` that codes ``(n, code_bytes)`` stand for."""
        residuals: FloatArray = self.chosen(codes) @ self.codebooks.reshape(-1, self.codebooks.shape[2])
        return residuals

    def chosen(self, codes: CodeArray) -> scipy.sparse.csr_matrix:
        """Return which of all words codes ``(n, code_bytes)`` add up, ``(n, code_bytes * 256)``."""
        # Such a matrix times the words takes half the time of one gather a codebook.
        n, width = codes.shape
        columns = codes + CODEWORDS * np.arange(width, dtype=np.int32)
        return scipy.sparse.csr_matrix(
            (np.ones(n * width, dtype=np.float32), columns.ravel(), width * np.arange(n + 1, dtype=np.int32)),
            shape=(n, width * CODEWORDS),
        )

    def table(self, query: FloatArray) -> FloatArray:
        """Return the products of a query ``(dim,)`` with all code words, ``(code_bytes, 256)``."""
        products: FloatArray = self.codebooks @ query
        return products


def least(values: FloatArray, n: int) -> npt.NDArray[np.int64]:
    """Return where the `n` least of each row are, in any order; rows are of a multiple of :data:`GROUP`."""
    # They are within the n groups whose least are least: quicker than a partition of all.
    groups = values.reshape(len(values), -1, GROUP)
    some = np.argpartition(groups.min(axis=2), n, axis=1)[:, :n]
    few = np.take_along_axis(groups, some[:, :, None], axis=1).reshape(len(values), -1)
    kept = np.argpartition(few, n, axis=1)[:, :n]
    found: npt.NDArray[np.int64] = np.take_along_axis(some, kept // GROUP, axis=1) * GROUP + kept % GROUP
    return found
