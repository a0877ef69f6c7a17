"""Offer the metrics at http://localhost:PORT/metrics; other computers cannot reach this address."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from overheard.errors import OverheardError

_HOST = "127.0.0.1"
_MAX_CLIENTS = 8
_TIMEOUT_S = 5.0  # for a whole request, however slowly it arrives
_NAMES = {"localhost", _HOST, "[::1]"}


class _Server(ThreadingHTTPServer):
    """A server with a limited number of clients at a time."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], text: Callable[[], str]) -> None:
        self.text = text
        self._free = threading.BoundedSemaphore(_MAX_CLIENTS)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a client, unless there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a client until the deadline."""
        deadline = threading.Timer(_TIMEOUT_S, _hang_up, (request,))
        deadline.daemon = True
        deadline.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            deadline.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away."""


def _hang_up(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; the connection ends then."""

    server: _Server
    timeout = _TIMEOUT_S

    def do_GET(self) -> None:
        """Send the metrics."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in _NAMES:  # a page in a browser that has another name point here
            self._answer(HTTPStatus.MISDIRECTED_REQUEST, "ask for localhost\n")
        elif self.path.partition("?")[0] != "/metrics":
            self._answer(HTTPStatus.NOT_FOUND, "see /metrics\n")
        else:
            self._answer(HTTPStatus.OK, self.server.text())

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        """Name the server, without the versions of Python and its library."""
        return "overheard"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def serve(text: Callable[[], str], port: int) -> Callable[[], None]:
    """Serve the metrics until the function that is returned is called.

    Raises
    ------
    OverheardError
        If the port is in use.
    """
    try:
        server = _Server((_HOST, port), text)
    except OSError as error:
        problem = f"metrics: port {port} cannot be used: {error.strerror}"
        raise OverheardError(problem, "set sinks.metrics.http_port to another one") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop
