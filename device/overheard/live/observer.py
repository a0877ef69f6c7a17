"""Publish what the daemon hears and what its listener does, about once a second."""

from __future__ import annotations

import time
from typing import Protocol, runtime_checkable

from overheard.events import Status
from overheard.fingerprint.frontend import FloatArray
from overheard.live.picture import MelPicture
from overheard.live.server import LiveServer

_STATUS_INTERVAL_S = 1.0


@runtime_checkable
class Reporting(Protocol):
    """A listener that can say what it does."""

    def status(self) -> Status:
        """Return the status now; cheap."""


class LiveObserver:
    """The observer of `overheard.daemon.run_listen` that feeds the live socket.

    The picture costs nothing unless a client asked for it.
    """

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self._picture: MelPicture | None = None
        self._next_status_s = 0.0

    def heard(self, block: FloatArray, listener: object, started: float) -> None:
        """Take the block, `(n,)` in [-1, 1], that the listener has processed.

        Parameters
        ----------
        started : Unix time at which the source's clock was 0
        """
        if not self.server.wants_mel:
            self._picture = None
        else:
            self._picture = self._picture or MelPicture()
            self.server.publish_mel(self._picture.process(block))
        now_s = time.monotonic()
        if now_s >= self._next_status_s and isinstance(listener, Reporting):
            self._next_status_s = now_s + _STATUS_INTERVAL_S
            self.server.publish_status(listener.status(), started)
