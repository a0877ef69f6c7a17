"""The signed documents of a repository: the root, with the public keys, and the index, with the packs.

Both are JSON. Signed are the exact bytes of the file; the signatures are beside it, in ``NAME.sig``::

    latest.json               not signed: the newest versions of root and index
    root.3.json, .sig         public keys, signed with the keys of versions 2 and 3
    index.41.json, .sig       packs and their files, signed with a key from the root
    files/SHA256.pack         bases and layers, by the SHA-256 of their contents

A file never changes once it is published, except ``latest.json``.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from typing import Any

from overheard.catalogue.layer import MAX_SERIAL
from overheard.catalogue.pack_file import MAX_BYTES
from overheard.fingerprint.json_values import (
    JsonValueError,
    get_array,
    get_integer,
    get_object,
    get_string,
    parse_object,
    required,
)
from overheard.updates.keys import hex_digits

FORMAT = 1
LATEST = "latest.json"
MAX_LATEST_BYTES = 1 << 10
MAX_ROOT_BYTES = 1 << 15
MAX_SIGNATURE_BYTES = 1 << 13
MAX_INDEX_BYTES = 1 << 22
MAX_VERSION = 10**9
MAX_PACKS = 1000
MAX_FILES = 2000  # of a pack
MAX_KEYS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def pack_name(name: str) -> str:
    """Return a pack's name that is safe as a file name everywhere. Raises JsonValueError for another."""
    if not _NAME.fullmatch(name):
        raise JsonValueError("a pack's name must be up to 64 letters, digits, - and _")
    return name


@dataclasses.dataclass(frozen=True)
class Role:
    """Who may sign: at least `threshold` of the keys, each of 64 hex digits."""

    threshold: int
    keys: tuple[str, ...]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Role:
        """Read a role. Raises JsonValueError."""
        keys = get_array(values, "keys")
        if not 1 <= len(keys) <= MAX_KEYS or len(set(map(str, keys))) != len(keys):
            raise JsonValueError(f"keys must be 1 to {MAX_KEYS} different keys")
        keys = [hex_digits(key if isinstance(key, str) else "", 64, "a key") for key in keys]
        threshold = get_integer(values, "threshold", 1)
        if threshold > len(keys):
            raise JsonValueError("threshold is larger than the number of keys")
        return cls(threshold, tuple(keys))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {"threshold": self.threshold, "keys": list(self.keys)}


@dataclasses.dataclass(frozen=True)
class Root:
    """The keys of a repository, until the next version replaces them."""

    repository: str  # 32 hex digits, chosen at random when the repository was created
    version: int
    created: datetime.datetime
    expires: datetime.datetime
    root: Role  # who signs this document and the next
    index: Role  # who signs indexes

    @classmethod
    def parse(cls, content: bytes) -> Root:
        """Read a root document whose signatures the caller verifies. Raises JsonValueError."""
        values = _document(content, "root")
        roles = (Role.parse(get_object(values, name)) for name in ("root", "index"))
        return cls(*_head(values), *roles)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        roles = {"root": self.root.to_dict(), "index": self.index.to_dict()}
        return {**_head_of("root", self), **roles}


@dataclasses.dataclass(frozen=True)
class PackFile:
    """A base or a layer, and the serials that it covers."""

    base: bool
    first: int
    last: int
    size: int  # bytes
    sha256: str

    @property
    def path(self) -> str:
        """The file's path in the repository."""
        return f"files/{self.sha256}.pack"

    @classmethod
    def parse(cls, values: object) -> PackFile:
        """Read a row of a pack's files. Raises JsonValueError."""
        if not isinstance(values, dict):
            raise JsonValueError("a file must be an object")
        base = required(values, "base")
        if not isinstance(base, bool):
            raise JsonValueError("base must be true or false")
        first, last, size = (get_integer(values, name, 0) for name in ("first", "last", "size"))
        if not first <= last < MAX_SERIAL or (first == 0 and not base):
            raise JsonValueError("first and last are no serials of a file")
        if not 0 < size <= MAX_BYTES:
            raise JsonValueError("size is out of range")
        return cls(base, first, last, size, hex_digits(get_string(values, "sha256"), 64, "sha256"))


@dataclasses.dataclass(frozen=True)
class PackEntry:
    """A pack of the repository, with the files of which each client takes those that it needs."""

    name: str
    model: str  # digest of the model, 16 hex digits
    lineage: str  # 16 hex digits
    last: int  # the serial to reach
    tracks: int
    files: tuple[PackFile, ...]

    @classmethod
    def parse(cls, values: object) -> PackEntry:
        """Read a pack of an index. Raises JsonValueError."""
        if not isinstance(values, dict):
            raise JsonValueError("a pack must be an object")
        files = get_array(values, "files")
        if len(files) > MAX_FILES:
            raise JsonValueError(f"a pack has more than {MAX_FILES} files")
        return cls(
            name=pack_name(get_string(values, "name")),
            model=hex_digits(get_string(values, "model"), 16, "model"),
            lineage=hex_digits(get_string(values, "lineage"), 16, "lineage"),
            last=get_integer(values, "last", 0),
            tracks=get_integer(values, "tracks", 0),
            files=tuple(map(PackFile.parse, files)),
        )


@dataclasses.dataclass(frozen=True)
class Index:
    """What a repository contains at one moment."""

    repository: str
    version: int
    created: datetime.datetime
    expires: datetime.datetime
    packs: tuple[PackEntry, ...]

    @classmethod
    def parse(cls, content: bytes) -> Index:
        """Read an index whose signature the caller verifies. Raises JsonValueError."""
        values = _document(content, "index")
        rows = get_array(values, "packs")
        if len(rows) > MAX_PACKS:
            raise JsonValueError(f"more than {MAX_PACKS} packs")
        packs = tuple(map(PackEntry.parse, rows))
        if len({(pack.name.casefold(), pack.model) for pack in packs}) != len(packs):
            raise JsonValueError("two packs have the same name and model")
        return cls(*_head(values), packs)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {**_head_of("index", self), "packs": [dataclasses.asdict(pack) for pack in self.packs]}


def parse_latest(content: bytes) -> tuple[int, int]:
    """Return the newest versions of root and index from ``latest.json``. Raises JsonValueError."""
    values = _with_format(content)
    return _version(values, "root"), _version(values, "index")


def _document(content: bytes, kind: str) -> dict[str, Any]:
    values = _with_format(content)
    if get_string(values, "type") != kind:
        raise JsonValueError(f"type is not {kind}")
    return values


def _with_format(content: bytes) -> dict[str, Any]:
    values = parse_object(content)
    if (version := get_integer(values, "format", 1)) != FORMAT:
        raise JsonValueError(f"format {version} is not supported by this overheard; update overheard")
    return values


def _head(values: Mapping[str, Any]) -> tuple[str, int, datetime.datetime, datetime.datetime]:
    return (
        hex_digits(get_string(values, "repository"), 32, "repository"),
        _version(values, "version"),
        moment(get_string(values, "created"), "created"),
        moment(get_string(values, "expires"), "expires"),
    )


def _head_of(kind: str, document: Root | Index) -> dict[str, Any]:
    return {
        "type": kind,
        "format": FORMAT,
        "repository": document.repository,
        "version": document.version,
        "created": document.created.isoformat(timespec="seconds"),
        "expires": document.expires.isoformat(timespec="seconds"),
    }


def _version(values: Mapping[str, Any], name: str) -> int:
    if (version := get_integer(values, name, 1)) > MAX_VERSION:
        raise JsonValueError(f"{name} is out of range")
    return version


def moment(text: str, name: str) -> datetime.datetime:
    """Return a time in ISO 8601 format as UTC. Raises JsonValueError."""
    try:
        when = datetime.datetime.fromisoformat(text)
        if when.tzinfo is not None and 2 <= when.year < 9999:
            return when.astimezone(datetime.timezone.utc)
    except (ValueError, OverflowError):
        pass
    raise JsonValueError(f"{name} must be a time with a time zone in ISO 8601 format")
