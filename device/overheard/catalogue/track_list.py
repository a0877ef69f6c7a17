"""The metadata of tracks, and its packed form: zlib over JSON, one row a track, some 60 bytes each."""

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

_COLUMNS = ("id", "title", "artist", "album", "path", "duration_s", "size", "mtime_ns", "extras", "also")
_MAX_BYTES = 1 << 30  # a pack may come from a stranger: bounds what unpacking can take


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What is known of a track beside its sound."""

    title: str
    path: str
    duration_s: float
    artist: str = ""
    album: str = ""
    size: int = 0  # bytes of the audio file; with mtime_ns it tells that the file is unchanged
    mtime_ns: int = 0
    extras: Mapping[str, str] = dataclasses.field(default_factory=dict)  # licence, source
    also: tuple[tuple[str, int, int], ...] = ()  # (path, size, mtime_ns) of files with this very fingerprint


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackTrack(Metadata):
    """A track in a pack."""

    id: str
    n_segments: int

    def to_track(self, pack_name: str) -> events.Track:
        """Return what events and histories say about this track."""
        return events.Track(
            self.id, self.title, self.artist, self.album, self.path, pack_name, self.duration_s
        )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TrackEntry(Metadata):
    """A track on its way into a pack."""

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
    """Pack the metadata of tracks."""
    rows = [_to_row({"id": track.id, **metadata_of(track)}) for track in tracks]
    table = {"columns": _COLUMNS, "rows": rows}
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":"))
    # File names may hold undecodable bytes, which Python carries as lone surrogates.
    return zlib.compress(text.encode("utf-8", "surrogatepass"), 9)


def unpack_metadata(packed: bytes | memoryview, counts: Sequence[int]) -> tuple[PackTrack, ...]:
    """Undo :func:`pack_metadata`; `counts` are the tracks' segments. Raises ValueError if malformed."""
    try:
        unpacker = zlib.decompressobj()
        raw = unpacker.decompress(packed, _MAX_BYTES)
        if not unpacker.eof:
            raise ValueError("incomplete, or too long")
        table = json.loads(raw.decode("utf-8", "surrogatepass"))
        rows = [dict(zip(table["columns"], row, strict=False)) for row in table["rows"]]
        return tuple(_from_row(row, n) for row, n in zip(rows, counts, strict=True))
    except (zlib.error, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def _to_row(values: Mapping[str, Any]) -> list[Any]:
    row = [values[name] for name in _COLUMNS]
    row[_COLUMNS.index("duration_s")] = round(values["duration_s"], 2)
    while not row[-1] and len(row) > _COLUMNS.index(
        "size"
    ):  # most tracks have neither extras nor twins, those of a shared pack no size
        row.pop()
    return row


def _from_row(row: dict[str, Any], n_segments: int) -> PackTrack:
    return PackTrack(
        id=str(row["id"]),
        title=str(row["title"]),
        artist=str(row["artist"]),
        album=str(row["album"]),
        path=str(row["path"]),
        duration_s=float(row["duration_s"]),
        n_segments=n_segments,
        size=int(row.get("size", 0)),
        mtime_ns=int(row.get("mtime_ns", 0)),
        extras={str(key): str(value) for key, value in row.get("extras", {}).items()},
        also=tuple((str(path), int(size), int(mtime_ns)) for path, size, mtime_ns in row.get("also", ())),
    )
