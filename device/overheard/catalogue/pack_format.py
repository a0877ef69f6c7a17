"""Read and write the outer layout of pack files: header, manifest and parts, with checksums.

The layout is little-endian: a header of 64 bytes (magic, version, manifest length, file length, SHA-256 of
the manifest), the manifest as JSON, then the parts. Each part starts at a multiple of 64 bytes; the padding
is zero. The checksums and these rules cover every byte, so that any change is detected. Contents of the
parts: :mod:`overheard.catalogue.pack`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

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
_ALIGNMENT = 64
_HASHED_AT_ONCE = 1 << 20


class Contents(Protocol):
    """The bytes of a file: a `memoryview`, or a file that is read where needed."""

    def __len__(self) -> int:
        """Return the number of bytes."""

    def __getitem__(self, where: slice, /) -> memoryview:
        """Return the bytes of a range."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """What distinguishes kinds of files that have this layout: the first 16 bytes, a name, and the parts."""

    magic: bytes
    name: str
    parts: tuple[str, ...]


PACK = Layout(b"OVERHEARD PACK\n\0", "an overheard pack", PARTS)


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


@dataclasses.dataclass(frozen=True)
class Part:
    """The contents of a part, for writing.

    Attributes
    ----------
    n_bytes : total length
    chunks : the contents in order; read once
    """

    n_bytes: int
    chunks: Iterable[bytes]

    @classmethod
    def of(cls, chunks: Sequence[bytes]) -> Part:
        """Return a part whose chunks are in memory."""
        return cls(sum(map(len, chunks)), chunks)


def write_parts(
    file: BinaryIO,
    facts: dict[str, Any],
    parts: Mapping[str, Part],
    serials: tuple[int, int] | None = None,
    layout: Layout = PACK,
) -> None:
    """Write a pack file, or another with the same layout.

    Parameters
    ----------
    file : binary file, positioned at its start, that can seek
    facts : values for the manifest
    parts : the contents of each part, in the order of the file
    serials : of a new lineage, which is named by the checksums of the parts; None if `facts` name one or none
    """
    digests = dict.fromkeys(parts, "0" * 64)
    manifest = _manifest(facts, parts, digests, serials)  # has the final length, but not the checksums
    base = _aligned(HEADER.size + len(manifest))
    end = file.write(bytes(HEADER.size + len(manifest)))  # replaced when the checksums are known
    for part, (offset, length) in _offsets(parts).items():
        end += file.write(bytes(base + offset - end))
        digest = hashlib.sha256()
        for chunk in parts[part].chunks:
            file.write(chunk)
            digest.update(chunk)
            end += len(chunk)
        if end != base + offset + length:
            raise ValueError(f"part '{part}' has {end - base - offset} bytes instead of {length}")
        digests[part] = digest.hexdigest()
    manifest = _manifest(facts, parts, digests, serials)
    file.seek(0)
    file.write(HEADER.pack(layout.magic, VERSION, len(manifest), end, hashlib.sha256(manifest).digest()))
    file.write(manifest)


def _offsets(parts: Mapping[str, Part]) -> dict[str, tuple[int, int]]:
    """Return offset and length of each part.

    Offsets count from the aligned end of the manifest, so that they do not depend on the manifest's length.
    """
    table: dict[str, tuple[int, int]] = {}
    offset = 0
    for name, part in parts.items():
        table[name] = offset, part.n_bytes
        offset = _aligned(offset + part.n_bytes)
    return table


def _manifest(
    facts: dict[str, Any],
    parts: Mapping[str, Part],
    digests: Mapping[str, str],
    serials: tuple[int, int] | None,
) -> bytes:
    table = {
        name: {"offset": offset, "length": length, "sha256": digests[name]}
        for name, (offset, length) in _offsets(parts).items()
    }
    layer = {}
    if serials is not None:
        lineage = hashlib.sha256(" ".join(digests.values()).encode()).hexdigest()[:16]
        layer = {"layer": {"lineage": lineage, "first": serials[0], "last": serials[1]}}
    return json.dumps({**facts, **layer, "parts": table}, separators=(",", ":")).encode()


def check_header(header: bytes | memoryview, file_bytes: int, layout: Layout = PACK) -> tuple[int, bytes]:
    """Verify the header of a file with `file_bytes` bytes; return length and SHA-256 of the manifest.

    Raises
    ------
    UnusablePack
        If the file is not a pack, has another length, or has another format version.
    """
    if len(header) < HEADER.size:
        raise UnusablePack("the file is truncated" if len(header) else "the file is empty")
    magic, version, length, n_bytes, digest = HEADER.unpack_from(header)
    if magic != layout.magic:
        raise UnusablePack(f"the file is not {layout.name}, or is damaged")
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


def read_manifest(contents: Contents, layout: Layout = PACK) -> dict[str, Any]:
    """Verify the header and return the manifest.

    Raises
    ------
    UnusablePack
        If the file is not a pack, is damaged, or has another format version.
    """
    length, digest = check_header(contents[: HEADER.size], len(contents), layout)
    raw = contents[HEADER.size : HEADER.size + length]
    if hashlib.sha256(raw).digest() != digest:
        raise UnusablePack("the manifest is modified or damaged")
    try:
        return parse_object(bytes(raw))
    except JsonValueError as error:
        raise UnusablePack(f"the manifest is invalid: {error}") from error


def find_parts(contents: Contents, manifest: dict[str, Any], layout: Layout = PACK) -> dict[str, slice]:
    """Return where each part is in the file; the padding is verified, the parts are not.

    Raises
    ------
    UnusablePack
        If the manifest does not describe the parts correctly.
    """
    end = HEADER.size + HEADER.unpack_from(contents[: HEADER.size])[2]
    base = _aligned(end)
    parts: dict[str, slice] = {}
    for name, (offset, length, _) in _part_table(manifest, layout).items():
        start = base + offset
        if start != _aligned(end) or start + length > len(contents) or any(contents[end:start]):
            raise UnusablePack(f"part '{name}' has an incorrect position or length")
        end = start + length
        parts[name] = slice(start, end)
    if end != len(contents):
        raise UnusablePack("the file has extra bytes at its end")
    return parts


def verify_parts(contents: Contents, manifest: dict[str, Any], layout: Layout = PACK) -> None:
    """Verify the checksums of all parts. Raises UnusablePack if a part is damaged."""
    table = _part_table(manifest, layout)
    for name, where in find_parts(contents, manifest, layout).items():
        digest = hashlib.sha256()
        for start in range(where.start, where.stop, _HASHED_AT_ONCE):
            digest.update(contents[start : min(start + _HASHED_AT_ONCE, where.stop)])
        if digest.hexdigest() != table[name][2]:
            raise UnusablePack(f"part '{name}' is modified or damaged")


def read_parts(contents: Contents, manifest: dict[str, Any]) -> dict[str, memoryview]:
    """Verify the parts and return them by name. Raises UnusablePack as the functions above."""
    verify_parts(contents, manifest)
    return {name: contents[where] for name, where in find_parts(contents, manifest).items()}


def _part_table(manifest: dict[str, Any], layout: Layout) -> dict[str, tuple[int, int, str]]:
    """Return offset, length and SHA-256 of each part. Raises UnusablePack."""
    try:
        table = get_object(manifest, "parts")
        entries = {name: get_object(table, name) for name in layout.parts}
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
