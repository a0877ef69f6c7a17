"""One reader of the live socket, and any number of event streams that browsers hold open.

Each message is serialized once. Each stream has a bounded queue: one that falls behind is ended, and the
browser connects again.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from overheard.live.protocol import MAX_MESSAGE_BYTES, BadRequest, decode, encode

log = logging.getLogger(__name__)

MAX_STREAMS = 300
_MAX_QUEUED = 64  # messages of a stream: half a minute
_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 5.0
_COMMENT_S = 15.0  # a comment at these intervals keeps proxies from closing a stream without events
_STALE_S = 10.0  # without a status, what is known is out of date
# The position of a play is in the status, about once a second.
_FORWARDED = ("status", "play_started", "play_ended", "music_unknown", "silence", "source_changed")
_PICTURES = ("mel",)


class TooManyStreams(Exception):
    """No more event streams can be opened."""


def server_sent(name: str, data: object) -> bytes:
    """Return one event in the format of server-sent events."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class Stream:
    """One open event stream."""

    def __init__(self, wants_mel: bool) -> None:
        self.wants_mel = wants_mel
        self._queue: collections.deque[bytes] = collections.deque()
        self._ready = asyncio.Event()
        self._ended = False

    def put(self, data: bytes) -> bool:
        """Queue data; end the stream and return False if it is too far behind."""
        if len(self._queue) >= _MAX_QUEUED:
            self.end()
            return False
        self._queue.append(data)
        self._ready.set()
        return True

    def end(self) -> None:
        """End the stream."""
        self._ended = True
        self._ready.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield what is to be sent, until the stream ends."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            if self._ended:
                return
            data = b"".join(self._queue)
            self._queue.clear()
            yield data


class Hub:
    """Reads the live socket, and passes what it says to all streams.

    Parameters
    ----------
    path : of the socket of `overheard listen`

    Attributes
    ----------
    statuses : the last status by room, that of the only input by ``""``; empty while `listen` does not run or
        says nothing
    rooms : names of the rooms; empty if there are none
    dropped : streams that were ended because they were too far behind
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams: set[Stream] = set()
        self._writer: asyncio.StreamWriter | None = None
        self._wanted = False  # whether the picture was asked for
        self._tasks: list[asyncio.Task[None]] = []
        self.statuses: dict[str, dict[str, Any]] = {}
        self.rooms: list[str] = []
        self.dropped = 0

    @property
    def connected(self) -> bool:
        """Whether `listen` runs."""
        return self._writer is not None

    @property
    def status(self) -> dict[str, Any] | None:
        """The status of the first room in which something plays, or of the first one; None if unknown."""
        playing = [status for status in self.statuses.values() if status.get("playing")]
        return next(iter([*playing, *self.statuses.values()]), None)

    @property
    def n_streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def start(self) -> None:
        """Start to read, in the running event loop."""
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._comment())]

    def close(self) -> None:
        """End all streams, and stop reading."""
        for stream in self._streams:
            stream.end()
        for task in self._tasks:
            task.cancel()

    @contextlib.contextmanager
    def stream(self, wants_mel: bool) -> Iterator[Stream]:
        """Open a stream, which first gets the state as it is.

        Raises
        ------
        TooManyStreams
            If there are as many as are allowed.
        """
        if len(self._streams) >= MAX_STREAMS:
            raise TooManyStreams
        stream = Stream(wants_mel)
        stream.put(b"retry: 2000\n\n" + self._live())
        for status in self.statuses.values():
            stream.put(server_sent("status", status))
        self._streams.add(stream)
        self._update_wishes()
        try:
            yield stream
        finally:
            stream.end()
            self._streams.discard(stream)
            self._update_wishes()

    def _live(self) -> bytes:
        return server_sent("live", {"running": self.connected, "rooms": self.rooms})

    def _send(self, data: bytes, mel: bool = False) -> None:
        for stream in list(self._streams):
            if (stream.wants_mel or not mel) and not stream.put(data):
                self._streams.discard(stream)
                self.dropped += 1

    def _update_wishes(self) -> None:
        """Ask for the picture only while somebody looks at it."""
        wanted = any(stream.wants_mel for stream in self._streams)
        if self._writer is not None and wanted != self._wanted:
            self._wanted = wanted
            self._writer.write(encode({"do": "watch", "mel": wanted}))

    async def _comment(self) -> None:
        while True:
            await asyncio.sleep(_COMMENT_S)
            self._send(b": nothing new\n\n")

    async def _run(self) -> None:
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_MESSAGE_BYTES)
            except OSError:  # it does not run, or is another user's
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)
                continue
            retry_s = _FIRST_RETRY_S
            self._writer, self._wanted = writer, False
            self._send(self._live())
            self._update_wishes()
            try:
                await self._read(reader)
            except (OSError, BadRequest, ValueError) as error:  # ValueError: a line without an end
                log.debug("live socket: %s", error)
            finally:
                self._writer, self.statuses, self.rooms = None, {}, []
                writer.close()
                self._send(self._live())
            await asyncio.sleep(retry_s)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), _STALE_S)
            except asyncio.TimeoutError:
                if self.statuses:
                    self.statuses = {}
                    self._send(self._live())
                continue
            if not line:
                return
            message = decode(line)
            name = message.pop("event", None)
            if name == "hello" and message.get("rooms"):
                self.rooms = [str(room) for room in message["rooms"]]
                self._send(self._live())
            elif name == "status":
                self.statuses[str(message.get("room", ""))] = message
            if name in _FORWARDED or name in _PICTURES:
                self._send(server_sent(name, message), name in _PICTURES)
