"""Open packs: fingerprints and metadata of tracks, in a base file and the layers on top of it.

A layer adds tracks, removes tracks of lower layers, or replaces them: a track whose id appears again in a
higher layer is hidden. :mod:`overheard.catalogue.layer` describes the files,
:mod:`overheard.catalogue.layer_files` which of them are used, :mod:`overheard.catalogue.layers` how they are
changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from overheard.catalogue.layer import Layer
from overheard.catalogue.layer_files import Stamps, open_live_layers
from overheard.catalogue.names import is_labelled
from overheard.catalogue.pack_format import UnusablePack
from overheard.catalogue.pack_write import write_pack
from overheard.catalogue.track_list import PackTrack, TrackEntry, metadata_of
from overheard.errors import REINSTALL, PackError
from overheard.fingerprint.json_values import JsonValueError, get_object
from overheard.fingerprint.spec import FingerprintSpec
from overheard.text import one_line

__all__ = ["PACK_SUFFIX", "Pack", "PackTrack", "TrackEntry", "open_pack", "verify_pack", "write_pack"]

PACK_SUFFIX = ".pack"


class VisibleTracks(Sequence[PackTrack]):
    """The metadata of a pack's tracks, in the order of layers, without hidden ones.

    Parameters
    ----------
    layers : lowest first
    rows : (n,) int64 for each layer, its visible tracks
    """

    def __init__(self, layers: Sequence[Layer], rows: Sequence[npt.NDArray[np.int64]]) -> None:
        self._layers, self._rows = layers, rows
        self._ends = np.cumsum([len(each) for each in rows])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @overload
    def __getitem__(self, number: int) -> PackTrack: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[PackTrack, ...]: ...

    def __getitem__(self, number: int | slice) -> PackTrack | tuple[PackTrack, ...]:
        if isinstance(number, slice):
            return tuple(self[i] for i in range(*number.indices(len(self))))
        layer, row = self.place(number)
        return layer.tracks[row]

    def place(self, number: int) -> tuple[Layer, int]:
        """Return layer and row of a visible track. Raises IndexError."""
        i = range(len(self))[number]
        which = int(np.searchsorted(self._ends, i, side="right"))
        rows = self._rows[which]
        return self._layers[which], int(rows[i - int(self._ends[which]) + len(rows)])


class Pack:
    """An open pack. :func:`open_pack` creates it.

    Parameters
    ----------
    path : of the base
    layers : the base and the layers on top of it
    stamps : of the files when they were opened

    Attributes
    ----------
    name : str
        The file's name without its suffix.
    layers : tuple of Layer
        The base first.
    hidden : tuple of ndarray
        For each layer, ``(n_tracks,)`` bool: whether a higher layer replaces or removes the track.
    digest : str
        ``Model.digest`` of the space of the fingerprints.
    networks : tuple of str
        Sorted ``Model.network_digest`` of the networks that made them, as far as known.
    created : str
        When the newest layer was written, in ISO 8601 format.
    bytes : int
        Size of all files.
    n_tracks, n_segments : int
        Without hidden ones.
    tracks : sequence of PackTrack
        Metadata of each track that is not hidden.
    """

    def __init__(self, path: Path, layers: Sequence[Layer], stamps: Stamps = ()) -> None:
        self.path, self.name, self.stamps = path, path.stem, stamps
        self.layers = tuple(layers)
        base = self.layers[0]
        self.manifest, self.digest = base.manifest, base.digest
        self.networks = tuple(sorted({network for layer in self.layers for network in layer.networks}))
        self.created = self.layers[-1].created
        self.bytes = sum(layer.bytes for layer in self.layers)
        self.hidden = _hidden(self.layers)
        self._visible = VisibleTracks(self.layers, [np.flatnonzero(~mask) for mask in self.hidden])
        self.tracks: Sequence[PackTrack] = self._visible
        if len(self.layers) == 1 and not self.hidden[0].any():
            self.tracks = base.tracks
        self.n_tracks = len(self._visible)
        lengths = [np.diff(layer.first_segment) for layer in self.layers]
        pairs = zip(lengths, self.hidden, strict=True)
        self.n_segments = sum(int(each[~mask].sum()) for each, mask in pairs)

    @property
    def code_bytes(self) -> int:
        """Bytes per code of the newest layer that has codes, or of the base."""
        return next(
            (layer.code_bytes for layer in self.layers[::-1] if layer.n_segments), self.layers[0].code_bytes
        )

    @property
    def hours(self) -> float:
        """Hours of music in the pack."""
        total = sum(layer.duration_s for layer in self.layers)
        for layer, mask in zip(self.layers, self.hidden, strict=True):
            total -= sum(layer.tracks[row].duration_s for row in np.flatnonzero(mask).tolist())
        return max(0.0, total) / 3600

    @property
    def spec(self) -> FingerprintSpec:
        """Parameters of the fingerprints. Raises PackError if this overheard does not support them."""
        try:
            return FingerprintSpec.from_dict(get_object(self.manifest, "spec"))
        except JsonValueError as error:
            reason = f"the fingerprint parameters are not supported: {error}"
            raise pack_error(self.path, UnusablePack(reason)) from error

    def entry(self, number: int) -> TrackEntry:
        """Return a track, by its number in :attr:`tracks`, with its fingerprint. Raises IndexError."""
        layer, row = self._visible.place(number)
        start, end = (int(bound) for bound in layer.first_segment[row : row + 2])
        packed_cells, codes = layer.read(start, end)
        return TrackEntry(**metadata_of(layer.tracks[row]), packed_cells=packed_cells, codes=codes)

    def entries(self) -> Iterator[TrackEntry]:
        """Yield the tracks with their fingerprints, for writing them into another pack."""
        return map(self.entry, range(self.n_tracks))


def _hidden(layers: Sequence[Layer]) -> tuple[npt.NDArray[np.bool_], ...]:
    """Return, for each layer, which of its tracks a higher layer replaces or removes."""
    masks = []
    for number, layer in enumerate(layers):
        mask = np.zeros(layer.n_tracks, dtype=np.bool_)
        for higher in layers[number + 1 :]:
            removed = np.array(sorted(higher.removed), dtype="S12")
            mask |= np.isin(_as_numbers(layer.ids), _as_numbers(np.concatenate([higher.ids, removed])))
        masks.append(mask)
    return tuple(masks)


def _as_numbers(ids: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    """Return ids of 12 hex digits as numbers, which compare in a tenth of the time."""
    digits = np.frombuffer(ids.tobytes(), np.uint8).reshape(-1, 12)
    values = np.where(digits < ord("a"), digits - np.uint8(ord("0")), digits - np.uint8(ord("a") - 10))
    powers = np.uint64(16) ** np.arange(12, dtype=np.uint64)[::-1]
    numbers: npt.NDArray[np.uint64] = (values.astype(np.uint64) * powers).sum(axis=1, dtype=np.uint64)
    return numbers


def open_pack(path: str | os.PathLike[str], digest: str | None = None) -> Pack:
    """Open a pack and its layers, and verify every byte of them.

    Layers after a missing or damaged one are not used; a line in the log says so.

    Parameters
    ----------
    path : path-like
    digest : str or None
        ``Model.digest`` of the model to search with; None accepts packs of any model.

    Raises
    ------
    PackError
        If the base is missing, damaged, of another format version, or made for another model.
    """
    path = Path(path)
    try:
        pack = Pack(path, *open_live_layers(path))
    except UnusablePack as error:
        raise pack_error(path, error) from error
    if digest is not None and pack.digest != digest:
        raise _of_another_model(path, pack.digest)
    return pack


def _of_another_model(path: Path, digest: str) -> PackError:
    """Return the error for a pack that the model in use cannot search."""
    # Imported here, because reading packs needs nothing of it.
    from overheard.catalogue.pack_model import model_of
    from overheard.fingerprint.model import DEFAULT_MODEL

    maker = model_of(digest)
    remedy = (
        f"index its music again (overheard index FOLDER --pack {path.stem}), download the pack again, "
        f"or delete it (overheard packs remove {path.stem})"
    )
    if is_labelled(path.stem):
        search = "" if maker == digest else f", set model to {maker} to search it,"
        remedy = (
            f"keep it{search} or delete it (overheard packs remove {path.stem}): it holds fingerprints of "
            "music that you named, without files, so it cannot be made again for this model"
        )
    elif maker == DEFAULT_MODEL:  # the setting names a model that cannot read it
        remedy = f"set model to auto, or {remedy}"
    if _is_shipped(path):
        remedy = "to leave it out, list the packs that you want in the setting `packs`"
        if maker == DEFAULT_MODEL:
            remedy = "set model to auto to search it"
    return PackError(f"{path}: made for another model ({maker})", remedy)


def verify_pack(path: str | os.PathLike[str]) -> Pack:
    """Open a pack and verify every byte of its files, also of large ones that were verified before.

    Raises
    ------
    PackError
        As :func:`open_pack`; or if a part of a large file is damaged.
    """
    pack = open_pack(path)
    for layer in pack.layers:
        try:
            layer.verify()
        except UnusablePack as error:
            raise pack_error(layer.path, error) from error
    return pack


def pack_error(path: Path, unusable: UnusablePack) -> PackError:
    """Return the error for a user: which pack, what is wrong with it, and what to do about it."""
    remedy = f"delete it (overheard packs remove {path.stem}), then index its music or download it again"
    if is_labelled(path.stem):
        remedy = f"delete it (overheard packs remove {path.stem}), and name the music again when it plays"
    if _is_shipped(path):
        remedy = REINSTALL
    return PackError(f"{path}: {one_line(unusable.reason)}", unusable.remedy or remedy)


def shipped_packs_dir() -> Path:
    """Return the folder of the packs that ship with overheard."""
    return Path(str(resources.files("overheard"))) / "packs"


def _is_shipped(path: Path) -> bool:
    return path.parent == shipped_packs_dir()
