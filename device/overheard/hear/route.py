"""Watch which source of the sound server a stream records, and bring it back to its own source."""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Literal

from overheard.hear.sound_server import Connection, SoundServer
from overheard.hear.source import EMPTY_BLOCK, Block, Gap, Rerouted

log = logging.getLogger(__name__)

_RETRY_S = 5.0  # after the sound server ended
_FIRST_CHECKS = 3  # a device that does not use the sound server is recognized by them
_FIRST_CHECK_S = 0.5
_STOP_S = 1.0
_LONGEST_HELD_S = 10.0  # of audio; a sound server that hangs delivers none anyway


class Route:
    """Decides which source a stream should record, and what to report when the source changes.

    When the source of a stream disappears, the sound server moves the stream to another source; it is moved
    back as soon as its own source exists again. If somebody moves the stream while its source exists, that
    source is its own from then on. The source of ``monitor`` is the monitor of the default output, whichever
    that is, until somebody moves the stream.

    Parameters
    ----------
    spec : str
        As for `overheard.hear.devices.find_device`.
    name : str
        Name of the source in the history, while the stream records the source that it recorded at first.
    """

    def __init__(self, spec: str, name: str) -> None:
        self._name = name
        self._follows_output = spec == "monitor"
        self._home = spec.removeprefix("pulse:") if spec.startswith("pulse:") else ""
        self._usual = ""  # the first home
        self._home_number = -1
        self._away = False  # whether the stream left its home because that disappeared
        self._current = ""  # as last reported

    def wanted(self, now: Connection) -> str:
        """Return the source that the stream should record now."""
        if self._follows_output and now.monitor in now.sources:
            if now.monitor != self._home:
                self._home, self._away = now.monitor, True
        elif not self._home:
            self._home = now.source
        if not self._current:
            self._usual = self._current = self._home
            self._away = now.source != self._home
        elif now.sources.get(self._home) != self._home_number:
            self._away = True
        self._home_number = now.sources.get(self._home, -1)
        return self._home if self._away and self._home in now.sources else now.source

    def update(self, now: Connection) -> Rerouted | None:
        """Take note of the connection after the stream was moved; return what to report."""
        before, self._current = self._current, now.source
        if now.source == self._home:
            self._away = False
        elif not self._away and now.source != before:
            self._home, self._home_number = now.source, now.sources[now.source]
            self._follows_output = False
        if now.source == before:
            return None
        if now.source == self._usual:
            return Rerouted(self._name, f"pulse:{now.source}", f"pulse:{before}", "returned")
        reason: Literal["gone", "moved"] = "moved" if before in now.sources else "gone"
        names = f"pulse:{now.source}", f"pulse:{now.source}", f"pulse:{before}"
        return Rerouted(*names, reason, away=now.source != self._home)


class RouteWatch:
    """The results of a thread that watches a stream: changes, and whether it is still checking one.

    Calling it returns the changes since the last call.
    """

    def __init__(self) -> None:
        self._changes: collections.deque[Rerouted] = collections.deque(maxlen=100)
        self._n_announced = self._n_checked = 0

    def __call__(self) -> list[Rerouted]:
        """Return the changes since the last call."""
        return [self._changes.popleft() for _ in range(len(self._changes))]

    @property
    def checking(self) -> bool:
        """Whether the sound server has announced a change that has not been checked yet."""
        return self._n_announced != self._n_checked

    def announce(self) -> None:
        """Record a possible change. Only the watching thread calls this and `checked`."""
        self._n_announced += 1

    def checked(self, change: Rerouted | None) -> None:
        """Record the result of a check."""
        if change is not None:
            self._changes.append(change)
        self._n_checked = self._n_announced


@contextlib.contextmanager
def watching_route(route: Route, tag: str = "") -> Iterator[RouteWatch]:
    """Watch a stream that has been opened.

    A thread asks the sound server, so that the reader of the stream never waits. Without `pactl`, and for
    devices that do not use the sound server, nothing happens. `tag` names the stream, as in `SoundServer`.
    """
    watch = RouteWatch()
    if not SoundServer.available():
        yield watch
        return
    server = SoundServer(tag)
    thread = threading.Thread(target=_watch, args=(server, route, watch), name="sound server", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        server.close()
        thread.join(_STOP_S)


def confirmed(items: Iterable[Block | Gap], watch: RouteWatch) -> Iterator[Block | Gap | Rerouted]:
    """Yield the audio of a stream, and the changes of its source.

    While the source of the stream is not known, the audio is held back. If the source has changed, this audio
    may be from either source, and is discarded (as a gap).
    """
    held: list[Block | Gap] = []
    since_s = time.monotonic()
    for item in items:
        held.append(item)
        if watch.checking and time.monotonic() - since_s < _LONGEST_HELD_S:
            yield EMPTY_BLOCK
            continue
        changes = watch()
        n_samples = sum(one.n_samples if isinstance(one, Gap) else one.size for one in held)
        if changes and n_samples:
            yield Gap(n_samples, slow=False)
        else:
            yield from held
        yield from changes
        held, since_s = [], time.monotonic()


def _watch(server: SoundServer, route: Route, watch: RouteWatch) -> None:
    for _ in range(_FIRST_CHECKS):
        if server.connection() is not None:
            break
        if server.wait(_FIRST_CHECK_S):
            return
    else:
        return
    while True:
        for _ in server.changes(watch.announce):
            watch.checked(_check(server, route))
        watch.checked(None)
        if server.wait(_RETRY_S):
            return


def _check(server: SoundServer, route: Route) -> Rerouted | None:
    """Ask which source the stream records, and move the stream if it should record another one."""
    now = server.connection()
    if now is None:
        return None
    wanted = route.wanted(now)
    if wanted != now.source:
        moved = server.move(now.stream, wanted)
        log.debug("stream %d: %s to %s", now.stream, "moved" if moved else "cannot be moved", wanted)
        now = server.connection()
    return None if now is None else route.update(now)
