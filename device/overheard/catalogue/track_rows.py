"""Go through the metadata of all tracks of a pack, of which only some values are needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from overheard.catalogue.layer import Layer
from overheard.catalogue.pack import Pack
from overheard.catalogue.track_list import metadata_of
from overheard.catalogue.track_table import TrackTable

Row = dict[str, Any]  # values by column; `size`, `mtime_ns`, `extras` and `also` may be missing


def rows_of(pack: Pack) -> Iterator[Row]:
    """Yield the metadata of each track in the order of `pack.tracks`, in a tenth of the time of these."""
    for layer, hidden in zip(pack.layers, pack.hidden, strict=True):
        visible = np.logical_not(hidden).tolist()
        for row, is_visible in zip(_rows(layer), visible, strict=True):
            if is_visible:
                yield row


def _rows(layer: Layer) -> Iterator[Row]:
    if isinstance(layer.tracks, TrackTable):
        yield from layer.tracks.values()
        return
    for track in layer.tracks:
        yield {"id": track.id, **metadata_of(track)}
