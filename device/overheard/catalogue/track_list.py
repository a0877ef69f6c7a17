"""Pack the metadata of tracks as compressed JSON, one row of about 60 bytes per track, and unpack it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard import events
from overheard.fingerprint.json_values import (
    JsonValueError,
    as_integer,
    get_array,
    get_integer,
    get_number,
    get_object,
    get_string,
    parse_object,
)

_COLUMNS = ("id", "title", "artist", "album", "path", "duration_s", "size", "mtime_ns", "extras", "also")
_OPTIONAL = {"size": 0, "mtime_ns": 0, "extras": {}, "also": []}  # defaults, which a row omits at its end
_MAX_BYTES = 1 << 30  # uncompressed, 1 GiB or 10 million tracks; limits what a hostile pack can allocate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """Metadata of a track: tags, and facts about its audio file."""

    title: str
    path: str
    duration_s: float
    artist: str = ""
    album: str = ""
    size: int = 0  # bytes of the audio file; if size and mtime_ns are the same, the file is unchanged
    mtime_ns: int = 0
    extras: Mapping[str, str] = dataclasses.field(default_factory=dict)  # licence, source
    also: tuple[tuple[str, int, int], ...] = ()  # (path, size, mtime_ns) of files with the same fingerprint


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackTrack(Metadata):
    """A track in a pack."""

    id: str
    n_segments: int

    def to_track(self, pack_name: str) -> events.Track:
        """Return the description of this track for events and histories."""
        return events.Track(
            self.id, self.title, self.artist, self.album, self.path, pack_name, self.duration_s
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrackEntry(Metadata):
    """A track with its fingerprint, for writing into a pack."""

    packed_cells: npt.NDArray[np.uint16]  # (n,)
    codes: npt.NDArray[np.uint8]  # (n, code_bytes)

    @cached_property
    def id(self) -> str:
        """12 hex digits of the fingerprint's SHA-256."""
        digest = hashlib.sha256(np.ascontiguousarray(self.packed_cells, dtype="<u2").tobytes())
        digest.update(np.ascontiguousarray(self.codes).tobytes())
        return digest.hexdigest()[:12]


def metadata_of(track: Metadata) -> dict[str, Any]:
    """Return the fields of :class:`Metadata` by name."""
    return {field.name: getattr(track, field.name) for field in dataclasses.fields(Metadata)}


def pack_metadata(tracks: Sequence[TrackEntry]) -> bytes:
    """Return the metadata of tracks as zlib-compressed JSON."""
    rows = [_to_row({"id": track.id, **metadata_of(track)}) for track in tracks]
    table = {"columns": _COLUMNS, "rows": rows}
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":"))
    # Undecodable bytes in file names are lone surrogates in Python strings.
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 9)


def unpack_metadata(packed: bytes | memoryview, counts: Sequence[int]) -> tuple[PackTrack, ...]:
    """Read the result of :func:`pack_metadata`.

    Parameters
    ----------
    packed : compressed JSON
    counts : number of segments of each track

    Raises
    ------
    JsonValueError
        If the data is damaged, is not a table of tracks, or has not one row per count.
    """
    table = parse_object(_decompress(packed))
    columns, rows = get_array(table, "columns"), get_array(table, "rows")
    if len(rows) != len(counts):
        raise JsonValueError(f"{len(rows)} rows for {len(counts)} tracks")
    if not all(isinstance(column, str) for column in columns):
        raise JsonValueError("a column's name must be a string")
    return tuple(_from_row(columns, row, n) for row, n in zip(rows, counts, strict=True))


def _decompress(packed: bytes | memoryview) -> str:
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(packed, _MAX_BYTES).decode("utf-8", "surrogatepass")
    except (zlib.error, UnicodeDecodeError) as error:
        raise JsonValueError(f"cannot be decompressed ({error})") from error
    if not decompressor.eof:
        raise JsonValueError(f"truncated, or more than {_MAX_BYTES} bytes when uncompressed")
    return text


def _to_row(values: Mapping[str, Any]) -> list[Any]:
    row = [values[name] for name in _COLUMNS]
    row[_COLUMNS.index("duration_s")] = round(values["duration_s"], 2)
    # Most tracks have neither extras nor duplicates; those of published packs have no size.
    while len(row) > len(_COLUMNS) - len(_OPTIONAL) and not row[-1]:
        row.pop()
    return row


def _from_row(columns: Sequence[str], row: object, n_segments: int) -> PackTrack:
    if not isinstance(row, list) or len(row) > len(columns):
        raise JsonValueError(f"a row must be an array of at most {len(columns)} values")
    values = {**_OPTIONAL, **dict(zip(columns, row, strict=False))}
    extras = get_object(values, "extras")
    return PackTrack(
        id=get_string(values, "id"),
        title=get_string(values, "title"),
        artist=get_string(values, "artist"),
        album=get_string(values, "album"),
        path=get_string(values, "path"),
        duration_s=get_number(values, "duration_s", 0),
        n_segments=n_segments,
        size=get_integer(values, "size", 0),
        mtime_ns=get_integer(values, "mtime_ns"),
        extras={name: get_string(extras, name) for name in extras},
        also=tuple(map(_to_file, get_array(values, "also"))),
    )


def _to_file(value: object) -> tuple[str, int, int]:
    """Return path, size and modification time of a file in the column ``also``."""
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        raise JsonValueError("a file in 'also' must be an array of path, size and mtime_ns")
    return value[0], as_integer(value[1], "size", 0), as_integer(value[2], "mtime_ns")
