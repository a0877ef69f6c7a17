"""Keep the audio hash of each indexed file in a small file beside the pack.

It lets `overheard index` recognize files that were renamed, touched or tagged. It may be deleted at any time:
the next run then fingerprints such files again. The file is one line with a SHA-256, then JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from overheard.errors import OverheardError
from overheard.files import atomic_write, read_regular
from overheard.fingerprint.json_values import (
    JsonValueError,
    as_integer,
    get_array,
    parse_object,
)

_MAGIC = "overheard file hashes 1"
_MAX_BYTES = 1 << 30


@dataclasses.dataclass(frozen=True)
class FileHash:
    """The hash of a file's audio packets, and the file's size and modification time when it was read."""

    size: int  # bytes
    mtime_ns: int
    audio_hash: str


def hashes_path(pack_path: Path) -> Path:
    """Return the file that belongs to a pack."""
    return pack_path.with_name(f"{pack_path.stem}.index.json")


def load_hashes(path: Path) -> dict[str, FileHash]:
    """Return the hashes by path; none if the file is missing, damaged or of another version."""
    try:
        content = read_regular(path, _MAX_BYTES)
        header, _, body = content.partition(b"\n")
        if header != _header(body):
            return {}
        rows = get_array(parse_object(body), "files")
        return dict(map(_from_row, rows))
    except (OSError, JsonValueError):
        return {}


def save_hashes(path: Path, hashes: Mapping[str, FileHash]) -> None:
    """Replace the file atomically.

    Raises
    ------
    OverheardError
        If it cannot be written.
    """
    rows = [[name, h.size, h.mtime_ns, h.audio_hash] for name, h in sorted(hashes.items())]
    # Undecodable bytes in names are lone surrogates, which JSON can escape.
    body = json.dumps({"files": rows}, separators=(",", ":")).encode("ascii")
    try:
        with atomic_write(path) as file:
            os.fchmod(file.fileno(), 0o600)  # it lists the user's files
            file.write(_header(body) + b"\n" + body)
    except OSError as error:
        raise OverheardError(
            f"{path}: cannot be written ({error.strerror or error})", "check free disk space and permissions"
        ) from error


def _header(body: bytes) -> bytes:
    return f"{_MAGIC} {hashlib.sha256(body).hexdigest()}".encode()


def _from_row(row: object) -> tuple[str, FileHash]:
    if not isinstance(row, list) or len(row) != 4:
        raise JsonValueError("a file must be an array of path, size, mtime_ns and hash")
    path, size, mtime_ns, audio_hash = row
    if not isinstance(path, str) or not isinstance(audio_hash, str):
        raise JsonValueError("a path and a hash must be strings")
    return path, FileHash(as_integer(size, "size", 0), as_integer(mtime_ns, "mtime_ns"), audio_hash)
