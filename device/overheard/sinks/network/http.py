"""Send HTTP requests to servers that may be slow, broken or hostile: bounded in time and memory."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from overheard.errors import SettingsError
from overheard.sinks.courier import Rejected, RetryLater
from overheard.text import one_line, shorten
from overheard.version import version

USER_AGENT = f"overheard/{version().strip('()')} ( https://github.com/overheard/overheard )"
_MAX_BYTES = 1 << 16  # of an answer
_REDIRECTS = range(300, 400)


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer of a server."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def seconds(self, name: str) -> float | None:
        """Return a header that is a number of seconds."""
        try:
            value = float(self.headers.get(name.lower(), ""))
        except ValueError:
            return None
        return value if 0 <= value < 1e9 else None


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A server and a path that requests go to.

    Parameters
    ----------
    url : http or https
    timeout_s : for a whole request, from connecting to the end of the answer
    """

    url: SplitResult
    timeout_s: float

    @classmethod
    def of(cls, setting: str, url: str, timeout_s: float = 10.0) -> Endpoint:
        """Check the URL of a setting.

        Raises
        ------
        SettingsError
            If it is not a URL for HTTP.
        """
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid or "@" in parts.netloc or not (url.isascii() and url.isprintable()) or " " in url:
            # The URL may contain a secret, so it is not shown.
            raise SettingsError(f"{setting} is not a valid URL", "use one such as https://example.org/path")
        return cls(parts, timeout_s)

    @property
    def shown(self) -> str:
        """The server, without the path, which may be secret."""
        return f"{self.url.scheme}://{self.url.netloc}"

    def request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send a request; follow no redirect, because it could lead the secret elsewhere.

        Raises
        ------
        RetryLater
            If there is no whole answer in time, or the server redirects.
        """
        connection = _Connection(self.url, self.timeout_s)
        try:
            target = self.url.path.rstrip("/") + path if path else self.url.path or "/"
            target += f"?{self.url.query}" if self.url.query else ""
            connection.request(method, target, body, {"User-Agent": USER_AGENT, **headers})
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, found, response.read(_MAX_BYTES))
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = "no answer in time" if connection.late else _reason(error)
            raise RetryLater(f"{self.shown}: {reason}") from None
        finally:
            connection.end()
        if answer.status in _REDIRECTS:
            where = one_line(shorten(answer.headers.get("location", "another address")))
            raise RetryLater(f"{self.shown} redirects to {where}; change the URL in the settings")
        return answer


def settle(answer: Answer, shown: str) -> None:
    """Raise what an answer other than success means.

    Raises
    ------
    RetryLater
        If the server is busy, broken, or does not accept who asks.
    Rejected
        If the request was wrong.
    """
    status = answer.status
    if 200 <= status < 300:
        return
    text = f"{shown}: HTTP status {status}"
    if status in (401, 403):
        raise RetryLater(f"{text}; check the secret in the settings")
    if status in (404, 405):
        raise RetryLater(f"{text}; check the URL in the settings")
    if status in (408, 425, 429) or status >= 500 or status < 200:
        wait_s = answer.seconds("X-RateLimit-Reset-In")
        raise RetryLater(text, answer.seconds("Retry-After") if wait_s is None else wait_s)
    detail = one_line(shorten(answer.body.decode("utf-8", "replace"), 200))
    raise Rejected(f"{text}: {detail}" if detail else text)


class _Connection(http.client.HTTPConnection):
    """A connection that ends at a deadline, whatever the server does; without TLS for http."""

    def __init__(self, url: SplitResult, timeout_s: float) -> None:
        secure = url.scheme == "https"
        default = http.client.HTTPS_PORT if secure else http.client.HTTP_PORT
        super().__init__(url.hostname or "", url.port or default, timeout=timeout_s)
        self._context = ssl.create_default_context() if secure else None
        self._limit_s = timeout_s
        self._plain: socket.socket | None = None
        self._timer: threading.Timer | None = None
        self.late = False

    def connect(self) -> None:
        """Connect, and start the time until the deadline."""
        plain = socket.create_connection((self.host, self.port), self._limit_s)
        self._plain = plain.dup()  # shutting it down also ends TLS, which takes over `plain`
        self._timer = threading.Timer(self._limit_s, self._expire)
        self._timer.daemon = True
        self._timer.start()
        self.sock = plain
        if self._context is not None:
            self.sock = self._context.wrap_socket(plain, server_hostname=self.host)

    def end(self) -> None:
        """Close the connection, and forget the deadline."""
        if self._timer is not None:
            self._timer.cancel()
        self.close()
        if self._plain is not None:
            self._plain.close()

    def _expire(self) -> None:
        self.late = True
        if self._plain is not None:
            with contextlib.suppress(OSError):
                self._plain.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return one_line(shorten(str(error))) or type(error).__name__
