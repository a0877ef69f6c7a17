"""Sort the segments of layers into lists: of large ones in a file that is mapped, with bounded memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from overheard.catalogue.derived import derive
from overheard.catalogue.layer import Layer
from overheard.catalogue.lists import (
    IntArray,
    Lists,
    build_lists,
    encoded_lengths,
    list_numbers,
    sorted_order,
    word_ranges,
)
from overheard.catalogue.pack_format import Layout, Part
from overheard.fingerprint.codebooks import CODEWORDS
from overheard.fingerprint.quantizer import Quantizer

PARTS = ("bounds", "segments", "words", "more_words", "lengths")
LAYOUT = Layout(b"OVERHEARD LISTS\n", "an index of lists", PARTS)
READ_AT_ONCE = 1 << 17  # segments
SORTED_AT_ONCE = 1 << 26  # bytes of the result; each such part reads the whole layer once more

# From the lists and the codes of a block of segments that begins with this number.
Values = Callable[[int, npt.NDArray[np.uint32], npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]


class CatalogueLists:
    """The lists of a catalogue's layers, made when they are needed first.

    Parameters
    ----------
    layers : each with the number of its first segment in the catalogue
    quantizer : of their model
    """

    def __init__(self, layers: Sequence[tuple[Layer, int]], quantizer: Quantizer) -> None:
        self._layers, self._quantizer = layers, quantizer

    @functools.cached_property
    def of_layers(self) -> list[tuple[Lists, int]]:
        """The lists of each layer that has segments, with the number of its first segment."""
        return [
            (lists_of(layer, self._quantizer), start) for layer, start in self._layers if layer.n_segments
        ]

    def sizes(self, numbers: IntArray, width: int = 1) -> IntArray:
        """Return how many segments are in `width` lists from each of these numbers on, in all layers."""
        sizes: IntArray = np.zeros(len(numbers), dtype=np.int64)
        for lists, _ in self.of_layers:
            sizes += lists.sizes(numbers, width)
        return sizes


def lists_of(layer: Layer, quantizer: Quantizer) -> Lists:
    """Return the lists of a layer: in memory if it is small, otherwise from its derived file."""
    if layer.in_memory or not layer.n_segments:
        return build_lists(layer, quantizer)
    n_cells = len(quantizer.cells)
    ranges = word_ranges(layer.code_bytes)
    n, widths = layer.n_segments, [end - first for first, end in ranges]
    n_bytes = [4 * (n_cells * CODEWORDS + 1), 4 * n, *(n * width for width in widths), n]
    parts = derive(
        layer.path,
        layer.manifest_digest,
        "lists",
        LAYOUT,
        {"n_cells": n_cells, "words": widths},
        lambda: _parts(layer, quantizer),
        lambda parts: (
            [len(parts[name]) for name in LAYOUT.parts] == n_bytes and _in_order(parts["bounds"], n)
        ),
    )
    words, more_words = (
        np.frombuffer(parts[name], np.uint8).reshape(n, width)
        for name, width in zip(("words", "more_words"), widths, strict=True)
    )
    bounds, segments = (np.frombuffer(parts[name], "<u4") for name in ("bounds", "segments"))
    lengths = np.frombuffer(parts["lengths"], np.uint8)
    return Lists(bounds, segments, words, more_words, lambda: lengths)


def _in_order(bounds: memoryview, n: int) -> bool:
    """Return whether the bounds of lists are in order and in range, so that reading lists cannot fail."""
    numbers = np.frombuffer(bounds, "<u4")
    return numbers[0] == 0 and numbers[-1] == n and bool((numbers[1:] >= numbers[:-1]).all())


def _parts(layer: Layer, quantizer: Quantizer) -> Mapping[str, Part]:
    """Return the parts of the derived file; their chunks are computed while they are written."""
    n, n_cells, ranges = layer.n_segments, len(quantizer.cells), word_ranges(layer.code_bytes)
    counts = np.zeros(n_cells * CODEWORDS, dtype=np.int64)
    for _, numbers, _ in _blocks(layer, n_cells):
        counts += np.bincount(numbers, minlength=len(counts))
    firsts: IntArray = np.concatenate([[0], np.cumsum(counts)])
    segments = _sorted(layer, n_cells, firsts, 4, lambda start, _, codes: _numbers_from(start, len(codes)))
    words, more_words = (
        Part(
            n * (end - first),
            _sorted(layer, n_cells, firsts, end - first, functools.partial(_words, first, end)),
        )
        for first, end in ranges
    )
    return {
        "bounds": Part.of([firsts.astype("<u4").tobytes()]),
        "segments": Part(4 * n, segments),
        "words": words,
        "more_words": more_words,
        "lengths": Part(n, _sorted(layer, n_cells, firsts, 1, functools.partial(_lengths, quantizer))),
    }


def _words(
    first: int, end: int, _start: int, _numbers: npt.NDArray[np.uint32], codes: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    return codes[:, first:end]


def _lengths(
    quantizer: Quantizer, _start: int, numbers: npt.NDArray[np.uint32], codes: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    return encoded_lengths(quantizer, numbers, codes)[:, None]


def _numbers_from(start: int, n: int) -> npt.NDArray[np.uint8]:
    return np.arange(start, start + n, dtype="<u4").view(np.uint8).reshape(n, 4)


def _blocks(
    layer: Layer, n_cells: int
) -> Iterator[tuple[int, npt.NDArray[np.uint32], npt.NDArray[np.uint8]]]:
    """Yield first segment, lists and codes of blocks of segments."""
    for start in range(0, layer.n_segments, READ_AT_ONCE):
        packed_cells, codes = layer.read(start, min(start + READ_AT_ONCE, layer.n_segments))
        yield start, list_numbers(packed_cells, codes, n_cells), codes


def _sorted(
    layer: Layer,
    n_cells: int,
    firsts: IntArray,
    width: int,
    values: Values,
) -> Iterator[bytes]:
    """Yield the values ``(n, width)`` uint8 of all segments in the order of lists (counting sort).

    Parameters
    ----------
    firsts : (n_lists + 1,) int64, first row of each list
    values : returns the values of a block of segments, see :data:`Values`
    """
    at_once = SORTED_AT_ONCE // max(1, width)
    for first in range(0, layer.n_segments if width else 0, at_once):
        result = np.zeros((min(at_once, layer.n_segments - first), width), dtype=np.uint8)
        next_rows = firsts[:-1].copy()
        for start, numbers, codes in _blocks(layer, n_cells):
            order = sorted_order(numbers)
            ordered = numbers[order]
            begins = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] ^ np.uint32(1)))
            lengths = np.diff(np.append(begins, len(ordered)))
            rows = next_rows[ordered] + np.arange(len(ordered)) - np.repeat(begins, lengths)
            next_rows[ordered[begins]] += lengths
            inside = (rows >= first) & (rows < first + len(result))
            result[rows[inside] - first] = values(start, numbers, codes)[order[inside]]
        yield result.tobytes()
