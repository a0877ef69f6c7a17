"""Show the current play to the desktop as a media player that nobody can control.

https://specifications.freedesktop.org/mpris-spec/latest/
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_error, new_method_return, new_signal
from jeepney.io.blocking import DBusConnection

from overheard.errors import OverheardError
from overheard.events import Event, PlayEnded, PlayStarted, PlayUpdated
from overheard.settings import Settings
from overheard.sinks.context import Context
from overheard.sinks.desktop.bus import ERRORS, call, connect
from overheard.sinks.desktop.player import INTROSPECTION, OBJECT, PLAYER, Player

NAME = "mpris"
BUS_NAME = "org.mpris.MediaPlayer2.overheard"
log = logging.getLogger(__name__)

_DRIVER = DBusAddress("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
_PROPERTIES = "org.freedesktop.DBus.Properties"
_ERROR = "org.freedesktop.DBus.Error"
_POLL_S = 0.5  # how soon a change is announced
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0
_TAKEN = 4  # DBUS_REQUEST_NAME_FLAG_DO_NOT_QUEUE
_OWNER = 1  # DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER
_CLOSE_TIMEOUT_S = 1.0


class MprisSink:
    """A player on the bus; its own thread answers the desktop, and connects again if the bus restarts."""

    name = NAME

    def __init__(self) -> None:
        self._player = Player()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="mpris", daemon=True)
        self._thread.start()

    def handle(self, event: Event, started: float) -> None:
        """Note what plays."""
        if isinstance(event, PlayStarted | PlayUpdated):
            changed = self._player.play(event.play, started, event.room)
        elif isinstance(event, PlayEnded):
            changed = self._player.stop(event.room)
        else:
            return
        if changed:
            self._changed.set()

    def close(self) -> None:
        """Leave the bus."""
        self._stopping.set()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        retry_s = _FIRST_RETRY_S
        while not self._stopping.is_set():
            try:
                with connect() as bus:
                    own_name(bus, BUS_NAME)
                    if self._failing:
                        log.warning("mpris: works again")
                    self._failing, retry_s = False, _FIRST_RETRY_S
                    self._serve(bus)
            except ERRORS as error:
                if not self._failing:
                    log.warning("mpris: %s; trying again", error)
                self._failing = True
            self._stopping.wait(retry_s)
            retry_s = min(2 * retry_s, _LAST_RETRY_S)

    def _serve(self, bus: DBusConnection) -> None:
        while not self._stopping.is_set():
            if self._changed.is_set():
                self._changed.clear()
                bus.send(self._announcement())
            try:
                message = bus.receive(timeout=_POLL_S)
            except TimeoutError:
                continue
            if message.header.message_type is MessageType.method_call:
                bus.send(answer(self._player, message))

    def _announcement(self) -> Message:
        emitter = DBusAddress(OBJECT, interface=_PROPERTIES)
        body: tuple[Any, ...] = (PLAYER, self._player.changing(time.time()), [])
        return new_signal(emitter, "PropertiesChanged", "sa{sv}as", body)


def own_name(bus: DBusConnection, name: str) -> None:
    """Take a name on the bus; if another process has it, one with the number of this process.

    Raises
    ------
    OSError
        If the bus refuses.
    """
    for candidate in (name, f"{name}.instance{os.getpid()}"):
        (result,) = call(bus, _DRIVER, "RequestName", "su", (candidate, _TAKEN))
        if result == _OWNER:
            return
    raise OSError("another program has this MPRIS name")


def answer(player: Player, message: Message) -> Message:
    """Return the answer to a call."""
    fields = message.header.fields
    interface, method = fields.get(HeaderFields.interface, ""), fields.get(HeaderFields.member, "")
    if fields.get(HeaderFields.path) != OBJECT and method != "Introspect":
        return new_error(message, f"{_ERROR}.UnknownObject")
    if interface == _PROPERTIES:
        return _property(player, message, method)
    if method == "Introspect":
        return new_method_return(message, "s", (INTROSPECTION,))
    if method == "Ping":
        return new_method_return(message)
    if interface.startswith("org.mpris.MediaPlayer2"):
        return new_method_return(message)  # CanControl is false: calls have no effect
    return new_error(message, f"{_ERROR}.UnknownMethod")


def _property(player: Player, message: Message, method: str) -> Message:
    body: tuple[Any, ...] = tuple(message.body)
    if method == "GetAll" and len(body) == 1:
        return new_method_return(message, "a{sv}", (player.properties(str(body[0]), time.time()),))
    if method == "Get" and len(body) == 2:
        found = player.properties(str(body[0]), time.time()).get(str(body[1]))
        if found is not None:
            return new_method_return(message, "v", (found,))
        return new_error(message, f"{_ERROR}.UnknownProperty")
    if method == "Set":
        return new_error(message, f"{_ERROR}.PropertyReadOnly")
    return new_error(message, f"{_ERROR}.InvalidArgs")


def open_sink(_settings: Settings, _context: Context) -> MprisSink:
    """Return the sink."""
    return MprisSink()


def test(_settings: Settings, _context: Context) -> str:
    """Connect to the bus."""
    try:
        connect().close()
    except ERRORS as error:
        raise OverheardError(f"mpris: {error}", "run this in your desktop session") from None
    return "the desktop's D-Bus accepts the connection"
