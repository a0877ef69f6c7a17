"""Serve the live socket from one thread: events, statuses and pictures to clients, their requests back.

Publishing appends to a bounded queue and never waits, so that no client can slow recognition.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from overheard.event_json import to_json
from overheard.events import Event, Status
from overheard.live.connection import Connection, ConnectionGone, TooFast
from overheard.live.picture import COLUMNS_PER_S
from overheard.live.protocol import (
    BadRequest,
    Pause,
    Watch,
    encode,
    hello,
    mel_json,
    parse_request,
    pause_json,
    reply,
    status_json,
)
from overheard.live.socket_file import SocketFile

log = logging.getLogger(__name__)

MAX_CLIENTS = 16
_MAX_PUBLISHED = 256  # messages that wait for the thread
_CLOSE_S = 1.0


class Pausable(Protocol):
    """What a client may pause; called from the server's thread."""

    @property
    def reason(self) -> str:
        """Why it is paused, such as "user"; empty if it is not."""

    @property
    def until(self) -> float | None:
        """Unix time at which the pause ends by itself."""

    def pause(self, for_s: float | None) -> None:
        """Stop listening for some seconds; None: until `resume`."""

    def resume(self) -> None:
        """Listen again."""


class LiveServer:
    """The live socket of `overheard listen`. It is a sink for events.

    Parameters
    ----------
    path : of the socket
    version : of overheard, for the clients
    pause : what clients may pause; None refuses their requests
    rooms : names of the rooms; empty if there are none

    Attributes
    ----------
    wants_mel : whether a client asked for the log-mel picture
    dropped : clients that were dropped, because they read too slowly or sent too much

    Raises
    ------
    SocketTaken
        If another `overheard listen` has the socket.
    OverheardError, OSError
        If the socket cannot be created.
    """

    name = "live"

    def __init__(
        self, path: Path, version: str = "", pause: Pausable | None = None, rooms: Sequence[str] = ()
    ) -> None:
        self._file = SocketFile(path)
        self._hello = encode(hello(version, rooms))
        self._pause = pause
        self._published: collections.deque[tuple[bool, dict[str, Any]]] = collections.deque(
            maxlen=_MAX_PUBLISHED
        )
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._file.socket, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._clients: dict[int, Connection] = {}
        self._statuses: dict[str, dict[str, Any]] = {}  # the last one of each room, for clients that connect
        self._started: dict[str, float] = {}  # by room: Unix time at which the source's clock was 0
        self._stopping = threading.Event()
        self.wants_mel = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="live socket", daemon=True)
        self._thread.start()

    # Called from other threads

    def handle(self, event: Event, started: float) -> None:
        """Publish an event."""
        self._started[event.room] = started
        self._publish(to_json(event, started))

    def publish_status(self, status: Status, started: float | None = None) -> None:
        """Publish a status; `started` is the Unix time at which the source's clock was 0."""
        known = self._started.get(status.room) if started is None else started
        message = status_json(status, known, time.time())
        if self._pause is not None and self._pause.reason:
            message["pause"] = pause_json(self._pause.reason, self._pause.until)
        self._statuses[status.room] = message
        if self._clients:
            self._publish(message)

    def publish_mel(self, columns: Sequence[Sequence[int]], room: str = "") -> None:
        """Publish columns of `MelPicture` to the clients that asked for them."""
        if columns and self.wants_mel:
            self._publish(mel_json(columns, COLUMNS_PER_S, room), mel=True)

    def close(self) -> None:
        """Send what waits, close all connections, and delete the socket."""
        self._stopping.set()
        self._wake()
        self._thread.join(_CLOSE_S)

    def _publish(self, message: dict[str, Any], mel: bool = False) -> None:
        self._published.append((mel, message))
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: the thread is awake anyway; closed: it has ended
            self._wake_write.send(b"\0")

    # The thread

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for key, mask in self._selector.select():
                    self._serve(key.fileobj, mask)
                self._distribute()
            self._distribute()
        finally:
            for connection in list(self._clients.values()):
                self._drop(connection)
            self._selector.close()
            self._file.close()
            self._wake_read.close()
            self._wake_write.close()

    def _serve(self, ready: object, mask: int) -> None:
        if ready is self._wake_read:
            with contextlib.suppress(BlockingIOError):
                self._wake_read.recv(4096)
        elif ready is self._file.socket:
            self._accept()
        elif isinstance(ready, socket.socket) and (connection := self._clients.get(ready.fileno())):
            try:
                if mask & selectors.EVENT_WRITE:
                    connection.send()
                if mask & selectors.EVENT_READ:
                    self._read(connection)
                self._watch(connection)
            except ConnectionGone:
                self._drop(connection)

    def _accept(self) -> None:
        try:
            client, _ = self._file.socket.accept()
        except OSError:  # the client has gone, or there are too many open files
            return
        if len(self._clients) >= MAX_CLIENTS:
            with contextlib.suppress(OSError):
                client.setblocking(False)
                client.send(encode(reply(f"at most {MAX_CLIENTS} clients")))
            client.close()
            return
        connection = Connection(client)
        self._clients[client.fileno()] = connection
        self._selector.register(client, selectors.EVENT_READ)
        self._put(connection, self._hello)
        for status in list(self._statuses.values()):
            self._put(connection, encode(status))

    def _read(self, connection: Connection) -> None:
        try:
            for line in connection.requests():
                self._put(connection, encode(reply(self._answer(connection, line))))
                if connection.closing:
                    return
        except TooFast as error:
            self.dropped += 1
            connection.closing = True
            self._put(connection, encode(reply(str(error))))

    def _answer(self, connection: Connection, line: bytes) -> str | None:
        """Do what a request says; return the error, if there is one."""
        try:
            request = parse_request(line)
        except BadRequest as error:
            connection.closing = True
            return str(error)
        if isinstance(request, Watch):
            connection.wants_mel = request.mel
            self._update_wishes()
        elif self._pause is None:
            return "this `overheard listen` cannot be paused"
        elif isinstance(request, Pause):
            self._pause.pause(request.for_s)
        else:
            self._pause.resume()
        return None

    def _distribute(self) -> None:
        while self._published:
            mel, message = self._published.popleft()
            if not self._clients:
                continue
            line = encode(message)
            for connection in list(self._clients.values()):
                if connection.wants_mel or not mel:
                    self._put(connection, line)

    def _put(self, connection: Connection, line: bytes) -> None:
        """Send a line as far as the client takes it at once; drop a client that is too far behind."""
        try:
            if not connection.put(line):
                self.dropped += 1
                log.debug("live: dropped a client that does not read")
                raise ConnectionGone
            connection.send()
            self._watch(connection)
        except ConnectionGone:
            self._drop(connection)

    def _watch(self, connection: Connection) -> None:
        if connection.socket.fileno() not in self._clients:
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.waits else 0)
        self._selector.modify(connection.socket, wanted)

    def _drop(self, connection: Connection) -> None:
        if self._clients.pop(connection.socket.fileno(), None) is None:
            return
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._update_wishes()

    def _update_wishes(self) -> None:
        self.wants_mel = any(connection.wants_mel for connection in self._clients.values())
