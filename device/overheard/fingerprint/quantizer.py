"""Embeddings to a few bytes and back: a coarse cell, and code words that add up to what it leaves, in stages.

The quantizer belongs to the model, not to a pack: every pack of one model speaks the same codes, packs can be
joined, and none carries tables of its own. A code's first stage is a code by itself: a compact pack holds no
more. Sources: Jegou et al., Product Quantization for Nearest Neighbor Search, PAMI 2011 (cells, and tables of
products); stages are Juang and Gray, Multiple Stage Vector Quantization for Speech Coding, ICASSP 1982.
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
from overheard.fingerprint.neighbourhood import APART, Neighbourhood
from overheard.fingerprint.tables import TablesError, read_tables, table

PASSES = 2  # over a track's codes, while they are chosen for each other
LENGTH_POWER = 1.5  # docs/experiments.md; 1 would be the cosine
NEIGHBOURHOOD_TABLES = {"before": 2, "itself": 2, "after": 2, "missing": 2, "bias": 1}  # dimensions
ANNOY_TREES = 10
ANNOY_SEED = 1
SEARCHED_SHARE = 3  # nodes that Annoy looks at, a cell: finds 98% of the true nearest in 0.15 ms


class Quantizer:
    """Encode, decode and find the nearest cells.

    Parameters
    ----------
    cells : (n_cells, dim) float32
        Coarse centroids.
    stages : one or more
        Each codes what the cell and the stages before it leave.
    neighbourhoods : one for each length of a code; where None, neighbours tell nothing

    Attributes
    ----------
    widths : the lengths that a code may have, in bytes: of the first stage, the first two, and so on
    code_bytes : the longest of them
    """

    def __init__(
        self, cells: FloatArray, *stages: CodebookStage, neighbourhoods: Sequence[Neighbourhood] | None = None
    ) -> None:
        dim = cells.shape[1]
        for stage in stages:
            if stage.codebooks.shape[1:] != (CODEWORDS, dim):
                raise ModelError("the model's quantizer tables have inconsistent shapes", REINSTALL)
        if not stages or len(cells) > 65536:
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
        self._joined = tuple(
            CodebookStage(words[:width]) for width in self.widths
        )  # all stages of such a code
        self.neighbourhoods = tuple(neighbourhoods or [Neighbourhood.none(dim)] * len(stages))
        if any(neighbourhood.dim != dim for neighbourhood in self.neighbourhoods):
            raise ModelError("the model's quantizer tables have inconsistent shapes", REINSTALL)
        if len(self.neighbourhoods) != len(stages):
            raise ModelError("the model's quantizer tables are incomplete", REINSTALL)
        self._squares = np.sum(self.cells**2, axis=1)
        self._index: AnnoyIndex | None = None
        self._shaped: dict[int, tuple[FloatArray, list[CodebookStage]]] = {}

    def encode_track(
        self, embeddings: FloatArray, code_bytes: int | None = None
    ) -> tuple[npt.NDArray[np.uint16], CodeArray]:
        """Return cells ``(n,)`` and codes of a track's embeddings ``(n, dim)``, one per hop, in time order.

        Codes are chosen for the estimates that they and their neighbours make together: every third code,
        then those beside them, by the sums that would serve best; and once more. Cells are the embeddings'
        own, where a search looks for them.
        """
        width = code_bytes or self.code_bytes
        embeddings = np.asarray(embeddings, dtype=np.float32)
        cells, codes = self.encode(embeddings, width)
        neighbourhood, (shape, shaped) = self._neighbourhood_of(width), self._shaped_for(width)
        own = self.cells[cells]
        for first in PASSES * list(range(min(APART, len(cells)))):
            wanted = neighbourhood.wanted_sums(embeddings, self.sums(cells, codes))
            residuals = (wanted - own)[first::APART] @ shape
            codes[first::APART] = _encode(residuals.astype(np.float32, copy=False), shaped)
        return cells, codes

    def _shaped_for(self, code_bytes: int) -> tuple[FloatArray, list[CodebookStage]]:
        """Return a matrix after which distances of sums are what they spoil of estimates, and its stages."""
        if code_bytes not in self._shaped:
            shape = np.linalg.cholesky(self._neighbourhood_of(code_bytes).metric)
            stages = [CodebookStage(stage.codebooks @ shape) for stage in self._stages_of(code_bytes)]
            self._shaped[code_bytes] = shape, stages
        return self._shaped[code_bytes]

    def encode(
        self, embeddings: FloatArray, code_bytes: int | None = None
    ) -> tuple[npt.NDArray[np.uint16], CodeArray]:
        """Return the cell ``(n,)`` and the code ``(n, code_bytes)`` of each embedding ``(n, dim)`` by itself.

        Parameters
        ----------
        code_bytes : one of :attr:`widths`; the longest where None
        """
        embeddings = np.asarray(embeddings, dtype=np.float32)
        nearest = np.argmin(self._squares - 2 * (embeddings @ self.cells.T), axis=1)
        codes = _encode(embeddings - self.cells[nearest], self._stages_of(code_bytes or self.code_bytes))
        return nearest.astype(np.uint16), codes

    def decode(self, cells: npt.NDArray[np.uint16], codes: CodeArray) -> FloatArray:
        """Return unit-norm estimates ``(n, dim)`` of embeddings that :meth:`encode` coded, each by itself."""
        return _scaled(self._neighbourhood_of(codes.shape[1]).estimates(self.sums(cells, codes)), 1.0)

    def decode_track(self, cells: npt.NDArray[np.uint16], codes: CodeArray) -> FloatArray:
        """Return unit-norm estimates ``(n, dim)`` of a track's embeddings that :meth:`encode_track` coded."""
        return _scaled(self._neighbourhood_of(codes.shape[1]).track_estimates(self.sums(cells, codes)), 1.0)

    def scoring_vectors(
        self,
        cells: npt.NDArray[np.uint16],
        codes: CodeArray,
        before: npt.NDArray[np.int64] | None = None,
        after: npt.NDArray[np.int64] | None = None,
        chosen: npt.NDArray[np.int64] | slice = slice(None),
    ) -> FloatArray:
        """Return the vectors ``(m, dim)`` whose products with a query are its similarities to chosen codes.

        They are the estimates over their length to the power of :data:`LENGTH_POWER`: an estimate is long
        where the model's music is dense, and there anything is near.

        Parameters
        ----------
        before, after : (m,) where the chosen codes' neighbours are, -1 where there is none; all are alone
            where None
        chosen : (m,) of the codes given; all where left out
        """
        sums, neighbourhood = self.sums(cells, codes), self._neighbourhood_of(codes.shape[1])
        if before is None or after is None:
            return _scaled(neighbourhood.estimates(sums[chosen]), LENGTH_POWER)
        own, sides = sums[chosen], (sums[before], sums[after])
        for side, numbers in zip(sides, (before, after), strict=True):
            lacking = numbers < 0
            side[lacking] = own[lacking] @ neighbourhood.missing
        return _scaled(neighbourhood.estimates(own, *sides), LENGTH_POWER)

    def sums(self, cells: npt.NDArray[np.uint16], codes: CodeArray) -> FloatArray:
        """Return what codes stand for without their neighbours, ``(n, dim)``: the sums of cells and words."""
        vectors = self.cells[cells]
        vectors += self._joined[self._number_of(codes.shape[1])].decode(codes)
        return vectors

    def table(self, query: FloatArray) -> FloatArray:
        """Return the products of a query ``(dim,)`` with the code words, ``(code_bytes, 256)``."""
        return self._joined[-1].table(query)

    def _stages_of(self, code_bytes: int) -> tuple[CodebookStage, ...]:
        return self.stages[: self._number_of(code_bytes) + 1]

    def _neighbourhood_of(self, code_bytes: int) -> Neighbourhood:
        return self.neighbourhoods[self._number_of(code_bytes)]

    def _number_of(self, code_bytes: int) -> int:
        if code_bytes not in self.widths:
            raise ModelError(
                f"codes of {code_bytes} bytes are not this model's ({', '.join(map(str, self.widths))})"
            )
        return self.widths.index(code_bytes)

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
            tables[f"codebooks_{number}"] = stage.codebooks.astype(np.float16)
        for number, neighbourhood in enumerate(self.neighbourhoods):
            for name, matrix in vars(neighbourhood).items():
                tables[f"{name}_{number}"] = matrix.astype(np.float16)
        np.savez_compressed(buffer, **tables)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Quantizer:
        """Read :meth:`to_bytes`; raise ModelError where it is something else."""
        try:
            tables = read_tables(stored)
            cells = _floats(tables, "cells", 2)
            stages: list[CodebookStage] = []
            neighbourhoods: list[Neighbourhood] = []
            while f"codebooks_{len(stages)}" in tables:
                i = len(stages)
                stages.append(CodebookStage(_floats(tables, f"codebooks_{i}", 3)))
                neighbourhoods.append(
                    Neighbourhood(
                        *(
                            _floats(tables, f"{name}_{i}", n_dims)
                            for name, n_dims in NEIGHBOURHOOD_TABLES.items()
                        )
                    )
                )
        except TablesError as error:
            raise ModelError(f"the model's quantizer is unreadable ({error})", REINSTALL) from error
        return cls(cells, *stages, neighbourhoods=neighbourhoods)


def _encode(residuals: FloatArray, stages: Sequence[CodebookStage]) -> CodeArray:
    """Return the codes ``(n, code_bytes)`` of residuals ``(n, dim)``, stage by stage of what is left."""
    codes = []
    for stage in stages:
        codes.append(stage.encode(residuals))
        residuals = residuals - stage.decode(codes[-1])
    return np.concatenate(codes, axis=1)


def _scaled(vectors: FloatArray, power: float) -> FloatArray:
    """Divide vectors ``(n, dim)`` by their length to a power, in place."""
    vectors /= (np.linalg.norm(vectors, axis=1, keepdims=True) + np.float32(1e-9)) ** power
    return vectors


def _floats(tables: dict[str, npt.NDArray[Any]], name: str, n_dims: int) -> FloatArray:
    return table(tables, name, n_dims).astype(np.float32)
