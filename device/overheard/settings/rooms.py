"""Rooms in which one `overheard listen` hears at once: a name and an input for each."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from overheard.errors import SettingsError
from overheard.text import shorten

MAX_ROOMS = 8
CHANNELS = ("auto", "mix", "left", "right", "difference")  # values of the setting ``listen.channel``
_NAME = re.compile(r"[^\W_]([\w .'-]{0,38}[\w.'-])?")
_EXAMPLE = "such as kitchen=pulse:NAME; `overheard devices` lists the inputs"


@dataclasses.dataclass(frozen=True)
class Room:
    """A room, the input that hears it, and its channel; empty: as the setting ``listen.channel`` says."""

    name: str
    input: str
    channel: str = ""


def parse_rooms(texts: Sequence[str], origin: str = "listen.rooms") -> tuple[Room, ...]:
    """Parse rooms of the form ``NAME=INPUT`` or ``NAME=CHANNEL@INPUT``.

    Parameters
    ----------
    texts : of the setting, or of the flags
    origin : name of the setting or flag, for errors

    Raises
    ------
    SettingsError
        If one has another form, two have the same name or input, or there are too many.

    Examples
    --------
    >>> parse_rooms(["kitchen=default", "living room=stream:http://a/?b=c"])[1]
    Room(name='living room', input='stream:http://a/?b=c', channel='')
    >>> parse_rooms(["bath=right@pulse:usb"])
    (Room(name='bath', input='pulse:usb', channel='right'),)
    """
    rooms = tuple(_parse(text, origin) for text in texts)
    if len(rooms) > MAX_ROOMS:
        raise SettingsError(f"{origin}: there are {len(rooms)} rooms", f"at most {MAX_ROOMS} are possible")
    for what, values in (
        ("room", [room.name.casefold() for room in rooms]),
        ("input", [f"{room.channel}@{room.input}".lstrip("@") for room in rooms]),
    ):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            problem = f"{origin}: the {what} {shorten(twice, 60)!r} occurs twice"
            raise SettingsError(problem, "give each room a name and an input of its own")
    return rooms


def _parse(text: str, origin: str) -> Room:
    name, _, spec = (part.strip() for part in text.partition("="))
    if not spec:
        raise SettingsError(f"{origin}: {shorten(text, 60)!r} must be NAME=INPUT", _EXAMPLE)
    if not _NAME.fullmatch(name):
        problem = f"{origin}: {shorten(name, 60)!r} is no name of a room"
        raise SettingsError(problem, "use up to 40 letters, digits, spaces, and . ' _ -")
    channel, at, rest = spec.partition("@")
    return Room(name, rest, channel) if at and rest and channel in CHANNELS else Room(name, spec)
