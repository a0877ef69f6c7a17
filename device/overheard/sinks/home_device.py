"""The devices of Home Assistant: one, or one for each room; what they show and what of that was published."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from overheard.events import Event, Status, Track
from overheard.sinks.home_discovery import Topics, discovery
from overheard.sinks.home_state import HomeState

Payload = str | bytes


class HomeDevice:
    """One device.

    Parameters
    ----------
    topics : of the device
    base : topics of the connection, which has the availability, and the pause
    name : for people
    room : in which it hears; empty if there are no rooms
    hears : whether it shows what plays
    can_pause : whether it has the switch for the pause
    cover : returns the picture of a track; None if covers are not wanted
    """

    def __init__(
        self,
        topics: Topics,
        base: Topics,
        name: str,
        room: str = "",
        hears: bool = True,
        can_pause: bool = True,
        cover: Callable[[Track], bytes | None] | None = None,
    ) -> None:
        self._topics, self._base, self._name, self._room = topics, base, name, room
        self._hears, self._can_pause, self._cover = hears, can_pause, cover
        self._state = HomeState()
        self._published: dict[str, Payload] = {}
        self._cover_of: str | None = None  # track whose cover was published; None: not known
        self.status: Status | None = None  # the newest one, until it is used

    @property
    def event_topic(self) -> str:
        """Topic of the event entity."""
        return self._topics.own("event")

    def follow(self, event: Event, started: float) -> str | None:
        """Take an event; return the message of the event entity, if there is one."""
        return self._state.follow(event, started)

    def introduction(self) -> tuple[str, str]:
        """Return the topic and the message of discovery. What was published before is forgotten."""
        self._published, self._cover_of = {}, None
        via = self._base.id if self._topics != self._base else ""
        message = discovery(
            self._topics,
            self._name,
            can_pause=self._can_pause,
            cover=self._cover is not None,
            hears=self._hears,
            availability=self._base.own("availability"),
            area=self._room,
            via=via,
        )
        return self._topics.discovery, message

    def changes(self, paused: bool) -> Iterator[tuple[str, Payload]]:
        """Yield the topics whose payload is not the one that was published last, which it is from now on."""
        status, self.status = self.status, None
        if status is not None:
            self._state.update(status)
        for name, text in self._state.topics(paused).items():
            wanted = self._can_pause if name == "pause" else self._hears
            if wanted and self._published.get(name) != text:
                self._published[name] = text
                yield self._topics.own(name), text
        track = self._state.track
        if self._hears and self._cover is not None and self._cover_of != (track.id if track else ""):
            self._cover_of = track.id if track else ""
            yield self._topics.own("cover"), (self._cover(track) if track else None) or b""


def devices_of(
    base: Topics,
    name: str,
    rooms: Sequence[str],
    can_pause: bool,
    cover: Callable[[Track], bytes | None] | None,
) -> dict[str, HomeDevice]:
    """Return the devices by room. With rooms, that of the room ``""`` has only the switch for the pause."""
    if not rooms:
        return {"": HomeDevice(base, base, name, can_pause=can_pause, cover=cover)}
    found = {"": HomeDevice(base, base, name, hears=False, can_pause=can_pause)} if can_pause else {}
    taken: set[str] = set()
    for room in rooms:
        topics = Topics(base.prefix, f"{base.id}_{_word(room, taken)}")
        found[room] = HomeDevice(topics, base, f"{name} {room}", room, can_pause=False, cover=cover)
    return found


def _word(room: str, taken: set[str]) -> str:
    """Return a word of ASCII letters, digits and _ for a room, which no other room has."""
    plain = unicodedata.normalize("NFKD", room).encode("ascii", "ignore").decode().lower()
    word = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    if not word or word in taken:
        word = f"{word}_{hashlib.sha256(room.encode()).hexdigest()[:6]}".strip("_")
    taken.add(word)
    return word
