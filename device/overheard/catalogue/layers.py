"""Change a pack: add a layer, merge layers, or write base and layers into a new base.

Each change is one new file that is renamed into place; then the files that it replaces are deleted. After a
crash at any point, readers find the old or the new state. Only one program at a time may change a pack:
callers hold its lock. A pack that is open stays as it was; open it again to see the change.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from overheard.catalogue.derived import delete_derived
from overheard.catalogue.layer import Layer
from overheard.catalogue.layer_files import layer_files, layer_name, layers_folder, stamps_of
from overheard.catalogue.pack import Pack, open_pack
from overheard.catalogue.pack_write import Contents, delete_files, write_file
from overheard.catalogue.track_list import TrackEntry
from overheard.errors import PackError

MAX_LAYERS = 8  # on top of a base; `merge_layers` merges some if there are more
SIMILAR_FACTOR = 2  # a layer joins newer ones if it has at most this many times the bytes that they have


def write_layer(
    pack: Pack,
    entries: Iterable[TrackEntry],
    removed: Collection[str] = (),
    networks: Collection[str] = (),
) -> Path:
    """Add a layer to a pack; what is written is in proportion to the addition.

    Parameters
    ----------
    pack : as it is on disk
    entries : new tracks, and tracks whose metadata changed
    removed : ids of tracks that are gone
    networks : ``Model.network_digest`` of the networks that made the fingerprints, for information

    Returns
    -------
    Path
        The new file.

    Raises
    ------
    PackError
        If the file cannot be written, a fingerprint has the wrong shape, or the pack has changed on disk.
    """
    _require_unchanged(pack)
    tracks, serial = tuple(entries), pack.layers[-1].last + 1
    width = pack.code_bytes if pack.n_segments or not tracks else None
    try:
        contents = Contents.of_entries(tracks, width, removed, networks)
    except PackError as error:
        raise PackError(f"{pack.path}: {error}") from error
    _delete_dead(pack)  # a later layer that is not used now must not continue the new one
    path = layers_folder(pack.path) / layer_name(serial, serial)
    write_file(path, _facts(pack), contents, pack.layers[0].lineage, (serial, serial))
    return path


def merge_layers(pack: Pack, max_layers: int = MAX_LAYERS) -> Path | None:
    """Merge the newest layers of a pack that are of similar size, if it has more than `max_layers`.

    Because small layers are merged with small ones, a track is written again only as often as the logarithm
    of the number of additions (as in a log-structured merge tree).

    Returns
    -------
    Path or None
        The new file.

    Raises
    ------
    PackError
        If the file cannot be written, or the pack has changed on disk.
    """
    base, *layers = pack.layers
    if len(layers) <= max_layers:
        return None
    _require_unchanged(pack)
    n = _n_merged(layers)
    if n < 2:
        return None
    first = len(pack.layers) - n
    lower, merged = pack.layers[:first], pack.layers[first:]
    gone = frozenset[str]().union(*(layer.removed for layer in merged))
    # A removed track that no lower layer holds need not be remembered.
    known = np.isin(np.array(sorted(gone), "S12"), np.concatenate([layer.ids for layer in lower]))
    removed = [track_id for track_id, kept in zip(sorted(gone), known, strict=True) if kept]
    width = next((layer.code_bytes for layer in merged if layer.n_segments), pack.code_bytes)
    contents = Contents.of_layers(merged, pack.hidden[first:], width, removed)
    serials = merged[0].first, merged[-1].last
    _delete_dead(pack)
    path = layers_folder(pack.path) / layer_name(*serials)
    write_file(path, _facts(pack), contents, base.lineage, serials)
    delete_files(layer.path for layer in merged)
    return path


def compact(path: str | os.PathLike[str]) -> None:
    """Write a pack's base and layers into a new base, without hidden tracks, and delete the layers.

    Raises
    ------
    PackError
        If the pack cannot be read or written, or its layers have codes of different lengths.
    """
    pack = open_pack(path)
    base, *layers = pack.layers
    if not layers:
        delete_files(layer_files(pack.path))
        return
    widths = {layer.code_bytes for layer in pack.layers if layer.n_segments}
    if len(widths) > 1:
        remedy = f"index its music again: overheard index FOLDER --pack {pack.name}"
        raise PackError(f"{pack.path}: its layers have codes of different lengths", remedy)
    contents = Contents.of_layers(pack.layers, pack.hidden, pack.code_bytes)
    write_file(pack.path, _facts(pack), contents, base.lineage, (base.first, layers[-1].last))
    delete_files(layer_files(pack.path))


def delete_pack(path: Path) -> None:
    """Delete a pack, its layers, and what is derived from them. Raises OSError."""
    delete_derived([path, *layer_files(path)])
    path.unlink(missing_ok=True)
    if layers_folder(path).exists():
        shutil.rmtree(layers_folder(path))


def _n_merged(layers: Sequence[Layer]) -> int:
    """Return how many of the newest layers are merged: two, and older ones while they are not much larger."""
    width = {layer.code_bytes for layer in layers[-1:] if layer.n_segments}
    n, n_bytes = 1, layers[-1].bytes
    for layer in layers[-2::-1]:
        width |= {layer.code_bytes} if layer.n_segments else set()
        if len(width) > 1 or (n >= 2 and layer.bytes > SIMILAR_FACTOR * n_bytes):
            break
        n, n_bytes = n + 1, n_bytes + layer.bytes
    return n


def _facts(pack: Pack) -> dict[str, object]:
    return {"name": pack.name, "spec": pack.manifest.get("spec"), "fingerprint_digest": pack.digest}


def _require_unchanged(pack: Pack) -> None:
    if stamps_of(pack.path) != pack.stamps:
        raise PackError(f"{pack.path}: another program has changed it in the meantime", "try again")


def _delete_dead(pack: Pack) -> None:
    """Delete files that are not used: left over from a merge, of a replaced base, or after a gap."""
    live = {layer.path for layer in pack.layers}
    delete_files(file for file in layer_files(pack.path) if file not in live)
