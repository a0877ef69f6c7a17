"""Tell systemd that listening works, what plays, and that audio still arrives (the protocol of sd_notify)."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, MutableMapping

from overheard.events import Event, PlayEnded, PlayStarted, PlayUpdated
from overheard.sinks.runner import Sink
from overheard.text import one_line, one_of, shorten

log = logging.getLogger(__name__)

_LISTENING = "Listening"
_MAX_STATUS = 200  # characters
_PER_TIMEOUT = 3  # messages in the time after which systemd loses its patience


class Notifier:
    """A connection to the service manager that started this process.

    Messages are datagrams. One that systemd cannot take at once is dropped, so that nothing waits for it.

    Parameters
    ----------
    address : a path, or ``@`` and the name of an abstract socket
    watchdog_s : seconds without a sign of life after which systemd restarts the service; 0 for none
    clock : returns seconds
    """

    def __init__(
        self, address: str, watchdog_s: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._interval_s = watchdog_s / _PER_TIMEOUT
        self._clock = clock
        self._next_s = 0.0
        self._ready = False

    @classmethod
    def from_environment(cls, env: MutableMapping[str, str] | None = None) -> Notifier | None:
        """Return the connection that systemd offers; None if it did not start this process.

        The variables are removed, so that programs that this process starts do not report in its name.
        """
        env = os.environ if env is None else env
        address = env.pop("NOTIFY_SOCKET", "")
        interval, for_process = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
        if not address.startswith(("/", "@")):
            return None
        mine = interval.isdecimal() and for_process in ("", str(os.getpid()))
        return cls(address, int(interval) / 1e6 if mine else 0.0)

    def audio(self) -> None:
        """Note that a block of audio has arrived: the service is ready, and alive."""
        if not self._ready:
            self._ready = True
            self._send(f"READY=1\nSTATUS={_LISTENING}")
        if self._interval_s and self._clock() >= self._next_s:
            self._next_s = self._clock() + self._interval_s
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show a text in `systemctl status`."""
        self._send(f"STATUS={shorten(one_line(text), _MAX_STATUS)}")

    def stopping(self) -> None:
        """Note that the service ends by itself or as it was asked to; no more messages follow."""
        self._send("STOPPING=1")
        self._socket.close()

    def _send(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: NUL in the address
            self._socket.sendto(message.encode(), self._address)


@contextlib.contextmanager
def notifying(sinks: list[Sink]) -> Iterator[Callable[[], None] | None]:
    """Notify systemd during the block, if it started this process: add a sink that shows the current play.

    Yields
    ------
    callable or None
        To call for each block of audio.
    """
    notifier = Notifier.from_environment()
    if notifier is None:
        yield None
        return
    sinks.append(NotifySink(notifier))
    try:
        yield notifier.audio
    finally:
        notifier.stopping()


class NotifySink:
    """Show the current play in the status of the service."""

    name = "systemd"

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._shown = ""
        self._playing: dict[str, str] = {}  # by room

    def handle(self, event: Event, started: float) -> None:
        """Show a play when it starts and settles, and no longer when it ends."""
        if isinstance(event, PlayStarted | PlayUpdated):
            self._playing[event.room] = _text(event)
        elif isinstance(event, PlayEnded):
            self._playing.pop(event.room, None)
        else:
            return
        plays = "; ".join(self._playing[room] for room in sorted(self._playing))
        self._show(f"Playing: {plays}" if plays else _LISTENING)

    def close(self) -> None:
        """Do nothing: every message is already sent."""

    def _show(self, text: str) -> None:
        if text != self._shown:
            self._shown = text
            self._notifier.status(text)


def _text(event: PlayStarted | PlayUpdated) -> str:
    play = event.play
    name = one_of(play.track.name, [other.track.name for other in play.alternatives])
    return f"{name} in {event.room}" if event.room else name
