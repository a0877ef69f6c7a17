"""Verify Ed25519 signatures. No other module of the device package uses the cryptography package."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from overheard.errors import UpdateError
from overheard.fingerprint.json_values import JsonValueError, get_array, get_string, parse_object
from overheard.text import one_line, shorten

MAX_SIGNATURES = 16
_SHOWN_DIGITS = 32  # of a fingerprint: 128 bits, for which nobody can find a second key
_HEX = re.compile(r"[0-9a-f]+")


def key_id(public_key: str) -> str:
    """Return 64 hex digits, the SHA-256 of a public key of 64 hex digits."""
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()


def fingerprint(public_key: str) -> str:
    """Return what people compare: 32 hex digits of the key's SHA-256.

    Examples
    --------
    >>> fingerprint("00" * 32)
    '66687aadf862bd776c8fc18b8e9f8e20'
    """
    return key_id(public_key)[:_SHOWN_DIGITS]


def parse_fingerprint(text: str) -> str:
    """Return a fingerprint that somebody typed, without spaces, colons and capitals.

    Raises
    ------
    UpdateError
        If it is not one.
    """
    digits = re.sub(r"[\s:-]", "", text).lower()
    if len(digits) != _SHOWN_DIGITS or not _HEX.fullmatch(digits):
        raise UpdateError(
            f"{one_line(shorten(text, 80))} is not the fingerprint of a key",
            f"it has {_SHOWN_DIGITS} digits from 0 to 9 and a to f",
        )
    return digits


def parse_signatures(content: bytes) -> dict[str, bytes]:
    """Return the signatures in a ``.sig`` file by key id. Raises JsonValueError."""
    found: dict[str, bytes] = {}
    entries = get_array(parse_object(content), "signatures")
    if len(entries) > MAX_SIGNATURES:
        raise JsonValueError(f"more than {MAX_SIGNATURES} signatures")
    for entry in entries:
        if not isinstance(entry, dict):
            raise JsonValueError("a signature must be an object")
        key = hex_digits(get_string(entry, "key"), 64, "key")
        found[key] = bytes.fromhex(hex_digits(get_string(entry, "signature"), 128, "signature"))
    return found


def hex_digits(text: str, length: int, name: str) -> str:
    """Return the text, which must be `length` lower-case hex digits. Raises JsonValueError."""
    if len(text) != length or not _HEX.fullmatch(text):
        raise JsonValueError(f"{name} must be {length} hex digits")
    return text


def count_valid(document: bytes, signatures: dict[str, bytes], public_keys: Sequence[str]) -> int:
    """Return how many of the keys have a valid signature of a document.

    Parameters
    ----------
    document : the bytes that were signed
    signatures : by key id, see :func:`parse_signatures`
    public_keys : 64 hex digits each

    Raises
    ------
    UpdateError
        If the cryptography package is not installed.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ModuleNotFoundError as error:
        raise UpdateError(
            "the package cryptography, which verifies signatures, is not installed",
            "pip install cryptography, into the environment of overheard",
        ) from error
    valid = 0
    for public_key in set(public_keys):
        signature = signatures.get(key_id(public_key))
        if signature is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(signature, document)
            valid += 1
        except (InvalidSignature, ValueError):  # ValueError: no point of the curve
            continue
    return valid
