"""A listener that also publishes the log-mel picture of what it hears, while a client wants it."""

from __future__ import annotations

from typing import Protocol

from overheard.events import Event, Status
from overheard.fingerprint.frontend import FloatArray
from overheard.live.picture import MelPicture
from overheard.live.server import LiveServer


class Listener(Protocol):
    """The part of a recognizer's listener that the daemon calls."""

    def process(self, block: FloatArray) -> list[Event]:
        """Process the next block, `(n,)` in [-1, 1]."""

    def gap(self, n_samples: int) -> list[Event]:
        """Account for lost audio."""

    def finish(self) -> list[Event]:
        """End the open play."""

    def status(self) -> Status:
        """Return a snapshot."""


class PictureListener:
    """Pass everything to a listener. The picture costs nothing unless a client of the server asked for it."""

    def __init__(self, listener: Listener, server: LiveServer, room: str = "") -> None:
        self._listener = listener
        self._room = room
        self._server = server
        self._picture: MelPicture | None = None

    def process(self, block: FloatArray) -> list[Event]:
        """Process the next block, `(n,)` in [-1, 1]; then add it to the picture."""
        events = self._listener.process(block)
        if not self._server.wants_mel:
            self._picture = None
        else:
            self._picture = self._picture or MelPicture()
            self._server.publish_mel(self._picture.process(block), self._room)
        return events

    def gap(self, n_samples: int) -> list[Event]:
        """Account for lost audio."""
        self._picture = None
        return self._listener.gap(n_samples)

    def finish(self) -> list[Event]:
        """End the open play."""
        return self._listener.finish()

    def status(self) -> Status:
        """Return a snapshot."""
        return self._listener.status()
