"""Show a desktop notification when a play starts.

https://specifications.freedesktop.org/notification-spec/latest/
"""

from __future__ import annotations

import html
from typing import Any

from jeepney import DBusAddress
from jeepney.io.blocking import DBusConnection

from overheard.errors import OverheardError
from overheard.events import Event, PlayStarted, PlayUpdated, Track
from overheard.settings import Settings
from overheard.sinks.context import Context
from overheard.sinks.desktop.bus import ERRORS, call, connect
from overheard.text import one_line, shorten

NAME = "notify"
_SERVER = DBusAddress(
    "/org/freedesktop/Notifications", "org.freedesktop.Notifications", "org.freedesktop.Notifications"
)
_MAX_TEXT = 200


class NotifySink:
    """Show each track once; a new notification replaces the one before it.

    Parameters
    ----------
    timeout_s : how long a notification stays; 0: as the desktop decides
    """

    name = NAME

    def __init__(self, timeout_s: float) -> None:
        self._expire_ms = round(1000 * timeout_s) if timeout_s else -1
        self._bus: DBusConnection | None = None
        self._id = 0
        self._shown: dict[str, tuple[float, str]] = {}  # by room: start and track of the last play

    def handle(self, event: Event, started: float) -> None:
        """Show the track of a play when it starts, and when it becomes another one."""
        if not isinstance(event, PlayStarted | PlayUpdated) or event.play.ambiguous:
            return
        shown = event.play.start_s, event.play.track.id
        if self._shown.get(event.room) != shown:  # a play that goes on after a pause is not shown again
            self._shown[event.room] = shown
            self.show(event.play.track, event.room)

    def show(self, track: Track, room: str = "") -> None:
        """Show a track, and the room in which it plays.

        Raises
        ------
        OSError
            If there is no desktop that shows notifications.
        """
        # Some desktops take the text for HTML.
        lines = [track.artist, track.album, room]
        text = "\n".join(html.escape(shorten(one_line(line), _MAX_TEXT)) for line in lines if line)
        body: tuple[Any, ...] = (
            *("overheard", self._id, "audio-x-generic", shorten(one_line(track.title), _MAX_TEXT), text),
            *([], {"transient": ("b", True), "category": ("s", "x-overheard.play")}, self._expire_ms),
        )
        try:
            self._bus = self._bus or connect()
            (self._id,) = call(self._bus, _SERVER, "Notify", "susssasa{sv}i", body)
        except ERRORS as error:
            self.close()
            raise OSError(f"the desktop shows no notifications: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        bus, self._bus, self._id = self._bus, None, 0
        if bus is not None:
            bus.close()


def open_sink(settings: Settings, _context: Context) -> NotifySink:
    """Return the sink."""
    return NotifySink(settings.sinks.notify.timeout_s)


def test(settings: Settings, context: Context) -> str:
    """Show a notification."""
    sink = open_sink(settings, context)
    try:
        sink.show(Track("test", "Test", "overheard", "", "", "", 0.0))
    except OSError as error:
        raise OverheardError(str(error), "run this in your desktop session") from None
    finally:
        sink.close()
    return "the desktop shows a notification"
