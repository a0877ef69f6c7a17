"""Read the file in which earlier releases kept audio hashes: one line with a SHA-256, then JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from overheard.files import read_regular
from overheard.fingerprint.json_values import JsonValueError, as_integer, get_array, parse_object

_MAGIC = "overheard file hashes 1"
_MAX_BYTES = 1 << 28  # a million files


def load_json(path: Path) -> Iterator[tuple[str, int, int, str]]:
    """Yield path, size, modification time and hash of each file; none if the list is missing or damaged."""
    try:
        header, _, body = read_regular(path, _MAX_BYTES).partition(b"\n")
        if header == f"{_MAGIC} {hashlib.sha256(body).hexdigest()}".encode():
            yield from [_from_row(row) for row in get_array(parse_object(body), "files")]
    except (OSError, JsonValueError):
        return


def _from_row(row: object) -> tuple[str, int, int, str]:
    if not isinstance(row, list) or len(row) != 4:
        raise JsonValueError("a file must be an array of path, size, mtime_ns and hash")
    path, size, mtime_ns, audio_hash = row
    if not isinstance(path, str) or not isinstance(audio_hash, str):
        raise JsonValueError("a path and a hash must be strings")
    return path, as_integer(size, "size", 0), as_integer(mtime_ns, "mtime_ns"), audio_hash
