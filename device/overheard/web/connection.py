"""Bound what one HTTP connection may cost: headers, the time of a request, and unread answers."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
MAX_HEADER_BYTES = 16 << 10
_REQUEST_S = 15.0  # for all of a request; bodies are small
_STUCK_S = 20.0  # a client that reads nothing for so long is disconnected


class BoundedConnection(H11Protocol):
    """uvicorn's connection with deadlines; asyncio calls these methods."""

    _deadline: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the deadline of the first request."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._wait_for_request()

    def data_received(self, data: bytes) -> None:
        """Take data; while a request is incomplete, the deadline stays."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY) and not self.transport.is_closing():
            self._wait_for_request()
        else:
            self._forget_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._forget_deadline()
        _cancel(self._stuck)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the deadline of a client that does not read."""
        super().pause_writing()
        _cancel(self._stuck)
        self._stuck = self.loop.call_later(_STUCK_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the deadline of a client that reads again."""
        super().resume_writing()
        _cancel(self._stuck)

    def _forget_deadline(self) -> None:
        _cancel(self._deadline)
        self._deadline = None

    def _wait_for_request(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(_REQUEST_S, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
