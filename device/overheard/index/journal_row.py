"""Convert a fingerprinted track to a row of the journal and back, with a checksum."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from typing import Any

import numpy as np

from overheard.catalogue.track_list import TrackEntry, metadata_of, read_metadata
from overheard.fingerprint.json_values import JsonValueError, parse_object

Row = tuple[
    Any, ...
]  # path, metadata, cells, codes, audio_hash, digest: bytes, as long as the file is intact


@dataclasses.dataclass(frozen=True)
class SavedTrack:
    """A track, and the hash of its file's audio packets; empty if there is none."""

    entry: TrackEntry
    audio_hash: str


def to_row(entry: TrackEntry, audio_hash: str, key: str, number: int = 0) -> Row:
    """Return the row of a track that was fingerprinted with the model `key`; `number` counts in its file."""
    contents = (
        os.fsencode(entry.path) + (b"\0%03d" % number if number else b""),
        json.dumps(metadata_of(entry)).encode(),
        entry.packed_cells.astype("<u2").tobytes(),
        entry.codes.tobytes(),
        audio_hash.encode(),
    )
    return (*contents, _digest(key, contents))


def keys_of(path: str) -> tuple[bytes, bytes, bytes]:
    """Return the path in a file's first row, and the lowest and highest in its other rows."""
    raw = os.fsencode(path)
    return raw, raw + b"\0", raw + b"\0\xff"


def from_row(row: Row, key: str) -> SavedTrack | None:
    """Undo :func:`to_row`; None if the row is damaged, or belongs to another model."""
    *contents, digest = row
    if not all(isinstance(value, bytes) for value in contents) or digest != _digest(key, contents):
        return None
    path, metadata, packed_cells, codes, audio_hash = contents
    n = len(packed_cells) // 2
    if not n or len(packed_cells) % 2 or len(codes) % n:
        return None
    try:
        entry = TrackEntry(
            **read_metadata(parse_object(metadata)),
            packed_cells=np.frombuffer(packed_cells, "<u2"),
            codes=np.frombuffer(codes, np.uint8).reshape(n, len(codes) // n),
        )
        is_of_path = os.fsencode(entry.path) == path.partition(b"\0")[0]
        return SavedTrack(entry, audio_hash.decode()) if is_of_path else None
    except (JsonValueError, UnicodeError):
        return None


def _digest(key: str, contents: list[Any] | tuple[Any, ...]) -> bytes:
    digest = hashlib.sha256()
    for part in (key.encode(), *contents):
        digest.update(len(part).to_bytes(8, "little"))  # so that no byte can move to the next part
        digest.update(part)
    return digest.digest()
