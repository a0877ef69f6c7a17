"""Pack the metadata of tracks as compressed JSON, one row of about 60 bytes per track, and unpack it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from overheard import events
from overheard.fingerprint.json_values import (
    JsonValueError,
    as_integer,
    as_path,
    as_string,
    get_array,
    get_integer,
    get_number,
    get_object,
    get_string,
    parse_object,
    required,
)

_COLUMNS = ("id", "title", "artist", "album", "path", "duration_s", "size", "mtime_ns", "extras", "also")
_OPTIONAL = {"size": 0, "mtime_ns": 0, "extras": {}, "also": []}  # defaults, which a row omits at its end
_ID = re.compile(r"[0-9a-f]{12}")
MAX_DURATION_S = 1e9  # 30 years; clocks and tables can show it
# Limits for hostile lists: 10 kB can decompress to 10 MB, and these can become 200 MB of Python objects. The
# list of a real pack has a twentieth of the pack's bytes; the constants allow for many copies of few tracks.
_MIN_BYTES, _BYTES_PER_BYTE = 1 << 22, 8  # uncompressed, and for each byte of the pack
_MIN_VALUES, _VALUES_PER_BYTE = 1 << 18, 0.25
_SMALL_BYTES = (
    1 << 23
)  # of a pack; for what is more, the list has no more than a few times what real ones have
_BYTES_PER_MORE_BYTE, _VALUES_PER_MORE_BYTE = 0.25, 0.02


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


def pack_metadata(tracks: Iterable[TrackEntry | PackTrack], removed: Collection[str] = ()) -> bytes:
    """Return the metadata of tracks as zlib-compressed JSON; `removed` are ids of tracks of lower layers."""
    compressor = zlib.compressobj(9)
    packed = [compressor.compress(b'{"columns":' + _to_json(_COLUMNS) + b',"rows":[')]
    for number, track in enumerate(tracks):
        row = _to_json(_to_row({"id": track.id, **metadata_of(track)}))
        packed.append(compressor.compress(b"," + row if number else row))
    end = b',"removed":' + _to_json(sorted(removed)) if removed else b""
    return b"".join([*packed, compressor.compress(b"]" + end + b"}"), compressor.flush()])


def _to_json(value: object) -> bytes:
    # Undecodable bytes in file names are lone surrogates in Python strings.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def unpack_metadata(
    packed: bytes | memoryview, counts: Sequence[int], pack_bytes: int
) -> tuple[tuple[PackTrack, ...], frozenset[str]]:
    """Read the result of :func:`pack_metadata`.

    Parameters
    ----------
    packed : compressed JSON
    counts : number of segments of each track
    pack_bytes : size of the whole pack, which limits the size of the metadata

    Returns
    -------
    tracks : tuple of PackTrack
    removed : frozenset of str

    Raises
    ------
    JsonValueError
        If the data is damaged, too large, is not a table of tracks, or has not one row per count.
    """
    table = parse_object(decompress(packed, pack_bytes))
    columns, rows = get_array(table, "columns"), get_array(table, "rows")
    if len(rows) != len(counts):
        raise JsonValueError(f"{len(rows)} rows for {len(counts)} tracks")
    if not all(isinstance(column, str) for column in columns):
        raise JsonValueError("a column's name must be a string")
    tracks = tuple(from_row(columns, row, n) for row, n in zip(rows, counts, strict=True))
    return tracks, frozenset(map(to_id, get_array(table, "removed") if "removed" in table else ()))


def to_id(value: object) -> str:
    """Return the value, which must be a track's id. Raises JsonValueError."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise JsonValueError("id must be 12 hex digits")
    return value


def decompress(packed: bytes | memoryview, pack_bytes: int) -> str:
    """Return the JSON text. Raises JsonValueError if it would take much memory to parse."""
    small, rest = min(pack_bytes, _SMALL_BYTES), max(0, pack_bytes - _SMALL_BYTES)
    max_bytes = int(_MIN_BYTES + _BYTES_PER_BYTE * small + _BYTES_PER_MORE_BYTE * rest)
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(packed, max_bytes)
        n_values = sum(map(text.count, (b",", b"[", b"{")))
        if n_values > _MIN_VALUES + _VALUES_PER_BYTE * small + _VALUES_PER_MORE_BYTE * rest:
            raise JsonValueError(f"too many values ({n_values})")
        if not decompressor.eof:
            raise JsonValueError(f"truncated, or more than {max_bytes} bytes when uncompressed")
        return text.decode("utf-8", "surrogatepass")
    except (zlib.error, UnicodeDecodeError) as error:
        raise JsonValueError(f"cannot be decompressed ({error})") from error


def _to_row(values: Mapping[str, Any]) -> list[Any]:
    row = [values[name] for name in _COLUMNS]
    row[_COLUMNS.index("duration_s")] = round(values["duration_s"], 2)
    # Most tracks have neither extras nor duplicates; those of published packs have no size.
    while len(row) > len(_COLUMNS) - len(_OPTIONAL) and not row[-1]:
        row.pop()
    return row


def from_row(columns: Sequence[str], row: object, n_segments: int) -> PackTrack:
    """Return the track of a parsed row. Raises JsonValueError if it is invalid."""
    if not isinstance(row, list) or len(row) > len(columns):
        raise JsonValueError(f"a row must be an array of at most {len(columns)} values")
    values = {**_OPTIONAL, **dict(zip(columns, row, strict=False))}
    track_id = to_id(get_string(values, "id"))
    return PackTrack(id=track_id, n_segments=n_segments, **read_metadata(values))


def read_metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of :class:`Metadata` from parsed JSON. Raises JsonValueError if one is invalid."""
    return {
        **{name: get_string(values, name) for name in ("title", "artist", "album")},
        "path": as_path(required(values, "path"), "path"),
        "duration_s": get_number(values, "duration_s", 0, MAX_DURATION_S),
        "size": get_integer(values, "size", 0),
        "mtime_ns": get_integer(values, "mtime_ns"),
        "extras": _to_extras(get_object(values, "extras")),
        "also": tuple(map(_to_file, get_array(values, "also"))),
    }


def _to_extras(extras: Mapping[str, Any]) -> dict[str, str]:
    return {as_string(name, "a name in extras"): get_string(extras, name) for name in extras}


def _to_file(value: object) -> tuple[str, int, int]:
    """Return path, size and modification time of a file in the column ``also``."""
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[0], str):
        raise JsonValueError("a file in 'also' must be an array of path, size and mtime_ns")
    return as_path(value[0], "path"), as_integer(value[1], "size", 0), as_integer(value[2], "mtime_ns")
