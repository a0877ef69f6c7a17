"""A connection to the user's D-Bus, which is a socket of this computer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, DBusErrorResponse, Message, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.wrappers import unwrap_msg

TIMEOUT_S = 5.0
# What connecting, sending and receiving raise when there is no bus, or no longer.
ERRORS = (OSError, KeyError, DBusErrorResponse, RuntimeError, ValueError)


def connect() -> DBusConnection:
    """Connect to the bus of the user's session.

    Raises
    ------
    OSError
        If there is none.
    """
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if not address:
        socket = Path(os.environ.get("XDG_RUNTIME_DIR", "")) / "bus"
        if not socket.is_absolute() or not socket.exists():
            raise OSError("no desktop session (D-Bus) was found")
        address = f"unix:path={socket}"
    return open_dbus_connection(address)  # refuses an address on another computer


def call(
    bus: DBusConnection, address: DBusAddress, method: str, signature: str, body: tuple[Any, ...]
) -> tuple[Any, ...]:
    """Call a method and return the answer."""
    message: Message = new_method_call(address, method, signature, body)
    answer: tuple[Any, ...] = unwrap_msg(bus.send_and_get_reply(message, timeout=TIMEOUT_S))
    return answer
