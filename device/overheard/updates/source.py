"""Read the files of a repository from a folder; :mod:`overheard.updates.web` does so from a web server."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from overheard.errors import UpdateError
from overheard.files import expand_user, read_regular
from overheard.text import one_line, shorten

CHUNK_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a web server may take."""

    timeout_s: float = 30.0  # for a connection, and for each piece of data
    document_s: float = 60.0  # for a whole document, and for the beginning of a larger file
    slow_s: float = 60.0  # after which a file must have come at `min_bytes_per_s` on average
    min_bytes_per_s: float = 500.0
    attempts: int = 4  # at a file whose connection breaks; each MiB that arrives allows as many again
    pause_s: float = 1.0  # before the second attempt; doubles with each


LIMITS = Limits()


class TransferError(UpdateError):
    """A transfer broke off; another attempt may succeed."""


@dataclasses.dataclass(frozen=True)
class Stream:
    """A file that is being read, from the byte `start` on."""

    start: int
    chunks: Iterator[bytes]


class Source(Protocol):
    """Where the files of a repository come from.

    Attributes
    ----------
    url : str
    """

    url: str

    def read(self, path: str, max_bytes: int) -> bytes | None:
        """Return the contents of a document; None if it does not exist.

        Raises
        ------
        UpdateError
            If it cannot be read, is larger than `max_bytes`, or takes too long.
        """

    def open(self, path: str, offset: int, size: int) -> contextlib.AbstractContextManager[Stream]:
        """Open a file of `size` bytes for reading from `offset`; the source may start earlier, at 0.

        Raises
        ------
        TransferError
            If the transfer breaks off, also while the chunks are read.
        UpdateError
            If the file does not exist, has another size, or arrives too slowly.
        """


def normalized(address: str) -> str:
    """Return the address of a repository in the form in which it is stored.

    Parameters
    ----------
    address : an http, https or file URL, or the path of a folder

    Raises
    ------
    UpdateError
        If it is none of these.
    """
    shown = one_line(shorten(address, 80))
    if not address or not address.isprintable():
        raise UpdateError(f'"{shown}" is not the address of a repository', "give a URL or a folder")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UpdateError(f"{shown} is not a valid URL ({error})") from error
    if parts.scheme in ("http", "https"):
        if not host or parts.username is not None or parts.query or parts.fragment:
            raise UpdateError(
                f"{shown} is not the URL of a repository", "give one such as https://example.org/packs"
            )
        host = f"[{host}]" if ":" in host else host
        return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return str(Path(unquote(parts.path)))
    if "://" in address:
        raise UpdateError(f"{shown}: only http, https and file URLs are supported")
    return os.path.abspath(expand_user(address))  # noqa: PTH100 - Path.absolute would keep ".."


class FolderSource:
    """A repository in a folder, for example on a USB disk."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._folder = Path(url)

    def read(self, path: str, max_bytes: int) -> bytes | None:
        """Return the contents of a document; see :class:`Source`."""
        try:
            return read_regular(self._folder / path, max_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UpdateError(f"{self._folder / path}: {error.strerror or error}") from error

    @contextlib.contextmanager
    def open(self, path: str, offset: int, size: int) -> Iterator[Stream]:
        """Open a file; see :class:`Source`."""
        file = self._folder / path
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise UpdateError(f"{file}: {error.strerror or error}") from error
        with os.fdopen(descriptor, "rb") as opened:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size != size:
                raise UpdateError(f"{file}: not the file that the index describes", "try again later")
            opened.seek(offset)
            yield Stream(offset, self._chunks(descriptor, size - offset, file))

    def _chunks(self, descriptor: int, n_bytes: int, file: Path) -> Iterator[bytes]:
        while n_bytes:
            try:
                chunk = os.read(descriptor, min(CHUNK_BYTES, n_bytes))
            except OSError as error:  # such as a disk that is removed
                raise TransferError(f"{file}: {error.strerror or error}") from error
            if not chunk:
                raise TransferError(f"{file}: became shorter while it was read", "try again later")
            n_bytes -= len(chunk)
            yield chunk
