"""Number the segments of several packs consecutively, and read and decode them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from overheard.catalogue.decoded import DecodedSegments
from overheard.catalogue.lists import IntArray
from overheard.catalogue.pack import Pack
from overheard.events import Track
from overheard.fingerprint.frontend import FloatArray
from overheard.fingerprint.hubness import cells_of, penalties_of
from overheard.fingerprint.quantizer import Quantizer

N_CACHED_SEGMENTS = 16384  # decoded vectors, 6 MB; overlapping windows need mostly the same segments


class Segments(DecodedSegments):
    """All segments of packs, numbered consecutively in the order of packs, layers and tracks.

    Parameters
    ----------
    packs : open packs made with one model
    quantizer : of that model

    Attributes
    ----------
    layers : list of Layer
        Of all packs.
    first_segment : ndarray, (n_tracks + 1,) int64
        First segment of each track, then the number of segments. Hidden tracks have numbers too.
    first_of_layer : ndarray, (n_layers + 1,) int64
        First segment of each layer, then the number of segments.
    """

    def __init__(self, packs: Sequence[Pack], quantizer: Quantizer) -> None:
        self.layers = [layer for pack in packs for layer in pack.layers]
        n_segments = sum(layer.n_segments for layer in self.layers)
        super().__init__(quantizer.dim, max(1, min(n_segments, N_CACHED_SEGMENTS)))
        self.quantizer = quantizer
        self._pack_names = [pack.name for pack in packs for _ in pack.layers]
        self.first_of_layer: IntArray = np.cumsum([0, *(layer.n_segments for layer in self.layers)])
        self._first_track: IntArray = np.cumsum([0, *(layer.n_tracks for layer in self.layers)])
        starts = zip(self.layers, self.first_of_layer, strict=False)
        self.first_segment: IntArray = np.concatenate(
            [*(layer.first_segment[:-1] + start for layer, start in starts), self.first_of_layer[-1:]]
        )
        hidden = [mask for pack in packs for mask in pack.hidden if mask.any()]
        masks = [mask for pack in packs for mask in pack.hidden]
        self._hidden = np.concatenate(masks) if hidden else np.zeros(0, dtype=np.bool_)

    def __len__(self) -> int:
        """Return the number of segments, hidden ones included."""
        return int(self.first_of_layer[-1])

    def track(self, number: int) -> Track:
        """Return a track by its number."""
        which = int(np.searchsorted(self._first_track, number, side="right")) - 1
        row = number - int(self._first_track[which])
        return self.layers[which].tracks[row].to_track(self._pack_names[which])

    @property
    def all_visible(self) -> bool:
        """Whether no track is hidden."""
        return not len(self._hidden)

    def visible(self, segments: IntArray) -> npt.NDArray[np.bool_]:
        """Return which of these segments ``(n,)`` belong to tracks that no higher layer hides."""
        if self.all_visible:
            return np.ones(len(segments), dtype=np.bool_)
        tracks = np.searchsorted(self.first_segment, segments, side="right") - 1
        visible: npt.NDArray[np.bool_] = ~self._hidden[tracks]
        return visible

    def _decode(self, segments: IntArray) -> tuple[FloatArray, FloatArray]:
        vectors = np.empty((len(segments), self.quantizer.dim), dtype=np.float32)
        penalties = np.empty(len(segments), dtype=np.float32)
        tracks = np.searchsorted(self.first_segment, segments, side="right") - 1
        is_first = segments == self.first_segment[tracks]
        is_last = segments + 1 == self.first_segment[tracks + 1]
        before, after = np.where(is_first, segments, segments - 1), np.where(is_last, segments, segments + 1)
        n_cells = len(self.quantizer.cells)
        for which, own, chosen in self._by_layer(segments):
            start = self.first_of_layer[which]
            # Read each code once, although it may be needed for up to three segments.
            sides = [before[chosen] - start, own, after[chosen] - start]
            needed, inverse = np.unique(sides, return_inverse=True)
            packed_cells, codes = self.layers[which].take(needed)
            before_rows, own_rows, after_rows = inverse.reshape(3, -1)
            # In a file that is damaged while it is in use, a cell may be one that does not exist.
            cells = np.minimum(cells_of(packed_cells, n_cells), n_cells - 1)
            vectors[chosen] = self.quantizer.scoring_vectors(
                cells,
                codes,
                np.where(is_first[chosen], -1, before_rows),
                np.where(is_last[chosen], -1, after_rows),
                own_rows,
            )
            penalties[chosen] = penalties_of(packed_cells[own_rows], n_cells)
        return vectors, penalties

    def _by_layer(self, segments: IntArray) -> Iterator[tuple[int, IntArray, npt.NDArray[np.bool_] | slice]]:
        """Yield, for each layer with some of the segments, its index, their numbers in it and their mask."""
        if len(self.layers) == 1:
            yield 0, segments, slice(None)
            return
        indices = np.searchsorted(self.first_of_layer, segments, side="right") - 1
        for which in np.unique(indices).tolist():
            chosen = indices == which
            yield which, segments[chosen] - self.first_of_layer[which], chosen
