"""The bytes of a pack file: header, manifest and parts, each with its SHA-256; what they mean is pack.py's.

Little-endian: a header of 64 bytes (magic, version, manifest length, file length, SHA-256 of the manifest),
the manifest as JSON, then the parts, each from a multiple of 64 bytes on, zeros between: no byte can change
unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

VERSION = 1
PARTS = ("cells", "codes", "segments", "tracks")
HEADER = struct.Struct("<16sIIQ32s")
_MAGIC = b"OVERHEARD PACK\n\0"
_ALIGNMENT = 64


class Damaged(Exception):
    """Why a file is not a readable pack, without its name."""


def write_parts(file: BinaryIO, facts: dict[str, Any], parts: Mapping[str, Sequence[bytes]]) -> None:
    """Write a whole file; `facts` go into the manifest, each part comes in pieces."""
    # Offsets count from the end of the manifest, rounded up, so as not to depend on the manifest's length.
    table: dict[str, dict[str, Any]] = {}
    offset = 0
    for part in PARTS:
        length = sum(map(len, parts[part]))
        digest = hashlib.sha256()
        for chunk in parts[part]:
            digest.update(chunk)
        table[part] = {"offset": offset, "length": length, "sha256": digest.hexdigest()}
        offset = _aligned(offset + length)
    manifest = json.dumps({**facts, "parts": table}, separators=(",", ":")).encode()
    base = _aligned(HEADER.size + len(manifest))
    last = table[PARTS[-1]]
    n_bytes = base + last["offset"] + last["length"]
    file.write(HEADER.pack(_MAGIC, VERSION, len(manifest), n_bytes, hashlib.sha256(manifest).digest()))
    file.write(manifest)
    for part in PARTS:
        file.write(bytes(base + table[part]["offset"] - file.tell()))
        for chunk in parts[part]:
            file.write(chunk)


def read_manifest(view: memoryview) -> dict[str, Any]:
    """Check header and manifest of a file of 64 bytes or more. Raises Damaged."""
    magic, version, length, n_bytes, digest = HEADER.unpack_from(view)
    if magic != _MAGIC:
        raise Damaged("it is no overheard pack, or altered")
    if version != VERSION:
        raise Damaged(
            f"it has format version {version} and this overheard reads {VERSION} (update overheard)"
        )
    if n_bytes != len(view):
        raise Damaged(f"it has {len(view)} bytes instead of {n_bytes}")
    raw = view[HEADER.size : HEADER.size + length]
    if hashlib.sha256(raw).digest() != digest:
        raise Damaged("its manifest is altered")
    try:
        return dict(json.loads(bytes(raw)))
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged("its manifest is malformed") from error


def read_parts(view: memoryview, manifest: dict[str, Any]) -> dict[str, memoryview]:
    """Return the parts by name, each checked. Raises Damaged."""
    end = HEADER.size + HEADER.unpack_from(view)[2]
    base = _aligned(end)
    parts: dict[str, memoryview] = {}
    try:
        for name in PARTS:
            entry = manifest["parts"][name]
            start, length = base + entry["offset"], entry["length"]
            if start != _aligned(end) or length < 0 or start + length > len(view) or any(view[end:start]):
                raise Damaged("its parts are out of place")
            end = start + length
            parts[name] = view[start:end]
            if hashlib.sha256(parts[name]).hexdigest() != entry["sha256"]:
                raise Damaged(f"its part '{name}' is altered")
    except (KeyError, TypeError) as error:
        raise Damaged("its manifest does not describe it") from error
    if end != len(view):
        raise Damaged("it has bytes behind its end")
    return parts


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
