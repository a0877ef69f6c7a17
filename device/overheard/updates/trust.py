"""Decide what to trust of a repository: its keys, and the newest index that they signed.

The order of the checks, and the attacks that they answer, are those of The Update Framework (TUF),
https://theupdateframework.github.io/specification/latest/, section 5; docs/updates.md lists them.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from typing import TypeVar

from overheard.errors import UpdateError
from overheard.fingerprint.json_values import JsonValueError
from overheard.text import one_line
from overheard.updates.documents import (
    LATEST,
    MAX_INDEX_BYTES,
    MAX_LATEST_BYTES,
    MAX_ROOT_BYTES,
    MAX_SIGNATURE_BYTES,
    Index,
    Role,
    Root,
    parse_latest,
)
from overheard.updates.keys import count_valid, fingerprint, parse_signatures
from overheard.updates.source import Source
from overheard.updates.state import Seen

MAX_NEW_ROOTS = 200  # keys are rotated a few times in a repository's life
CLOCK_TOLERANCE = datetime.timedelta(days=1)
_LATER = "try again later, or ask its publisher"
_CHANGING = "the repository may be changing; try again later"
T = TypeVar("T")


def first_root(source: Source, pinned: str | None) -> Root:
    """Return the newest root of a repository that is not known yet.

    Parameters
    ----------
    source : the repository
    pinned : fingerprint of a key that must have signed this root or an earlier one; None accepts any root
        that its own key has signed, and the caller asks the user

    Raises
    ------
    UpdateError
        If the root cannot be read, is not valid, or no root has the pinned key.
    """
    newest, _ = latest(source)
    for version in range(newest, max(0, newest - MAX_NEW_ROOTS), -1):
        signed = _signed(source, f"root.{version}.json", MAX_ROOT_BYTES)
        if signed is None:
            break
        root = _root(source, *signed)
        _require(source, signed, root.root, f"root.{version}.json")
        if pinned is None or pinned in map(fingerprint, root.root.keys):
            return newest_root(source, root, newest)
    if pinned is None:
        raise UpdateError(f"{source.url} has no root document", "check the address")
    raise UpdateError(
        f"no key of {source.url} has the fingerprint {pinned}",
        "ask its publisher for the fingerprint; if yours is right, this address belongs to somebody else",
    )


def newest_root(source: Source, trusted: Root, newest: int) -> Root:
    """Follow the roots of a repository from a trusted one; the keys of each sign the next.

    Parameters
    ----------
    source : the repository
    trusted : a root of an earlier run
    newest : version to reach, see :func:`latest`

    Raises
    ------
    UpdateError
        If a root is not signed by the one before, or cannot be read.
    """
    if newest > trusted.version + MAX_NEW_ROOTS:
        raise UpdateError(f"{source.url} has too many new keys", "ask its publisher, and subscribe again")
    for version in range(trusted.version + 1, newest + 1):
        name = f"root.{version}.json"
        signed = _signed(source, name, MAX_ROOT_BYTES)
        if signed is None:
            raise UpdateError(f"{source.url}/{name} does not exist", _LATER)
        _require(source, signed, trusted.root, name)
        root = _root(source, *signed)
        _require(source, signed, root.root, name)
        if (root.version, root.repository) != (version, trusted.repository):
            raise UpdateError(f"{source.url}/{name} is a root of another version or repository", _LATER)
        trusted = root
    return trusted


def newest_index(
    source: Source, root: Root, version: int, seen: Seen, now: datetime.datetime
) -> tuple[Index, Seen]:
    """Return the newest index, if it is authentic, current, and not older than what was seen before.

    Parameters
    ----------
    source : the repository
    root : its newest root
    version : of the newest index, see :func:`latest`
    seen : the newest index of an earlier run
    now : current time, with a time zone

    Raises
    ------
    UpdateError
        If the index is older, expired, not signed, or cannot be read.
    """
    if now < seen.created - CLOCK_TOLERANCE:
        raise UpdateError(f"the clock of this machine is wrong: it shows {now:%Y-%m-%d}", "set the clock")
    if version < seen.version:
        raise _rollback(source, version, seen)
    name = f"index.{version}.json"
    signed = _signed(source, name, MAX_INDEX_BYTES)
    if signed is None:
        raise UpdateError(f"{source.url}/{name} does not exist", _CHANGING)
    _require(source, signed, root.index, name)
    index = _parsed(Index.parse, source, name, signed[0])
    if (index.version, index.repository) != (version, root.repository):
        raise UpdateError(f"{source.url}/{name} is an index of another version or repository", _LATER)
    digest = hashlib.sha256(signed[0]).hexdigest()
    if version == seen.version and digest != seen.sha256:
        raise UpdateError(f"{source.url} has two indexes of version {version}", "ask its publisher")
    _check_times(source, root, index, now)
    return index, Seen(version, digest, index.created)


def after_rotation(old: Root, new: Root, seen: Seen) -> Seen:
    """Return what was seen; nothing, if no key is left that could have signed it.

    Whoever stole a key can publish the highest version number. After a change of keys, numbers start again.
    """
    return seen if set(old.index.keys) & set(new.index.keys) else Seen(created=seen.created)


def latest(source: Source) -> tuple[int, int]:
    """Return the newest versions of root and index, which nobody has signed. Raises UpdateError."""
    content = source.read(LATEST, MAX_LATEST_BYTES)
    if content is None:
        raise UpdateError(
            f"{source.url} is not a repository of packs: it has no {LATEST}", "check the address"
        )
    return _parsed(parse_latest, source, LATEST, content)


def signed_document(
    source: Source, name: str, max_bytes: int, parse: Callable[[bytes], T], signers: Callable[[T], Role]
) -> T:
    """Return a document that its signers have signed. Raises UpdateError."""
    signed = _signed(source, name, max_bytes)
    if signed is None:
        raise UpdateError(f"{source.url}/{name} does not exist", _LATER)
    document = _parsed(parse, source, name, signed[0])
    _require(source, signed, signers(document), name)
    return document


def _check_times(source: Source, root: Root, index: Index, now: datetime.datetime) -> None:
    if index.created > now + CLOCK_TOLERANCE:
        raise UpdateError(
            f"{source.url} was published on {index.created:%Y-%m-%d}, but the clock of this machine shows "
            f"{now:%Y-%m-%d}",
            "set the clock",
        )
    for what, expires in (("index", index.expires), ("root", root.expires)):
        if now > expires:
            raise UpdateError(
                f"the {what} of {source.url} expired on {expires:%Y-%m-%d}: its publisher did not renew it, "
                "or somebody withholds newer ones",
                "your packs stay as they are; try again later, or ask its publisher",
            )


def _rollback(source: Source, version: int, seen: Seen) -> UpdateError:
    return UpdateError(
        f"{source.url} offers version {version}, which is older than version {seen.version} seen before",
        "your packs stay as they are; " + _LATER,
    )


def _signed(source: Source, name: str, max_bytes: int) -> tuple[bytes, bytes] | None:
    """Return a document and its signature file, neither verified; None if the document does not exist."""
    content = source.read(name, max_bytes)
    if content is None:
        return None
    return content, source.read(f"{name}.sig", MAX_SIGNATURE_BYTES) or b'{"signatures":[]}'


def _require(source: Source, signed: tuple[bytes, bytes], role: Role, name: str) -> None:
    """Raise UpdateError unless enough keys of a role have signed."""
    signatures = _parsed(parse_signatures, source, f"{name}.sig", signed[1])
    if count_valid(signed[0], signatures, role.keys) < role.threshold:
        raise UpdateError(
            f"{source.url}/{name} is not signed with the key that you trust",
            "your packs stay as they are; ask its publisher whether the key has changed",
        )


def _root(source: Source, content: bytes, _signatures: bytes) -> Root:
    return _parsed(Root.parse, source, "root", content)


def _parsed(parse: Callable[[bytes], T], source: Source, name: str, content: bytes) -> T:
    """Return a parsed document. Raises UpdateError if it is not valid."""
    try:
        return parse(content)
    except JsonValueError as error:
        raise UpdateError(f"{source.url}/{name} is not valid: {one_line(str(error))}", _LATER) from error
