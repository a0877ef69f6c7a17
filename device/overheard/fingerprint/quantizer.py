"""Compress embeddings to a coarse cell and a code of a few bytes, and decode them.

A cell is the nearest coarse centroid. The code describes the residual, in stages: each stage codes what the
stages before it leave. The first stage is a valid code by itself, and compact packs store only that. The
quantizer belongs to the model: all packs of one model use the same codes and contain no tables of their own.

Sources: Jegou et al., Product Quantization for Nearest Neighbor Search, PAMI 2011 (cells and tables of
products); Juang and Gray, Multiple Stage Vector Quantization for Speech Coding, ICASSP 1982 (stages).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from annoy import AnnoyIndex

from overheard.errors import REINSTALL, ModelError
from overheard.fingerprint.codebooks import CODEWORDS, CodeArray, CodebookStage
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.neighbourhood import UPDATE_STRIDE, Neighbourhood
from overheard.fingerprint.tables import TablesError, read_tables, table

MEASURED_AT_ONCE = 1 << 12  # codes; bounds memory, and their sums fit into a processor's cache
N_ENCODING_PASSES = 2  # over a track's codes in `encode_track`; gain in docs/experiments.md
LENGTH_POWER = 1.5  # 1 would be the cosine; chosen by trials of 1 to 2, docs/experiments.md
NEIGHBOURHOOD_TABLES = {"before": 2, "itself": 2, "after": 2, "missing": 2, "bias": 1}  # dimensions
MAX_CELLS = 1 << 16  # cell numbers have 16 bits
ANNOY_TREES = 10
ANNOY_SEED = 1
ANNOY_NODES_PER_CELL = 3  # search effort; finds 98% of the nearest cells in 0.15 ms


class Quantizer:
    """Encode and decode embeddings, and find the cells nearest to an embedding.

    Parameters
    ----------
    cells : (n_cells, dim) float32
        Coarse centroids.
    *stages : CodebookStage
        One or more. Each codes what the cell and the stages before it leave.
    neighbourhoods : sequence of Neighbourhood or None
        One per code width. If None, estimates ignore the neighbouring segments.

    Attributes
    ----------
    dim : int
        Size of an embedding.
    widths : tuple of int
        Valid code widths in bytes: the first stage, the first two stages, and so on.
    code_bytes : int
        The largest width.

    Raises
    ------
    ModelError
        If the tables are incomplete or have inconsistent shapes.
    """

    def __init__(
        self, cells: FloatArray, *stages: CodebookStage, neighbourhoods: Sequence[Neighbourhood] | None = None
    ) -> None:
        dim = cells.shape[1]
        for stage in stages:
            if stage.codebooks.shape[1:] != (CODEWORDS, dim):
                raise ModelError("the model's quantizer tables have inconsistent shapes", REINSTALL)
        if not stages or not 0 < len(cells) <= MAX_CELLS:
            raise ModelError("the model's quantizer tables are incomplete", REINSTALL)
        self.cells = np.ascontiguousarray(cells, dtype=np.float32)
        self.dim = dim
        self.widths = tuple(int(n) for n in np.cumsum([stage.code_bytes for stage in stages]))
        self.code_bytes = self.widths[-1]
        words = np.concatenate([stage.codebooks for stage in stages])
        self.stages = tuple(
            CodebookStage(words[end - stage.code_bytes : end])
            for stage, end in zip(stages, self.widths, strict=True)
        )
        self._joined = tuple(CodebookStage(words[:width]) for width in self.widths)  # one stage per width
        self.neighbourhoods = tuple(neighbourhoods or [Neighbourhood.none(dim)] * len(stages))
        if any(neighbourhood.dim != dim for neighbourhood in self.neighbourhoods):
            raise ModelError("the model's quantizer tables have inconsistent shapes", REINSTALL)
        if len(self.neighbourhoods) != len(stages):
            raise ModelError("the model's quantizer tables are incomplete", REINSTALL)
        self._squares = np.sum(self.cells**2, axis=1)
        self._index: AnnoyIndex | None = None
        self._transformed: dict[int, tuple[FloatArray, list[CodebookStage]]] = {}

    def encode_track(
        self, embeddings: FloatArray, code_bytes: int | None = None
    ) -> tuple[npt.NDArray[np.uint16], CodeArray]:
        """Encode a track so that the estimates from neighbouring codes are as exact as possible.

        The codes are first chosen separately, then improved in turns of every third code while the others
        stay fixed. The cells stay those nearest to the embeddings, because that is where a search looks for
        them.

        Parameters
        ----------
        embeddings : (n, dim) float32
            One per hop, in time order.
        code_bytes : int or None
            One of :attr:`widths`; the largest if None.

        Returns
        -------
        cells : (n,) uint16
        codes : (n, code_bytes) uint8
        """
        width = code_bytes or self.code_bytes
        embeddings = np.asarray(embeddings, dtype=np.float32)
        cells, codes = self.encode(embeddings, width)
        neighbourhood, (transform, stages) = self._neighbourhood_of(width), self._transformed_stages(width)
        centroids = self.cells[cells]
        for first in N_ENCODING_PASSES * list(range(min(UPDATE_STRIDE, len(cells)))):
            wanted = neighbourhood.wanted_sums(embeddings, self.sums(cells, codes))
            residuals = (wanted - centroids)[first::UPDATE_STRIDE] @ transform
            codes[first::UPDATE_STRIDE] = _encode(residuals.astype(np.float32, copy=False), stages)
        return cells, codes

    def _transformed_stages(self, code_bytes: int) -> tuple[FloatArray, list[CodebookStage]]:
        """Return a matrix ``(dim, dim)`` and the stages multiplied by it.

        The squared distance of two sums after the transform is the squared error that one adds to the track's
        estimates when it replaces the other.
        """
        if code_bytes not in self._transformed:
            transform = np.linalg.cholesky(self._neighbourhood_of(code_bytes).metric)
            stages = [CodebookStage(stage.codebooks @ transform) for stage in self._stages_of(code_bytes)]
            self._transformed[code_bytes] = transform, stages
        return self._transformed[code_bytes]

    def encode(
        self, embeddings: FloatArray, code_bytes: int | None = None
    ) -> tuple[npt.NDArray[np.uint16], CodeArray]:
        """Encode each embedding separately.

        Parameters
        ----------
        embeddings : (n, dim) float32
        code_bytes : int or None
            One of :attr:`widths`; the largest if None.

        Returns
        -------
        cells : (n,) uint16
        codes : (n, code_bytes) uint8
        """
        embeddings = np.asarray(embeddings, dtype=np.float32)
        nearest = np.argmin(self._squares - 2 * (embeddings @ self.cells.T), axis=1)
        codes = _encode(embeddings - self.cells[nearest], self._stages_of(code_bytes or self.code_bytes))
        return nearest.astype(np.uint16), codes

    def decode(self, cells: npt.NDArray[np.uint16], codes: CodeArray) -> FloatArray:
        """Return unit-norm estimates ``(n, dim)`` float32 of embeddings encoded by :meth:`encode`."""
        return _scaled(self._neighbourhood_of(codes.shape[1]).estimates(self.sums(cells, codes)), 1.0)

    def decode_track(self, cells: npt.NDArray[np.uint16], codes: CodeArray) -> FloatArray:
        """Return unit-norm estimates ``(n, dim)`` float32 of a track encoded by :meth:`encode_track`."""
        return _scaled(self._neighbourhood_of(codes.shape[1]).track_estimates(self.sums(cells, codes)), 1.0)

    def scoring_vectors(
        self,
        cells: npt.NDArray[np.uint16],
        codes: CodeArray,
        before: npt.NDArray[np.int64] | None = None,
        after: npt.NDArray[np.int64] | None = None,
        chosen: npt.NDArray[np.int64] | slice = slice(None),
    ) -> FloatArray:
        """Return vectors ``(m, dim)`` float32 whose products with a query are its similarities to the codes.

        A vector is the estimate divided by its length to the power of :data:`LENGTH_POWER`. Estimates are
        longest near the dense middle of the model's music, which a cosine therefore overrates.

        Parameters
        ----------
        cells : (n,) uint16
        codes : (n, code_bytes) uint8
        before, after : (m,) int64 or None
            Indices of the neighbours of the chosen codes among the given ones, -1 for a missing neighbour.
            If None, no code has neighbours.
        chosen : (m,) int64 or slice
            Indices of the codes to return vectors for; all if omitted.
        """
        sums, neighbourhood = self.sums(cells, codes), self._neighbourhood_of(codes.shape[1])
        if before is None or after is None:
            return _scaled(neighbourhood.estimates(sums[chosen]), LENGTH_POWER)
        own, sides = sums[chosen], (sums[before], sums[after])
        for side, indices in zip(sides, (before, after), strict=True):
            missing = indices < 0
            side[missing] = own[missing] @ neighbourhood.missing
        return _scaled(neighbourhood.estimates(own, *sides), LENGTH_POWER)

    def sums(self, cells: npt.NDArray[np.uint16], codes: CodeArray) -> FloatArray:
        """Return the sums ``(n, dim)`` float32 of each cell's centroid and the words of its code."""
        vectors = self.cells[cells]
        vectors += self._joined[self._width_index(codes.shape[1])].decode(codes)
        return vectors

    def lengths(self, cells: npt.NDArray[np.uint16], codes: CodeArray) -> FloatArray:
        """Return the lengths ``(n,)`` float32 of the sums of a cell's centroid and the first words of a code.

        Parameters
        ----------
        cells : (n,) uint16
        codes : (n, n_words) uint8, with any number of words
        """
        words = CodebookStage(self._joined[-1].codebooks[: codes.shape[1]])
        lengths = np.empty(len(cells), dtype=np.float32)
        for start in range(0, len(cells), MEASURED_AT_ONCE):
            some = slice(start, start + MEASURED_AT_ONCE)
            sums = self.cells[cells[some]] + words.decode(codes[some])
            lengths[some] = np.sqrt(np.einsum("ij,ij->i", sums, sums))
        return lengths

    def table(self, query: FloatArray) -> FloatArray:
        """Return the products ``(code_bytes, 256)`` float32 of a query ``(dim,)`` with all words."""
        return self._joined[-1].table(query)

    def _stages_of(self, code_bytes: int) -> tuple[CodebookStage, ...]:
        return self.stages[: self._width_index(code_bytes) + 1]

    def _neighbourhood_of(self, code_bytes: int) -> Neighbourhood:
        return self.neighbourhoods[self._width_index(code_bytes)]

    def _width_index(self, code_bytes: int) -> int:
        if code_bytes not in self.widths:
            widths = " or ".join(map(str, self.widths))
            raise ModelError(f"codes have {code_bytes} bytes; this model supports {widths}")
        return self.widths.index(code_bytes)

    def nearest_cells(self, embedding: FloatArray, n: int) -> npt.NDArray[np.int64]:
        """Return about the `n` nearest cells of one embedding ``(dim,)``, nearest first, by Annoy."""
        if self._index is None:
            self._index = self._build_index()
        n_nodes = ANNOY_NODES_PER_CELL * len(self.cells)
        return np.asarray(self._index.get_nns_by_vector(embedding, n, n_nodes), dtype=np.int64)

    def _build_index(self) -> AnnoyIndex:
        # Annoy's files have no version or checksum, so they are not stored. A build takes milliseconds.
        index = AnnoyIndex(self.dim, "euclidean")
        index.set_seed(ANNOY_SEED)
        for number, cell in enumerate(self.cells):
            index.add_item(number, cell)
        index.build(ANNOY_TREES, n_jobs=1)
        return index

    def to_bytes(self) -> bytes:
        """Return the contents of an ``.npz`` file. Tables are float16, which is more exact than any code."""
        buffer = io.BytesIO()
        tables = {"cells": self.cells.astype(np.float16)}
        for number, stage in enumerate(self.stages):
            tables[f"codebooks_{number}"] = stage.codebooks.astype(np.float16)
        for number, neighbourhood in enumerate(self.neighbourhoods):
            for name, matrix in vars(neighbourhood).items():
                tables[f"{name}_{number}"] = matrix.astype(np.float16)
        np.savez_compressed(buffer, **tables)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Quantizer:
        """Read the result of :meth:`to_bytes`. Raises ModelError if it is invalid."""
        try:
            tables = read_tables(stored)
            cells = _floats(tables, "cells", 2)
            stages: list[CodebookStage] = []
            neighbourhoods: list[Neighbourhood] = []
            while f"codebooks_{len(stages)}" in tables:
                i = len(stages)
                stages.append(CodebookStage(_floats(tables, f"codebooks_{i}", 3)))
                shapes = NEIGHBOURHOOD_TABLES.items()
                parts = [_floats(tables, f"{name}_{i}", n_dims) for name, n_dims in shapes]
                neighbourhoods.append(Neighbourhood(*parts))
        except TablesError as error:
            raise ModelError(f"the model's quantizer is invalid ({error})", REINSTALL) from error
        return cls(cells, *stages, neighbourhoods=neighbourhoods)


def _encode(residuals: FloatArray, stages: Sequence[CodebookStage]) -> CodeArray:
    """Return codes ``(n, code_bytes)`` uint8 of residuals ``(n, dim)``; each stage codes the remainder."""
    codes = []
    for stage in stages:
        codes.append(stage.encode(residuals))
        residuals = residuals - stage.decode(codes[-1])
    return np.concatenate(codes, axis=1)


def _scaled(vectors: FloatArray, power: float) -> FloatArray:
    """Divide vectors ``(n, dim)`` by their length to the power of `power`, in place."""
    vectors /= (np.linalg.norm(vectors, axis=1, keepdims=True) + np.float32(1e-9)) ** power
    return vectors


def _floats(tables: dict[str, npt.NDArray[Any]], name: str, n_dims: int) -> FloatArray:
    return table(tables, name, n_dims).astype(np.float32)
