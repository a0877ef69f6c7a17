"""Packs: read-only files that hold the fingerprints and the metadata of tracks.

The file's outer layout is :mod:`overheard.catalogue.pack_format`'s; its parts are, little-endian::

    cells     (n,) uint16            place of each segment: its coarse cell, and its hubness
    codes     (n, code_bytes) uint8  what the quantizer keeps of it beside the cell
    segments  (n_tracks,) uint32     segments of each track
    tracks    zlib, JSON             metadata, one row a track

Segments lie in the order of tracks and of time, one per hop, so that the time of a segment needs no byte.
"""

from __future__ import annotations

import datetime
import mmap
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from overheard.catalogue.pack_format import HEADER, Damaged, read_manifest, read_parts, write_parts
from overheard.catalogue.track_list import PackTrack, TrackEntry, metadata_of, pack_metadata, unpack_metadata
from overheard.errors import PackError
from overheard.files import atomic_write
from overheard.fingerprint.spec import FingerprintSpec

__all__ = ["PACK_SUFFIX", "Pack", "PackTrack", "TrackEntry", "open_pack", "write_pack"]

PACK_SUFFIX = ".pack"


class Pack:
    """An open pack; made by :func:`open_pack`.

    Attributes
    ----------
    path : Path
    name : str
        The file's name without its suffix.
    manifest : dict
        ``created``, ``fingerprint_digest``, ``spec``, ``n_tracks``, ``n_segments``, ``duration_s`` and more.
    packed_cells : ndarray, (n,) uint16, read-only, memory-mapped; see :mod:`overheard.fingerprint.hubness`
    codes : ndarray, (n, code_bytes) uint8, read-only, memory-mapped
    first_segment : ndarray, (n_tracks + 1,) int64
        Track i has the segments ``first_segment[i]`` to ``first_segment[i + 1]``.
    bytes : int
        Size of the whole file.
    """

    def __init__(self, path: Path, view: memoryview) -> None:
        self.path = path
        self.name = path.stem
        self.bytes = len(view)
        self.manifest = read_manifest(view)
        parts = read_parts(view, self.manifest)
        try:
            n_tracks, n_segments, code_bytes = (
                int(self.manifest[key]) for key in ("n_tracks", "n_segments", "code_bytes")
            )
            self.digest = str(self.manifest["fingerprint_digest"])
            self.packed_cells: npt.NDArray[np.uint16] = np.frombuffer(parts["cells"], "<u2")
            self.codes: npt.NDArray[np.uint8] = np.frombuffer(parts["codes"], np.uint8).reshape(
                n_segments, code_bytes
            )
            counts = np.frombuffer(parts["segments"], "<u4")
        except (KeyError, TypeError, ValueError) as error:
            raise Damaged("its manifest does not describe it") from error
        self.first_segment = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        if len(counts) != n_tracks or not self.first_segment[-1] == n_segments == len(self.packed_cells):
            raise Damaged("its parts do not fit each other")
        self._metadata = parts["tracks"]

    @property
    def hours(self) -> float:
        """Hours of music in it."""
        return float(self.manifest["duration_s"]) / 3600

    @property
    def spec(self) -> FingerprintSpec:
        """The parameters of its fingerprints. Raises PackError if this overheard does not know them."""
        try:
            return FingerprintSpec.from_dict(self.manifest["spec"])
        except (KeyError, TypeError, ValueError) as error:
            raise PackError(_advice(self.path, "its parameters are unknown")) from error

    @cached_property
    def tracks(self) -> tuple[PackTrack, ...]:
        """Metadata of each track; parsed at the first use. Raises PackError if it is malformed."""
        try:
            return unpack_metadata(self._metadata, np.diff(self.first_segment).tolist())
        except ValueError as error:
            raise PackError(_advice(self.path, "its list of tracks is malformed")) from error

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
    """Open a pack and check every byte of it.

    Parameters
    ----------
    path : path-like
        The file.
    digest : str or None
        ``Model.digest`` of the model whose fingerprints can be compared with it; None takes any.

    Raises
    ------
    PackError
        If it is missing, truncated, altered, of another version, or made for another model.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < HEADER.size:
                raise Damaged("it is cut short" if size else "it is empty")
            pack = Pack(path, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except Damaged as error:
        raise PackError(_advice(path, str(error))) from error
    except (OSError, ValueError) as error:
        raise PackError(f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    if digest is not None and pack.digest != digest:
        raise PackError(
            f"{path}: made for another model ({pack.digest}, this is {digest}): "
            f"type overheard index FOLDER --pack {path.stem} with the folders of its music, or fetch it anew"
        )
    return pack


def write_pack(
    path: str | os.PathLike[str],
    name: str,
    model_digest: str,
    spec: FingerprintSpec,
    tracks: Sequence[TrackEntry],
    code_bytes: int | None = None,
) -> None:
    """Write a pack so that at any moment the whole old or the whole new file is there.

    Parameters
    ----------
    path : path-like
        Where; its folder is created if it does not exist.
    name : str
        Name kept in the manifest.
    model_digest : str
        ``Model.digest`` of the model that made the fingerprints.
    spec : FingerprintSpec
        Its parameters.
    tracks : sequence of TrackEntry
        In the order in which they shall lie.
    code_bytes : int or None
        Bytes of a code; None takes it from the first track.

    Raises
    ------
    PackError
        If the file cannot be written or the tracks' codes differ in size.
    """
    path = Path(path)
    width = code_bytes if code_bytes is not None else (tracks[0].codes.shape[1] if tracks else 0)
    for track in tracks:
        if track.codes.shape != (len(track.packed_cells), width) or not len(track.packed_cells):
            raise PackError(f"{path}: {track.path} has a fingerprint of the wrong shape {track.codes.shape}")
    parts = {
        "cells": [np.ascontiguousarray(t.packed_cells, "<u2").tobytes() for t in tracks],
        "codes": [np.ascontiguousarray(t.codes, np.uint8).tobytes() for t in tracks],
        "segments": [np.array([len(t.packed_cells) for t in tracks], "<u4").tobytes()],
        "tracks": [pack_metadata(tracks)],
    }
    facts = {
        "name": name,
        "created": _now(),
        "fingerprint_digest": model_digest,
        "spec": spec.to_dict(),
        "code_bytes": width,
        "n_tracks": len(tracks),
        "n_segments": sum(len(t.packed_cells) for t in tracks),
        "duration_s": round(sum(t.duration_s for t in tracks), 3),
    }
    try:
        with atomic_write(path) as file:
            write_parts(file, facts, parts)
    except OSError as error:
        raise PackError(f"{path}: cannot be written ({error.strerror or error})") from error


def _advice(path: Path, reason: str) -> str:
    remedy = f"remove it (overheard packs remove {path.stem}) and index or fetch it again"
    return f"{path}: not usable, {reason}: {remedy}"


def _now() -> str:
    """UTC, or what SOURCE_DATE_EPOCH says, for builds that can be repeated bit for bit."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.now(datetime.timezone.utc)
    when = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc) if epoch else now
    return when.isoformat(timespec="seconds")
