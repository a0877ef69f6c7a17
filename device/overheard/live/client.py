"""Connect to the live socket of a running `overheard listen`."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from overheard.errors import OverheardError
from overheard.live.protocol import MAX_MESSAGE_BYTES, BadRequest, decode, encode

_CONNECT_S = 3.0
_CHUNK_BYTES = 1 << 16
NOT_RUNNING = "no `overheard listen` is running"


class LiveError(OverheardError):
    """The live socket cannot be used."""


class NotRunning(LiveError):
    """No `overheard listen` of this user and data folder is running."""


class LiveClient:
    """A connection to a running `overheard listen`.

    Parameters
    ----------
    path : as of `overheard.live.address.socket_path`

    Raises
    ------
    NotRunning
        If nothing listens there.
    LiveError
        If the socket cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_CONNECT_S)
        try:
            self._socket.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            self._socket.close()
            raise NotRunning(NOT_RUNNING, "start it, with the same --data-dir") from error
        except OSError as error:  # such as a path that is too long, or another user's socket
            self._socket.close()
            raise LiveError(f"{path}: cannot be opened: {error.strerror or error}") from error

    def messages(self, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
        """Yield messages until `listen` ends, or for at most `timeout_s` seconds.

        Raises
        ------
        LiveError
            If what arrives is not what `listen` sends.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                yield self._decode(line)
                continue
            if len(self._buffer) > MAX_MESSAGE_BYTES:
                raise LiveError(f"{self._path}: the answer is too long")
            left_s = None if deadline is None else deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return
            self._socket.settimeout(left_s)
            try:
                chunk = self._socket.recv(_CHUNK_BYTES)
            except TimeoutError:
                return
            except ConnectionError:
                chunk = b""
            if not chunk:
                return
            self._buffer += chunk

    def first(self, event: str, timeout_s: float) -> dict[str, Any] | None:
        """Return the next message of a kind; None if it does not arrive in time."""
        return next((one for one in self.messages(timeout_s) if one.get("event") == event), None)

    def request(self, values: dict[str, Any], timeout_s: float = _CONNECT_S) -> None:
        """Send a request, and wait for the answer.

        Raises
        ------
        LiveError
            If `listen` refuses it, or does not answer.
        """
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(encode(values))
        except OSError as error:
            raise LiveError("`overheard listen` has ended", "start it again") from error
        answer = self.first("reply", timeout_s)
        if answer is None:
            raise LiveError("`overheard listen` does not answer", "restart it")
        if answer.get("ok") is not True:
            raise LiveError(f"`overheard listen` refuses: {answer.get('error')}")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> LiveClient:
        """Return the connection."""
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def _decode(self, line: bytes) -> dict[str, Any]:
        try:
            return decode(line)
        except BadRequest as error:
            raise LiveError(f"{self._path}: the answer is {error}") from error
