"""Open one file of a pack: its base, or a layer on top of it.

:mod:`overheard.catalogue.pack_format` defines the outer layout of the file. Its parts are, little-endian::

    cells     (n,) uint16            packed cell of each segment: coarse cell and hubness
    codes     (n, code_bytes) uint8  code of each segment, from the model's quantizer
    segments  (n_tracks,) uint32     number of segments of each track
    tracks    zlib, JSON             metadata, one row per track, and the ids of removed tracks

Segments are in the order of tracks and, within a track, of time, one per hop. Their times need no storage.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard.catalogue.derived import Record
from overheard.catalogue.pack_file import OpenFile, Stamp, read_file
from overheard.catalogue.pack_format import (
    HEADER,
    Contents,
    UnusablePack,
    find_parts,
    read_manifest,
    verify_parts,
)
from overheard.catalogue.track_list import PackTrack, unpack_metadata
from overheard.catalogue.track_table import TrackTable
from overheard.fingerprint.json_values import (
    JsonValueError,
    as_string,
    get_array,
    get_integer,
    get_number,
    get_object,
    get_string,
)

READ_AT_ONCE = 1 << 20  # segments; bounds the memory
READ_ACROSS = 8  # segments that are read, though not wanted, instead of reading twice
MAX_CODE_BYTES = 1 << 10  # far more than any quantizer's
MAX_SERIAL = 10**12
_MAX_TOTAL_S = 1e12  # of all tracks; tables can show it
_HEX16 = re.compile(r"[0-9a-f]{16}")
_YEARS = range(2, 9999)  # in which every time zone can show every moment


class Layer:
    """An open file of a pack. :func:`open_layer` creates it.

    Attributes
    ----------
    path : Path
    stamp : Stamp
        Of the file when it was read.
    manifest : dict
        ``name``, ``created``, ``fingerprint_digest``, ``spec``, ``n_tracks``, ``n_segments``, ``duration_s``
        and more.
    manifest_digest : str
        SHA-256 of the manifest, and so of all contents.
    digest : str
        ``Model.digest`` of the space of the fingerprints.
    networks : tuple of str
        ``Model.network_digest`` of the networks that made them; empty in packs of older releases.
    lineage : str
        16 hex digits that a base and the layers on top of it have in common.
    first, last : int
        The serials that the file covers; a base begins with 0.
    code_bytes, n_tracks, n_segments, bytes : int
    created : str
        When the file was written, in ISO 8601 format.
    duration_s : float
        Of the music in the file.
    first_segment : ndarray, (n_tracks + 1,) int64
        Track i has the segments ``first_segment[i]`` to ``first_segment[i + 1] - 1``.
    tracks : sequence of PackTrack
        Metadata of each track.
    ids : ndarray, (n_tracks,) S12
        The tracks' ids.
    removed : frozenset of str
        Ids of tracks of lower layers that are gone.

    Raises
    ------
    UnusablePack
        If the contents are not a valid pack.
    """

    def __init__(self, path: Path, contents: Contents, stamp: Stamp) -> None:
        self.path, self.stamp, self.bytes = path, stamp, len(contents)
        self._contents = contents
        self.manifest = read_manifest(contents)
        self.manifest_digest = HEADER.unpack_from(contents[: HEADER.size])[4].hex()
        try:
            self._read_facts()
        except JsonValueError as error:
            raise UnusablePack(f"the manifest is invalid: {error}") from error
        parts = find_parts(contents, self.manifest)
        record = None if self.in_memory else Record(path, self.manifest_digest)
        if record is None or not record.holds(".pack", stamp):
            self.verify()
        n = self.n_segments
        sizes = {"cells": 2 * n, "codes": n * self.code_bytes, "segments": 4 * self.n_tracks}
        for part, size in sizes.items():
            if (length := parts[part].stop - parts[part].start) != size:
                raise UnusablePack(f"part '{part}' has {length} bytes instead of {size}")
        self._cells_start, self._codes_start = parts["cells"].start, parts["codes"].start
        counts = np.frombuffer(contents[parts["segments"]], "<u4")
        self.first_segment = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        if self.first_segment[-1] != n:
            raise UnusablePack("the tracks' numbers of segments do not add up")
        if not counts.all():  # with this, the file's size limits the number of tracks
            raise UnusablePack("a track has no segments")
        try:
            self._read_tracks(contents[parts["tracks"]], counts)
        except JsonValueError as error:
            raise UnusablePack(f"the list of tracks is invalid: {error}") from error

    def verify(self) -> None:
        """Verify all checksums. Opening a layer does that, except for a large file that has been verified.

        Raises
        ------
        UnusablePack
            If a part is damaged.
        """
        verify_parts(self._contents, self.manifest)
        if not self.in_memory:  # what is derived from it is verified when it is used for the next time
            Record(self.path, self.manifest_digest).add(".pack", self.stamp, only=True)

    def _read_tracks(self, packed: memoryview, counts: npt.NDArray[np.uint32]) -> None:
        """Read the metadata of the tracks. Raises JsonValueError."""
        self.tracks: Sequence[PackTrack]
        self.ids: npt.NDArray[np.bytes_]
        if self.in_memory:
            self.tracks, self.removed = unpack_metadata(packed, counts.tolist(), self.bytes)
            self.ids = np.array([track.id for track in self.tracks], dtype="S12")
        else:
            table = TrackTable(self.path, self.manifest_digest, packed, counts, self.bytes)
            self.tracks, self.ids, self.removed = table, table.ids, table.removed

    def _read_facts(self) -> None:
        """Read the manifest. Raises JsonValueError."""
        self.digest = get_string(self.manifest, "fingerprint_digest")
        if not _HEX16.fullmatch(self.digest):
            raise JsonValueError("fingerprint_digest must be 16 hex digits")
        self.networks = _networks(self.manifest)
        self.created = get_string(self.manifest, "created")
        if not _is_moment(self.created):
            raise JsonValueError("created must be a date and time with a time zone, in ISO 8601 format")
        self.duration_s = get_number(self.manifest, "duration_s", 0, _MAX_TOTAL_S)
        self.n_tracks, self.n_segments, self.code_bytes = (
            get_integer(self.manifest, name, 0) for name in ("n_tracks", "n_segments", "code_bytes")
        )
        if self.code_bytes > MAX_CODE_BYTES:
            raise JsonValueError(f"code_bytes is more than {MAX_CODE_BYTES}")
        self.lineage, self.first, self.last = _place(self.manifest, self.manifest_digest)

    @property
    def in_memory(self) -> bool:
        """Whether all contents are in memory, which small files are."""
        return isinstance(self._contents, memoryview)

    def take(self, segments: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return packed cells ``(n,)`` and codes ``(n, code_bytes)`` of segments in any order."""
        if self.in_memory or not len(segments):
            packed_cells, codes = self._everything
            return packed_cells.take(segments), codes.take(segments, axis=0)
        order = np.argsort(segments, kind="stable")
        wanted = segments[order]
        begins = np.flatnonzero(np.diff(wanted, prepend=wanted[0] - READ_ACROSS - 1) > READ_ACROSS)
        firsts, ends = wanted[begins], wanted[np.append(begins[1:], len(wanted)) - 1] + 1
        lengths = np.diff(np.append(begins, len(wanted)))
        shifts = np.repeat(np.cumsum(ends - firsts) - ends, lengths)
        rows = np.empty(len(segments), dtype=np.int64)
        rows[order] = wanted + shifts
        packed_cells = np.frombuffer(self._read_runs(self._cells_start, 2, firsts, ends), "<u2")
        codes = np.frombuffer(self._read_runs(self._codes_start, self.code_bytes, firsts, ends), np.uint8)
        return packed_cells.take(rows), codes.reshape(-1, self.code_bytes).take(rows, axis=0)

    def _read_runs(
        self, start: int, width: int, firsts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> bytes:
        """Return the contents of a part for ranges of segments, one after the other."""
        if not isinstance(self._contents, OpenFile):
            return b""
        offsets, lengths = start + width * firsts, width * (ends - firsts)
        return self._contents.read_all(offsets.tolist(), lengths.tolist())

    @cached_property
    def _everything(self) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        n = self.n_segments if self.in_memory else 0
        return self.read(0, n)

    @cached_property
    def max_packed_cell(self) -> int | None:
        """The largest packed cell; None if there are no segments."""
        starts = range(0, self.n_segments, READ_AT_ONCE)
        return max(
            (
                int(self.packed_cells(start, min(start + READ_AT_ONCE, self.n_segments)).max())
                for start in starts
            ),
            default=None,
        )

    def read(self, start: int, end: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:
        """Return packed cells ``(n,)`` and codes ``(n, code_bytes)`` of a range of segments."""
        return self.packed_cells(start, end), self.codes(start, end)

    def packed_cells(self, start: int, end: int) -> npt.NDArray[np.uint16]:
        """Return the packed cells ``(n,)`` of the segments from `start` to `end`, read-only."""
        where = slice(self._cells_start + 2 * start, self._cells_start + 2 * end)
        return np.frombuffer(self._contents[where], "<u2")

    def codes(self, start: int, end: int) -> npt.NDArray[np.uint8]:
        """Return the codes ``(n, code_bytes)`` of the segments from `start` to `end`, read-only."""
        width = self.code_bytes
        where = slice(self._codes_start + width * start, self._codes_start + width * end)
        return np.frombuffer(self._contents[where], np.uint8).reshape(end - start, width)


def open_layer(path: Path) -> Layer:
    """Open a file of a pack and verify every byte of it.

    Raises
    ------
    PackError
        If the file cannot be read, or is not a regular file.
    UnusablePack
        If it is damaged, or of another format version.
    """
    return Layer(path, *read_file(path))


def lineage_of(path: Path) -> str:
    """Return the lineage of a file of a pack, whose parts are not verified. Raises as :func:`open_layer`."""
    contents, _ = read_file(path)
    try:
        return _place(read_manifest(contents), HEADER.unpack_from(contents[: HEADER.size])[4].hex())[0]
    except JsonValueError as error:
        raise UnusablePack(f"the manifest is invalid: {error}") from error


def _place(manifest: dict[str, Any], manifest_digest: str) -> tuple[str, int, int]:
    """Return lineage, first and last serial of a file. Raises JsonValueError."""
    if "layer" not in manifest:  # as in all packs before there were layers
        return manifest_digest[:16], 0, 0
    layer = get_object(manifest, "layer")
    lineage = get_string(layer, "lineage")
    first, last = (get_integer(layer, name, 0) for name in ("first", "last"))
    if not _HEX16.fullmatch(lineage) or not first <= last <= MAX_SERIAL:
        raise JsonValueError("layer must have a lineage of 16 hex digits and two serials in order")
    return lineage, first, last


def _networks(manifest: dict[str, Any]) -> tuple[str, ...]:
    """Return the digests of the networks that made the fingerprints. Raises JsonValueError."""
    if "networks" not in manifest:
        return ()
    networks = tuple(as_string(each, "networks") for each in get_array(manifest, "networks"))
    if not all(map(_HEX16.fullmatch, networks)):
        raise JsonValueError("networks must be a list of 16 hex digits each")
    return networks


def _is_moment(text: str) -> bool:
    """Return whether the text is a date and time with a time zone."""
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return when.tzinfo is not None and when.year in _YEARS
