"""Encrypt a stream with a passphrase, in bounded memory (docs/backup.md describes the format).

The key comes from the passphrase by scrypt (RFC 7914). The stream is cut into chunks, and each is encrypted
with AES-256-GCM. Its nonce is its number, and whether it is the last: chunks cannot be exchanged, repeated or
cut off. Source: Hoang et al., "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance" (2015),
STREAM.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import BinaryIO

from overheard.errors import OverheardError

MAGIC = b"OVHDENC1"
CHUNK_BYTES = 1 << 16
_TAG_BYTES = 16
_SALT_BYTES = 16
_LOG2_N, _R, _P = 16, 8, 1  # 64 MB of memory, about 0.2 s of a PC and 2 s of a Raspberry Pi 3
_MAX_LOG2_N, _MAX_R, _MAX_P = 20, 16, 4  # of a file that others made
_HEADER_BYTES = len(MAGIC) + 3 + _SALT_BYTES


class BackupError(OverheardError):
    """A backup cannot be made, read or restored."""


def _key(passphrase: str, salt: bytes, log2_n: int, r: int, p: int) -> bytes:
    n = 1 << log2_n
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=32)


def _cipher(key: bytes):  # type: ignore[no-untyped-def]
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ModuleNotFoundError:
        raise BackupError("the package cryptography is missing", "pip install cryptography") from None
    return AESGCM(key)


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class EncryptedWriter(io.RawIOBase):
    """A file that encrypts what is written to it, and writes it to another file.

    Parameters
    ----------
    file : receives the encrypted bytes; stays open
    passphrase : must not be empty
    """

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        if not passphrase:
            raise BackupError("the passphrase is empty")
        salt = os.urandom(_SALT_BYTES)
        self._header = MAGIC + bytes([_LOG2_N, _R, _P]) + salt
        self._cipher = _cipher(_key(passphrase, salt, _LOG2_N, _R, _P))
        self._file = file
        self._buffer = bytearray()
        self._number = 0
        file.write(self._header)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, data) -> int:  # type: ignore[no-untyped-def]
        """Encrypt bytes; the last chunk waits for `close`."""
        self._buffer += data
        while len(self._buffer) > CHUNK_BYTES:
            self._chunk(last=False)
        return len(data)

    def close(self) -> None:
        """Write the last chunk."""
        if not self.closed:
            self._chunk(last=True)
        super().close()

    def _chunk(self, last: bool) -> None:
        data = bytes(self._buffer[:CHUNK_BYTES])
        del self._buffer[:CHUNK_BYTES]
        self._file.write(self._cipher.encrypt(_nonce(self._number, last), data, self._header))
        self._number += 1


class EncryptedReader(io.RawIOBase):
    """A file that reads and decrypts another one.

    Raises
    ------
    BackupError
        If the passphrase is wrong, or the file is damaged or incomplete; at the chunk where this shows.
    """

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
            raise BackupError("the file is not an encrypted backup")
        log2_n, r, p = header[len(MAGIC) : len(MAGIC) + 3]
        if not (1 <= log2_n <= _MAX_LOG2_N and 1 <= r <= _MAX_R and 1 <= p <= _MAX_P):
            raise BackupError("the header of the encrypted backup is invalid")
        self._header = header
        self._cipher = _cipher(_key(passphrase, header[-_SALT_BYTES:], log2_n, r, p))
        self._file = file
        self._next = file.read(CHUNK_BYTES + _TAG_BYTES)
        self._number = 0
        self._plain = b""
        self._ended = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        """Decrypt the next bytes."""
        while not self._plain and not self._ended:
            self._decrypt()
        count = min(len(buffer), len(self._plain))
        buffer[:count], self._plain = self._plain[:count], self._plain[count:]
        return count

    def _decrypt(self) -> None:
        from cryptography.exceptions import InvalidTag

        chunk, self._next = self._next, self._file.read(CHUNK_BYTES + _TAG_BYTES)
        last = not self._next
        try:
            self._plain = self._cipher.decrypt(_nonce(self._number, last), chunk, self._header)
        except InvalidTag:
            if self._number:
                raise BackupError("the encrypted backup is damaged or incomplete") from None
            raise BackupError("the passphrase is wrong, or the encrypted backup is damaged") from None
        self._ended = last
        self._number += 1
