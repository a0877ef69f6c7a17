"""Read the files of a repository from a web server that may be slow, broken or hostile.

Only GET requests are sent. Every step has a time limit, and no more bytes are read than the caller allows.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from overheard.errors import UpdateError
from overheard.text import one_line, shorten
from overheard.updates.source import (
    CHUNK_BYTES,
    LIMITS,
    FolderSource,
    Limits,
    Source,
    Stream,
    TransferError,
)

MAX_REDIRECTS = 5
_CHANGING = "the repository may be changing; try again later"
_REDIRECTS = {301, 302, 303, 307, 308}
_GONE = {404, 410}
_CONTENT_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")
_SAFE = "/%:@!$&'()*+,;=~"  # not escaped in a path; "%" because it may be escaped already
_HEADERS = {"User-Agent": "overheard", "Accept-Encoding": "identity", "Connection": "close"}


class _Connection(http.client.HTTPConnection):
    """A connection that ends at a deadline, whatever it does then; without TLS for http URLs."""

    def __init__(self, url: SplitResult, limits: Limits) -> None:
        super().__init__(url.hostname or "", url.port or http.client.HTTP_PORT, timeout=limits.timeout_s)
        self._context: ssl.SSLContext | None = None
        if url.scheme == "https":
            self.port = url.port or http.client.HTTPS_PORT
            self._context = ssl.create_default_context()
        self.start = f"{url.scheme}://{url.netloc}"
        self._limits = limits
        self._guard: socket.socket | None = None
        self._deadline: threading.Timer | None = None
        self.late = False

    def connect(self) -> None:
        """Connect, and start the time until the deadline."""
        plain = socket.create_connection((self.host, self.port), self._limits.timeout_s)
        self._guard = plain.dup()  # ends the connection also while TLS has taken over `plain`
        self._deadline = threading.Timer(self._limits.document_s, self._end)
        self._deadline.daemon = True
        self._deadline.start()
        try:
            self.sock = (
                self._context.wrap_socket(plain, server_hostname=self.host) if self._context else plain
            )
        except BaseException:
            plain.close()
            raise

    def _end(self) -> None:
        self.late = True
        if self._guard is not None:
            with contextlib.suppress(OSError):  # it has ended
                self._guard.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn errors of the network into errors for the user."""
        try:
            yield
            if self.late:  # the end of the connection can look like the end of the response
                raise TimeoutError
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: of a host name
            raise _network_error(self.start, error, self.late) from error

    def lift_deadline(self) -> None:
        """Let the rest of the response take longer."""
        if self._deadline is not None:
            self._deadline.cancel()

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self.lift_deadline()
        if self._guard is not None:
            self._guard.close()


def open_source(url: str, limits: Limits = LIMITS) -> Source:
    """Return the source for the address of a repository, as `source.normalized` returns it."""
    if urlsplit(url).scheme in ("http", "https"):
        return WebSource(url, limits)
    return FolderSource(url)


class WebSource:
    """A repository on a web server.

    Parameters
    ----------
    url : of the folder, without a slash at its end
    limits : Limits
    """

    def __init__(self, url: str, limits: Limits) -> None:
        self.url = url
        self._limits = limits

    def read(self, path: str, max_bytes: int) -> bytes | None:
        """Return the contents of a document; see :class:`Source`."""
        address = f"{self.url}/{path}"
        try:
            return self._read(address, max_bytes)
        except TransferError:
            time.sleep(self._limits.pause_s)
            return self._read(address, max_bytes)

    def _read(self, address: str, max_bytes: int) -> bytes | None:
        with self._get(address) as (response, connection):
            if response.status in _GONE:
                return None
            _check_status(response, address, {HTTPStatus.OK})
            with connection.errors_explained():
                content = _read_at_most(response, max_bytes)
        if len(content) > max_bytes:
            raise UpdateError(f"{address} is larger than {max_bytes} bytes")
        return content

    @contextlib.contextmanager
    def open(self, path: str, offset: int, size: int) -> Iterator[Stream]:
        """Open a file; see :class:`Source`."""
        address = f"{self.url}/{path}"
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        with self._get(address, wanted) as (response, connection):
            if response.status in _GONE:
                raise UpdateError(f"{address} does not exist", _CHANGING)
            _check_status(response, address, {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})
            start = _start_of(response, offset, size)
            if start is None or response.length != size - start:
                raise UpdateError(f"{address} is not the file that the index describes: it has another size")
            connection.lift_deadline()
            yield Stream(start, self._chunks(response, connection, size - start, address))

    def _chunks(
        self, response: http.client.HTTPResponse, connection: _Connection, n_bytes: int, address: str
    ) -> Iterator[bytes]:
        """Yield the body, and raise an error when it arrives too slowly or ends too early."""
        limits, window, in_window = self._limits, time.monotonic(), 0
        while n_bytes:
            with connection.errors_explained():
                chunk = response.read1(min(CHUNK_BYTES, n_bytes))
            if not chunk:
                raise TransferError(f"{address}: the connection ended too early", "try again later")
            n_bytes -= len(chunk)
            in_window += len(chunk)
            elapsed = time.monotonic() - window
            if elapsed > limits.slow_s:
                if in_window < limits.min_bytes_per_s * elapsed:
                    raise UpdateError(
                        f"{address} arrives too slowly", "try again later; the download will continue"
                    )
                window, in_window = time.monotonic(), 0
            yield chunk

    @contextlib.contextmanager
    def _get(
        self, address: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[http.client.HTTPResponse, _Connection]]:
        """Send a request, follow its redirects, and yield the response to the last one."""
        url = urlsplit(address)
        for followed in range(MAX_REDIRECTS + 1):
            with contextlib.closing(_Connection(url, self._limits)) as connection:
                with connection.errors_explained():
                    target = quote(url.path or "/", safe=_SAFE) + (f"?{url.query}" if url.query else "")
                    connection.request("GET", target, headers={**_HEADERS, **(headers or {})})
                    response = connection.getresponse()
                if response.status not in _REDIRECTS:
                    yield response, connection
                    return
                url = _redirected(url, response.getheader("Location"), followed)


def _redirected(url: SplitResult, location: str | None, followed: int) -> SplitResult:
    """Return where a redirect leads. Raises UpdateError unless that is https, or http on the same host."""
    start = f"{url.scheme}://{url.netloc}"
    shown = one_line(shorten(location or "nowhere", 80))
    if followed == MAX_REDIRECTS:
        raise UpdateError(f"{start} redirects more than {MAX_REDIRECTS} times")
    try:
        target = urlsplit(urljoin(url.geturl(), location or ""))
        same = (url.scheme, url.hostname, url.port) == (target.scheme, target.hostname, target.port)
    except ValueError:
        raise UpdateError(f"{start} redirects to {shown}, which is not a URL") from None
    allowed = bool(target.hostname) and (target.scheme == "https" or (target.scheme == "http" and same))
    if not location or not location.isprintable() or target.username is not None or not allowed:
        raise UpdateError(
            f"{start} redirects to {shown}, which overheard does not follow",
            "it follows redirects to https URLs, and to the same server",
        )
    return target


def _check_status(response: http.client.HTTPResponse, address: str, expected: set[HTTPStatus]) -> None:
    """Raise an error for an unexpected status, or for a body that would have to be decompressed."""
    if response.status not in expected:
        try:
            phrase = HTTPStatus(response.status).phrase  # not the server's own, which is untrusted text
        except ValueError:
            phrase = "unknown status"
        error = TransferError if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR else UpdateError
        raise error(f"{address}: the server answers {response.status} ({phrase})")
    if response.getheader("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise UpdateError(f"{address}: the server compresses the file", "switch that off for this folder")


def _start_of(response: http.client.HTTPResponse, offset: int, size: int) -> int | None:
    """Return the position of the first byte of a body; None if it is not one that was asked for."""
    if response.status == HTTPStatus.OK:
        return 0
    match = _CONTENT_RANGE.fullmatch(response.getheader("Content-Range", "").strip())
    if match is None or [int(digits) for digits in match.groups()] != [offset, size - 1, size]:
        return None
    return offset


def _read_at_most(response: http.client.HTTPResponse, max_bytes: int) -> bytes:
    """Return up to one byte more than `max_bytes` of a body."""
    if response.length is not None and response.length > max_bytes:
        return bytes(max_bytes + 1)
    length, content = response.length, b""
    while len(content) <= max_bytes and (chunk := response.read1(max_bytes + 1 - len(content))):
        content += chunk
    if length is not None and len(content) < length:
        raise http.client.IncompleteRead(b"", length - len(content))
    return content


def _network_error(start: str, error: Exception, late: bool) -> UpdateError:
    """Return what to tell the user about an error of the network."""
    if late or isinstance(error, TimeoutError):
        return TransferError(f"{start} takes too long to answer", "try again later")
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpdateError(f"{start}: its certificate is not valid ({one_line(error.verify_message)})")
    reason = one_line(shorten(str(getattr(error, "strerror", None) or error or type(error).__name__)))
    # A host that does not exist, or on which no server runs, does not change within seconds.
    final = isinstance(error, socket.gaierror | ConnectionRefusedError)
    kind = UpdateError if final else TransferError
    return kind(f"{start} cannot be reached ({reason})", "check the address, or try again later")
