"""Embeddings to a few bytes and back: a coarse cell, and product-quantized residuals in stages.

The quantizer belongs to the model, not to a pack: every pack of one model speaks the same codes, packs can be
joined, and none carries tables of its own. A code's first stage is a code by itself: a compact pack holds no
more. Source: Jegou et al., Product Quantization for Nearest Neighbor Search, PAMI 2011 (IVFADC); the rotation
is Ge et al., Optimized Product Quantization, PAMI 2014; stages are Juang and Gray, Multiple Stage Vector
Quantization for Speech Coding, ICASSP 1982.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import zipfile

import numpy as np
import numpy.typing as npt
from annoy import AnnoyIndex

from overheard.errors import ModelError

FloatArray = npt.NDArray[np.float32]
CODEWORDS = 256  # a part's code is one byte
ANNOY_TREES = 10
ANNOY_SEED = 1
SEARCHED_SHARE = 3  # nodes that Annoy looks at, a cell: finds 98% of the true nearest in 0.15 ms


@dataclasses.dataclass(frozen=True)
class Stage:
    """A product quantizer of what the stages before it leave of an embedding.

    Attributes
    ----------
    rotation : (dim, parts * width) float32
        Orthonormal rows; spreads the residual evenly over the parts. Where the parts do not divide the
        dimensions evenly, some of them leave their last column at zero.
    codebooks : (parts, 256, width) float32
        Code words of each part of the rotated residual.
    """

    rotation: FloatArray
    codebooks: FloatArray

    @functools.cached_property
    def _squares(self) -> FloatArray:
        squares: FloatArray = np.sum(self.codebooks**2, axis=2)
        return squares

    @property
    def code_bytes(self) -> int:
        """Bytes that it adds to a code."""
        return len(self.codebooks)

    def encode(self, residuals: FloatArray) -> npt.NDArray[np.uint8]:
        """Return the codes ``(n, parts)`` of residuals ``(n, dim)``."""
        parts = (residuals @ self.rotation).reshape(len(residuals), self.code_bytes, -1)
        codes = np.empty((len(residuals), self.code_bytes), dtype=np.uint8)
        for part, words in enumerate(self.codebooks):
            codes[:, part] = np.argmin(self._squares[part] - 2 * (parts[:, part] @ words.T), axis=1)
        return codes

    def decode(self, codes: npt.NDArray[np.uint8]) -> FloatArray:
        """Return the residuals ``(n, dim)`` that codes ``(n, parts)`` stand for."""
        words = self.codebooks[np.arange(self.code_bytes), codes]  # (n, parts, width)
        residuals: FloatArray = words.reshape(len(codes), -1) @ self.rotation.T
        return residuals

    def table(self, query: FloatArray) -> FloatArray:
        """Return the products of a query ``(dim,)`` with all code words, ``(parts, 256)``."""
        parts = (query @ self.rotation).reshape(self.code_bytes, -1, 1)
        products: FloatArray = (self.codebooks @ parts)[..., 0]
        return products


class Quantizer:
    """Encode, decode and find the nearest cells.

    Parameters
    ----------
    cells : (n_cells, dim) float32
        Coarse centroids.
    stages : one or more
        Each codes what the cell and the stages before it leave.

    Attributes
    ----------
    widths : the lengths that a code may have, in bytes: of the first stage, the first two, and so on
    code_bytes : the longest of them
    """

    def __init__(self, cells: FloatArray, *stages: Stage) -> None:
        dim = cells.shape[1]
        for stage in stages:
            parts, words, width = stage.codebooks.shape
            if words != CODEWORDS or stage.rotation.shape != (dim, parts * width):
                raise ModelError("the model's quantizer tables do not fit together: install overheard anew")
        if not stages or len(cells) > 65536:
            raise ModelError("the model's quantizer tables are incomplete: install overheard anew")
        self.cells = np.ascontiguousarray(cells, dtype=np.float32)
        self.stages, self.dim = stages, dim
        self.widths = tuple(int(n) for n in np.cumsum([stage.code_bytes for stage in stages]))
        self.code_bytes = self.widths[-1]
        self._squares = np.sum(self.cells**2, axis=1)
        self._index: AnnoyIndex | None = None

    def encode(
        self, embeddings: FloatArray, code_bytes: int | None = None
    ) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return the cell ``(n,)`` and the code ``(n, code_bytes)`` of each embedding ``(n, dim)``.

        Parameters
        ----------
        code_bytes : one of :attr:`widths`; the longest where None
        """
        embeddings = np.asarray(embeddings, dtype=np.float32)
        nearest = np.argmin(self._squares - 2 * (embeddings @ self.cells.T), axis=1)
        residuals = embeddings - self.cells[nearest]
        codes = []
        for stage in self._stages_of(code_bytes or self.code_bytes):
            codes.append(stage.encode(residuals))
            residuals = residuals - stage.decode(codes[-1])
        return nearest.astype(np.uint16), np.concatenate(codes, axis=1)

    def decode(self, cells: npt.NDArray[np.uint16], codes: npt.NDArray[np.uint8]) -> FloatArray:
        """Return unit-norm approximations of the embeddings, ``(n, dim)`` float32."""
        vectors = self.cells[cells].copy()
        first = 0
        for stage in self._stages_of(codes.shape[1]):
            vectors += stage.decode(codes[:, first : first + stage.code_bytes])
            first += stage.code_bytes
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + np.float32(1e-9)
        return vectors

    def table(self, query: FloatArray) -> FloatArray:
        """Return the products of a query ``(dim,)`` with the code words, ``(code_bytes, 256)``."""
        return np.concatenate([stage.table(query) for stage in self.stages])

    def _stages_of(self, code_bytes: int) -> tuple[Stage, ...]:
        if code_bytes not in self.widths:
            raise ModelError(
                f"codes of {code_bytes} bytes are not this model's ({', '.join(map(str, self.widths))})"
            )
        return self.stages[: self.widths.index(code_bytes) + 1]

    def nearest_cells(self, embedding: FloatArray, n: int) -> npt.NDArray[np.int64]:
        """Return the ``n`` nearest cells of one embedding ``(dim,)``, nearest first, by Annoy."""
        if self._index is None:
            self._index = self._build_index()
        return np.asarray(
            self._index.get_nns_by_vector(embedding, n, SEARCHED_SHARE * len(self.cells)), dtype=np.int64
        )

    def _build_index(self) -> AnnoyIndex:
        # Built at start, in milliseconds, rather than stored: an Annoy file has no checksum or version.
        index = AnnoyIndex(self.dim, "euclidean")
        index.set_seed(ANNOY_SEED)
        for number, cell in enumerate(self.cells):
            index.add_item(number, cell)
        index.build(ANNOY_TREES, n_jobs=1)
        return index

    def to_bytes(self) -> bytes:
        """Return the tables as an ``.npz``; cells as float16, which is finer than a code can tell."""
        buffer = io.BytesIO()
        tables = {"cells": self.cells.astype(np.float16)}
        for number, stage in enumerate(self.stages):
            tables[f"rotation_{number}"] = stage.rotation.astype(np.float32)
            tables[f"codebooks_{number}"] = stage.codebooks.astype(np.float16)
        np.savez_compressed(buffer, **tables)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Quantizer:
        """Read :meth:`to_bytes`; raise ModelError where it is something else."""
        try:
            with np.load(io.BytesIO(stored), allow_pickle=False) as tables:
                stages = [
                    Stage(
                        *(tables[f"{name}_{number}"].astype(np.float32) for name in ("rotation", "codebooks"))
                    )
                    for number in range((len(tables.files) - 1) // 2)
                ]
                return cls(tables["cells"].astype(np.float32), *stages)
        except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise ModelError(
                f"the model's quantizer is unreadable ({error}): install overheard anew"
            ) from error
