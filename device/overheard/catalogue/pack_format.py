"""Read and write the outer layout of pack files: header, manifest and parts, with checksums.

The layout is little-endian: a header of 64 bytes (magic, version, manifest length, file length, SHA-256 of
the manifest), the manifest as JSON, then the parts. Each part starts at a multiple of 64 bytes; the padding
is zero. The checksums and these rules cover every byte, so that any change is detected. Contents of the
parts: :mod:`overheard.catalogue.pack`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from overheard.fingerprint.json_values import (
    JsonValueError,
    get_integer,
    get_object,
    get_string,
    parse_object,
)

VERSION = 1
PARTS = ("cells", "codes", "segments", "tracks")
MAX_MANIFEST_BYTES = 1 << 18  # a manifest has about 1 kB; limits what a hostile one can allocate
HEADER = struct.Struct("<16sIIQ32s")
_MAGIC = b"OVERHEARD PACK\n\0"
_ALIGNMENT = 64


class UnusablePack(Exception):
    """Why a file cannot be read as a pack, without the file's name.

    Parameters
    ----------
    reason : what is wrong
    remedy : what the user can do, if it differs from replacing the pack
    """

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def write_parts(file: BinaryIO, facts: dict[str, Any], parts: Mapping[str, Sequence[bytes]]) -> None:
    """Write a pack file.

    Parameters
    ----------
    file : binary file, positioned at its start
    facts : values for the manifest
    parts : the contents of each part, as a sequence of chunks
    """
    # Offsets count from the aligned end of the manifest, so that they do not depend on the manifest's length.
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


def check_header(header: bytes | memoryview, file_bytes: int) -> tuple[int, bytes]:
    """Verify the header of a file with `file_bytes` bytes; return length and SHA-256 of the manifest.

    Raises
    ------
    UnusablePack
        If the file is not a pack, has another length, or has another format version.
    """
    if len(header) < HEADER.size:
        raise UnusablePack("the file is truncated" if len(header) else "the file is empty")
    magic, version, length, n_bytes, digest = HEADER.unpack_from(header)
    if magic != _MAGIC:
        raise UnusablePack("the file is not an overheard pack, or is damaged")
    if version != VERSION:
        raise UnusablePack(
            f"the file has format version {version}; this overheard supports version {VERSION}",
            "update overheard",
        )
    if n_bytes != file_bytes:
        raise UnusablePack(f"the file has {file_bytes} bytes instead of {n_bytes}")
    if length > MAX_MANIFEST_BYTES:
        raise UnusablePack(f"the manifest has more than {MAX_MANIFEST_BYTES} bytes")
    return length, digest


def read_manifest(view: memoryview) -> dict[str, Any]:
    """Verify the header and return the manifest.

    Raises
    ------
    UnusablePack
        If the file is not a pack, is damaged, or has another format version.
    """
    length, digest = check_header(view[: HEADER.size], len(view))
    raw = view[HEADER.size : HEADER.size + length]
    if hashlib.sha256(raw).digest() != digest:
        raise UnusablePack("the manifest is modified or damaged")
    try:
        return parse_object(bytes(raw))
    except JsonValueError as error:
        raise UnusablePack(f"the manifest is invalid: {error}") from error


def read_parts(view: memoryview, manifest: dict[str, Any]) -> dict[str, memoryview]:
    """Verify the parts and return them by name.

    Raises
    ------
    UnusablePack
        If a part is damaged, or if the manifest does not describe the parts correctly.
    """
    end = HEADER.size + HEADER.unpack_from(view)[2]
    base = _aligned(end)
    parts: dict[str, memoryview] = {}
    for name, (offset, length, digest) in _part_table(manifest).items():
        start = base + offset
        if start != _aligned(end) or start + length > len(view) or any(view[end:start]):
            raise UnusablePack(f"part '{name}' has an incorrect position or length")
        end = start + length
        parts[name] = view[start:end]
        if hashlib.sha256(parts[name]).hexdigest() != digest:
            raise UnusablePack(f"part '{name}' is modified or damaged")
    if end != len(view):
        raise UnusablePack("the file has extra bytes at its end")
    return parts


def _part_table(manifest: dict[str, Any]) -> dict[str, tuple[int, int, str]]:
    """Return offset, length and SHA-256 of each part. Raises UnusablePack."""
    try:
        table = get_object(manifest, "parts")
        entries = {name: get_object(table, name) for name in PARTS}
        return {
            name: (
                get_integer(entry, "offset", 0),
                get_integer(entry, "length", 0),
                get_string(entry, "sha256"),
            )
            for name, entry in entries.items()
        }
    except JsonValueError as error:
        raise UnusablePack(f"the manifest is invalid: {error}") from error


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
