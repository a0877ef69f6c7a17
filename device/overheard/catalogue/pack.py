"""Read and write packs: read-only files with the fingerprints and metadata of tracks.

:mod:`overheard.catalogue.pack_format` defines the outer layout of the file. Its parts are, little-endian::

    cells     (n,) uint16            packed cell of each segment: coarse cell and hubness
    codes     (n, code_bytes) uint8  code of each segment, from the model's quantizer
    segments  (n_tracks,) uint32     number of segments of each track
    tracks    zlib, JSON             metadata, one row per track

Segments are in the order of tracks and, within a track, of time, one per hop. Their times need no storage.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.catalogue.pack_file import Stamp, read_file
from overheard.catalogue.pack_format import UnusablePack, read_manifest, read_parts, write_parts
from overheard.catalogue.track_list import PackTrack, TrackEntry, metadata_of, pack_metadata, unpack_metadata
from overheard.errors import REINSTALL, PackError, SettingsError
from overheard.files import atomic_write
from overheard.fingerprint.json_values import (
    JsonValueError,
    get_integer,
    get_number,
    get_object,
    get_string,
)
from overheard.fingerprint.spec import FingerprintSpec
from overheard.text import one_line

__all__ = ["PACK_SUFFIX", "Pack", "PackTrack", "TrackEntry", "open_pack", "write_pack"]

PACK_SUFFIX = ".pack"
MAX_CODE_BYTES = 1 << 10  # far more than any quantizer's
_MAX_TOTAL_S = 1e12  # of all tracks; tables can show it
_DIGEST = re.compile(r"[0-9a-f]{16}")
_YEARS = range(2, 9999)  # in which every time zone can show every moment


class Pack:
    """An open pack. :func:`open_pack` creates it.

    Attributes
    ----------
    path : Path
    stamp : Stamp
        Of the file when it was read.
    name : str
        The file's name without its suffix.
    manifest : dict
        ``name``, ``created``, ``fingerprint_digest``, ``spec``, ``n_tracks``, ``n_segments``, ``duration_s``
        and more.
    digest : str
        ``Model.digest`` of the model that made the fingerprints.
    packed_cells : ndarray, (n,) uint16, read-only
        See :mod:`overheard.fingerprint.hubness`.
    codes : ndarray, (n, code_bytes) uint8, read-only
    first_segment : ndarray, (n_tracks + 1,) int64
        Track i has the segments ``first_segment[i]`` to ``first_segment[i + 1] - 1``.
    created : str
        When the pack was written, in ISO 8601 format.
    hours : float
        Hours of music in the pack.
    bytes : int
        Size of the file.
    tracks : tuple of PackTrack
        Metadata of each track.

    Raises
    ------
    UnusablePack
        If the bytes in `view` are not a valid pack.
    """

    def __init__(self, path: Path, view: memoryview, stamp: Stamp) -> None:
        self.path = path
        self.stamp = stamp
        self.name = path.stem
        self.bytes = len(view)
        self.manifest = read_manifest(view)
        parts = read_parts(view, self.manifest)
        try:
            n_tracks, n_segments, code_bytes = self._read_facts()
        except JsonValueError as error:
            raise UnusablePack(f"the manifest is invalid: {error}") from error
        sizes = {"cells": 2 * n_segments, "codes": n_segments * code_bytes, "segments": 4 * n_tracks}
        for part, size in sizes.items():
            if len(parts[part]) != size:
                raise UnusablePack(f"part '{part}' has {len(parts[part])} bytes instead of {size}")
        self.packed_cells: npt.NDArray[np.uint16] = np.frombuffer(parts["cells"], "<u2")
        codes = np.frombuffer(parts["codes"], np.uint8)
        self.codes: npt.NDArray[np.uint8] = codes.reshape(n_segments, code_bytes)
        counts = np.frombuffer(parts["segments"], "<u4")
        self.first_segment = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        if self.first_segment[-1] != n_segments:
            raise UnusablePack("the tracks' numbers of segments do not add up")
        if not counts.all():  # with this, the file's size limits the number of tracks
            raise UnusablePack("a track has no segments")
        try:
            self.tracks: tuple[PackTrack, ...] = unpack_metadata(parts["tracks"], counts.tolist(), self.bytes)
        except JsonValueError as error:
            raise UnusablePack(f"the list of tracks is invalid: {error}") from error

    def _read_facts(self) -> tuple[int, int, int]:
        """Read the manifest; return numbers of tracks, segments and bytes per code. Raises JsonValueError."""
        self.digest = get_string(self.manifest, "fingerprint_digest")
        if not _DIGEST.fullmatch(self.digest):
            raise JsonValueError("fingerprint_digest must be 16 hex digits")
        self.created = get_string(self.manifest, "created")
        if not _is_moment(self.created):
            raise JsonValueError("created must be a date and time with a time zone, in ISO 8601 format")
        self.hours = get_number(self.manifest, "duration_s", 0, _MAX_TOTAL_S) / 3600
        n_tracks, n_segments, code_bytes = (
            get_integer(self.manifest, name, 0) for name in ("n_tracks", "n_segments", "code_bytes")
        )
        if code_bytes > MAX_CODE_BYTES:
            raise JsonValueError(f"code_bytes is more than {MAX_CODE_BYTES}")
        return n_tracks, n_segments, code_bytes

    @property
    def spec(self) -> FingerprintSpec:
        """Parameters of the fingerprints. Raises PackError if this overheard does not support them."""
        try:
            return FingerprintSpec.from_dict(get_object(self.manifest, "spec"))
        except JsonValueError as error:
            reason = f"the fingerprint parameters are not supported: {error}"
            raise pack_error(self.path, UnusablePack(reason)) from error

    def entries(self) -> list[TrackEntry]:
        """Return the tracks with their fingerprints, for writing them into another pack."""
        bounds = zip(self.tracks, self.first_segment, self.first_segment[1:], strict=False)
        return [
            TrackEntry(
                **metadata_of(track), packed_cells=self.packed_cells[start:end], codes=self.codes[start:end]
            )
            for track, start, end in bounds
        ]


def open_pack(path: str | os.PathLike[str], digest: str | None = None) -> Pack:
    """Open a pack and verify every byte of it.

    Parameters
    ----------
    path : path-like
    digest : str or None
        ``Model.digest`` of the model to search with; None accepts packs of any model.

    Raises
    ------
    PackError
        If the file is missing, damaged, of another format version, or made for another model.
    """
    path = Path(path)
    try:
        pack = Pack(path, *read_file(path))
    except UnusablePack as error:
        raise pack_error(path, error) from error
    if digest is not None and pack.digest != digest:
        remedy = (
            f"index its music again (overheard index FOLDER --pack {path.stem}), download the pack again, "
            f"or delete it (overheard packs remove {path.stem})"
        )
        if _is_shipped(path):
            remedy = "to leave it out, list the packs that you want in the setting `packs`"
        raise PackError(f"{path}: made for another model ({pack.digest}, this one is {digest})", remedy)
    return pack


def write_pack(
    path: str | os.PathLike[str],
    name: str,
    model_digest: str,
    spec: FingerprintSpec,
    tracks: Sequence[TrackEntry],
    code_bytes: int | None = None,
) -> None:
    """Write a pack atomically.

    Parameters
    ----------
    path : its folder is created if it does not exist
    name : for the manifest
    model_digest : ``Model.digest`` of the model that made the fingerprints
    spec : parameters of that model
    tracks : with their fingerprints
    code_bytes : bytes per code; None takes it from the first track

    Raises
    ------
    PackError
        If the file cannot be written, or a fingerprint is empty or has another number of bytes per code.
    """
    path = Path(path)
    width = code_bytes if code_bytes is not None else (tracks[0].codes.shape[1] if tracks else 0)
    for track in tracks:
        if track.codes.shape != (len(track.packed_cells), width) or not len(track.packed_cells):
            raise PackError(f"{path}: {track.path} has a fingerprint of the wrong shape {track.codes.shape}")
    facts: dict[str, Any] = {"name": name, "created": creation_time(), "spec": spec.to_dict()}
    facts |= {"fingerprint_digest": model_digest, **_totals(tracks, width)}
    try:
        with atomic_write(path, private=True) as file:
            write_parts(file, facts, _parts(tracks))
    except OSError as error:
        raise PackError(f"{path}: cannot be written ({error.strerror or error})") from error


def _totals(tracks: Sequence[TrackEntry], code_bytes: int) -> dict[str, Any]:
    return {
        "code_bytes": code_bytes,
        "n_tracks": len(tracks),
        "n_segments": sum(len(track.packed_cells) for track in tracks),
        "duration_s": round(sum(track.duration_s for track in tracks), 3),
    }


def _parts(tracks: Sequence[TrackEntry]) -> dict[str, list[bytes]]:
    return {
        "cells": [np.ascontiguousarray(track.packed_cells, "<u2").tobytes() for track in tracks],
        "codes": [np.ascontiguousarray(track.codes, np.uint8).tobytes() for track in tracks],
        "segments": [np.array([len(track.packed_cells) for track in tracks], "<u4").tobytes()],
        "tracks": [pack_metadata(tracks)],
    }


def pack_error(path: Path, unusable: UnusablePack) -> PackError:
    """Return the error for a user: which pack, what is wrong with it, and what to do about it."""
    remedy = f"delete it (overheard packs remove {path.stem}), then index its music or download it again"
    if _is_shipped(path):
        remedy = REINSTALL
    return PackError(f"{path}: {one_line(unusable.reason)}", unusable.remedy or remedy)


def shipped_packs_dir() -> Path:
    """Return the folder of the packs that ship with overheard."""
    return Path(str(resources.files("overheard"))) / "packs"


def _is_shipped(path: Path) -> bool:
    return path.parent == shipped_packs_dir()


def _is_moment(text: str) -> bool:
    """Return whether the text is a date and time with a time zone."""
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return when.tzinfo is not None and when.year in _YEARS


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
