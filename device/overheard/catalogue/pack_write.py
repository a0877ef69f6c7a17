"""Write files of packs: a new base, or a layer, from tracks or from ranges of existing layers."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.catalogue.layer import Layer
from overheard.catalogue.layer_files import layer_files
from overheard.catalogue.pack_format import Part, write_parts
from overheard.catalogue.track_list import PackTrack, TrackEntry, pack_metadata
from overheard.errors import PackError, SettingsError
from overheard.files import atomic_write
from overheard.fingerprint.spec import FingerprintSpec

COPIED_AT_ONCE = 1 << 16  # segments; bounds the memory


@dataclasses.dataclass(frozen=True)
class Contents:
    """The tracks of a file that is written.

    Attributes
    ----------
    code_bytes : int
    lengths : (n_tracks,) int64, segments of each track
    duration_s : float
    tracks : returns the tracks in order
    cells, codes : return the packed cells and codes of all segments, in chunks
    removed : ids of tracks of lower layers
    networks : ``Model.network_digest`` of the networks that made the fingerprints, as far as known
    """

    code_bytes: int
    lengths: npt.NDArray[np.int64]
    duration_s: float
    tracks: Callable[[], Iterable[TrackEntry | PackTrack]]
    cells: Callable[[], Iterable[bytes]]
    codes: Callable[[], Iterable[bytes]]
    removed: Collection[str] = ()
    networks: Collection[str] = ()

    @classmethod
    def of_entries(
        cls,
        tracks: Sequence[TrackEntry],
        code_bytes: int | None,
        removed: Collection[str] = (),
        networks: Collection[str] = (),
    ) -> Contents:
        """Return tracks with their fingerprints. Raises PackError if a fingerprint has the wrong shape."""
        width = code_bytes if code_bytes is not None else (tracks[0].codes.shape[1] if tracks else 0)
        for track in tracks:
            if track.codes.shape != (len(track.packed_cells), width) or not len(track.packed_cells):
                raise PackError(f"{track.path} has a fingerprint of the wrong shape {track.codes.shape}")
        return cls(
            width,
            np.array([len(track.packed_cells) for track in tracks], dtype=np.int64),
            sum(track.duration_s for track in tracks),
            lambda: tracks,
            lambda: (np.ascontiguousarray(track.packed_cells, "<u2").tobytes() for track in tracks),
            lambda: (np.ascontiguousarray(track.codes, np.uint8).tobytes() for track in tracks),
            removed,
            networks,
        )

    @classmethod
    def of_layers(
        cls,
        layers: Sequence[Layer],
        hidden: Sequence[npt.NDArray[np.bool_]],
        code_bytes: int,
        removed: Collection[str] = (),
    ) -> Contents:
        """Return the tracks of layers that are not hidden, which all have codes of this length."""
        chosen = [(layer, np.flatnonzero(~mask)) for layer, mask in zip(layers, hidden, strict=True)]
        lengths = [np.diff(layer.first_segment)[rows] for layer, rows in chosen]
        return cls(
            code_bytes,
            np.concatenate([np.zeros(0, np.int64), *lengths]),
            sum(layer.tracks[row].duration_s for layer, rows in chosen for row in rows.tolist()),
            lambda: (layer.tracks[row] for layer, rows in chosen for row in rows.tolist()),
            lambda: (layer.packed_cells(*part).tobytes() for layer, part in _ranges(chosen)),
            lambda: (layer.codes(*part).tobytes() for layer, part in _ranges(chosen)),
            removed,
            sorted({network for layer in layers for network in layer.networks}),
        )

    def parts(self) -> dict[str, Part]:
        """Return the parts of the file."""
        n = int(self.lengths.sum())
        return {
            "cells": Part(2 * n, self.cells()),
            "codes": Part(n * self.code_bytes, self.codes()),
            "segments": Part.of([self.lengths.astype("<u4").tobytes()]),
            "tracks": Part.of([pack_metadata(self.tracks(), self.removed)]),
        }


def _ranges(
    chosen: Sequence[tuple[Layer, npt.NDArray[np.int64]]],
) -> Iterator[tuple[Layer, tuple[int, int]]]:
    """Yield ranges of segments of the chosen tracks; those of consecutive tracks together."""
    for layer, rows in chosen:
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(rows) else ():
            start, end = int(layer.first_segment[run[0]]), int(layer.first_segment[run[-1] + 1])
            for first in range(start, end, COPIED_AT_ONCE):
                yield layer, (first, min(end, first + COPIED_AT_ONCE))


def write_file(
    path: Path,
    facts: dict[str, Any],
    contents: Contents,
    lineage: str | None = None,
    serials: tuple[int, int] = (0, 0),
    private: bool = True,
) -> None:
    """Write a file of a pack atomically.

    Parameters
    ----------
    path : its folder is created if it does not exist
    facts : ``name``, ``spec`` and ``fingerprint_digest`` for the manifest
    contents : Contents
    lineage : of the layer; None for a base, which begins a new one
    serials : first and last
    private : whether only the user may read the file

    Raises
    ------
    PackError
        If the file cannot be written.
    """
    facts = {"name": facts["name"], "created": creation_time(), **facts}
    facts |= {
        "code_bytes": contents.code_bytes,
        "n_tracks": len(contents.lengths),
        "n_segments": int(contents.lengths.sum()),
        "duration_s": round(contents.duration_s, 3),
    }
    if contents.networks:
        facts["networks"] = sorted(set(contents.networks))
    if lineage is not None:
        facts["layer"] = {"lineage": lineage, "first": serials[0], "last": serials[1]}
    try:
        with atomic_write(path, private) as file:
            write_parts(file, facts, contents.parts(), None if lineage is not None else serials)
    except OSError as error:
        raise PackError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_pack(
    path: str | os.PathLike[str],
    name: str,
    model_digest: str,
    spec: FingerprintSpec,
    tracks: Iterable[TrackEntry],
    code_bytes: int | None = None,
    networks: Collection[str] = (),
) -> None:
    """Write a pack of one file atomically. Layers of a pack that it replaces are deleted.

    Parameters
    ----------
    path : its folder is created if it does not exist
    name : for the manifest
    model_digest : ``Model.digest`` of the model that made the fingerprints
    spec : parameters of that model
    tracks : with their fingerprints
    code_bytes : bytes per code; None takes it from the first track
    networks : ``Model.network_digest`` of the networks that made the fingerprints, for information

    Raises
    ------
    PackError
        If the file cannot be written, or a fingerprint is empty or has another number of bytes per code.
    """
    path = Path(path)
    try:
        contents = Contents.of_entries(tuple(tracks), code_bytes, networks=networks)
    except PackError as error:
        raise PackError(f"{path}: {error}") from error
    facts = {"name": name, "spec": spec.to_dict(), "fingerprint_digest": model_digest}
    write_file(path, facts, contents)
    delete_files(layer_files(path))


def delete_files(files: Iterable[Path]) -> None:
    """Delete files that are no longer used. Raises PackError if one cannot be deleted."""
    for file in files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise PackError(f"{file}: cannot be removed ({error.strerror or error})") from error


def creation_time() -> str:
    """Return the current UTC time, or SOURCE_DATE_EPOCH if it is set, for reproducible builds.

    Raises
    ------
    SettingsError
        If SOURCE_DATE_EPOCH is not a time in seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.now(datetime.timezone.utc)
    try:
        when = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc) if epoch else now
    except (ValueError, OverflowError, OSError) as error:
        raise SettingsError(
            f"the environment variable SOURCE_DATE_EPOCH is invalid ({error})",
            "set it to seconds since 1970, or remove it with `unset SOURCE_DATE_EPOCH`",
        ) from error
    return when.isoformat(timespec="seconds")
