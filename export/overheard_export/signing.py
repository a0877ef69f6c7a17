"""Create Ed25519 keys and sign the documents of a repository."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from overheard.errors import UpdateError
from overheard.files import read_regular
from overheard.updates.keys import fingerprint, key_id

log = logging.getLogger(__name__)
_MAX_KEY_BYTES = 1 << 12


class SigningKey:
    """A private key.

    Parameters
    ----------
    private : Ed25519PrivateKey

    Attributes
    ----------
    public : str
        The public key, 64 hex digits.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw().hex()

    @property
    def fingerprint(self) -> str:
        """What subscribers compare."""
        return fingerprint(self.public)

    def sign(self, document: bytes) -> bytes:
        """Return the signature of a document, 64 bytes."""
        return self._private.sign(document)


def new_key(path: Path) -> SigningKey:
    """Create a key in a new file that only the user can read.

    Raises
    ------
    UpdateError
        If the file exists or cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UpdateError(f"{path} already exists", "choose another name for the new key") from None
    except OSError as error:
        raise UpdateError(f"{path}: cannot be written ({error.strerror or error})") from error
    return SigningKey(private)


def load_key(path: Path) -> SigningKey:
    """Read a private key that :func:`new_key` wrote, or that `openssl genpkey -algorithm ed25519` wrote.

    Raises
    ------
    UpdateError
        If the file cannot be read, or holds no Ed25519 key without a password.
    """
    try:
        content = read_regular(path, _MAX_KEY_BYTES)
        private = load_pem_private_key(content, None)
        if path.stat().st_mode & 0o077:
            log.warning("%s can be read by others; run `chmod 600` on it", path)
    except OSError as error:
        raise UpdateError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it has a password
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise UpdateError(
            f"{path} holds no Ed25519 key without a password",
            "create one: overheard-export publish --new-key FILE",
        )
    return SigningKey(private)


def signature_file(document: bytes, keys: Sequence[SigningKey]) -> bytes:
    """Return the contents of ``NAME.sig``: a signature of the document with each key."""
    rows = [{"key": key_id(key.public), "signature": key.sign(document).hex()} for key in keys]
    return json.dumps({"signatures": rows}, indent=1).encode() + b"\n"
