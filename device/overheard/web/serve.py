"""Run the web server on a TCP port or a Unix-domain socket, until a signal."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from overheard.errors import OverheardError
from overheard.process import stop_on_signals
from overheard.web.connection import MAX_CONNECTIONS, MAX_HEADER_BYTES, BoundedConnection
from overheard.web.hub import Hub

_KEEP_ALIVE_S = 10
_SHUTDOWN_S = 2
_BACKLOG = 128


def listen_on(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket.

    Raises
    ------
    OverheardError
        If the address is invalid or in use.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise OverheardError(
            f"{host}: not an address of this computer", "use 127.0.0.1 or 0.0.0.0"
        ) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)  # from now on, clients wait until the server runs
    except OSError as error:
        listening.close()
        reason = error.strerror or str(error)
        raise OverheardError(f"{host}:{port}: cannot be opened ({reason})", "use another --port") from error
    return listening


class _Server(uvicorn.Server):
    """uvicorn's server that stops on overheard's signals, and ends the event streams first."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the first signal, and exit with 0."""
        server = self

        class Stop(threading.Event):
            def set(self) -> None:
                server.should_exit = True

        with stop_on_signals(Stop()):
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams, then everything."""
        self._hub.close()
        await super().shutdown(sockets)


def serve(app: ASGIApp, hub: Hub, listening: socket.socket) -> None:
    """Serve until a signal."""
    quiet: Any = None
    config = uvicorn.Config(
        app,
        http=BoundedConnection,
        ws="none",
        loop="asyncio",
        log_config=quiet,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    if logging.getLogger().level > logging.DEBUG:  # clients that misbehave must not fill the log
        logging.getLogger("uvicorn.error").addFilter(_only_failures)
    _Server(config, hub).run(sockets=[listening])


def _only_failures(record: logging.LogRecord) -> bool:
    return record.exc_info is not None
