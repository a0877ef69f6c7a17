"""One client of the live server: what it sent and what it has yet to read, both bounded."""

from __future__ import annotations

import collections
import socket
import time
from collections.abc import Iterator

from overheard.live.protocol import MAX_REQUEST_BYTES

MAX_QUEUED_BYTES = 1 << 18  # minutes of statuses; a client that is further behind is dropped
MAX_REQUESTS_PER_S = 20
_READ_BYTES = 4096


class ConnectionGone(Exception):
    """The client has closed the connection."""


class TooFast(Exception):
    """The client sends more requests, or longer ones, than are answered."""


class Connection:
    """A client's socket, which never blocks."""

    def __init__(self, client: socket.socket) -> None:
        client.setblocking(False)
        self.socket = client
        self.wants_mel = False
        self.closing = False  # when everything is sent
        self._received = b""
        self._queue: collections.deque[bytes] = collections.deque()
        self._queued_bytes = 0
        self._window_s, self._n_requests = 0.0, 0

    @property
    def waits(self) -> bool:
        """Whether there is something to send."""
        return bool(self._queue)

    def put(self, line: bytes) -> bool:
        """Queue a line; return False if the client is too far behind."""
        if self._queued_bytes + len(line) > MAX_QUEUED_BYTES:
            return False
        self._queue.append(line)
        self._queued_bytes += len(line)
        return True

    def send(self) -> None:
        """Send what the socket takes.

        Raises
        ------
        ConnectionGone
            If the client is gone, or everything was sent to one that is to be closed.
        """
        while self._queue:
            line = self._queue[0]
            try:
                n_sent = self.socket.send(line)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise ConnectionGone from error
            self._queued_bytes -= n_sent
            if n_sent < len(line):
                self._queue[0] = line[n_sent:]
                return
            self._queue.popleft()
        if self.closing:
            raise ConnectionGone

    def requests(self) -> Iterator[bytes]:
        """Yield the lines that have arrived.

        Raises
        ------
        ConnectionGone
            If the client is gone.
        TooFast
            If a line is too long, or there are too many in a second.
        """
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise ConnectionGone from error
        if not data:
            raise ConnectionGone
        if self.closing:  # read and ignored: closing with unread data would destroy the answer
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._count(line)
            yield line
        if len(self._received) > MAX_REQUEST_BYTES:
            raise TooFast(f"a request has at most {MAX_REQUEST_BYTES} bytes")

    def _count(self, line: bytes) -> None:
        if len(line) > MAX_REQUEST_BYTES:
            raise TooFast(f"a request has at most {MAX_REQUEST_BYTES} bytes")
        now_s = time.monotonic()
        if now_s - self._window_s >= 1:
            self._window_s, self._n_requests = now_s, 0
        self._n_requests += 1
        if self._n_requests > MAX_REQUESTS_PER_S:
            raise TooFast(f"at most {MAX_REQUESTS_PER_S} requests a second")
