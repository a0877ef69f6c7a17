"""Convert events to messages for other programs, each with a key that stays the same."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

from overheard.errors import SettingsError
from overheard.event_json import to_json
from overheard.events import Event, MusicUnknown, Play, PlayEnded, PlayStarted, PlayUpdated, Track

EVENTS = ("play_started", "play_ended", "music_unknown")
_MAX_RECENT = 32  # plays that may go on
_SAME_START_S = 5.0  # the clock may be corrected by less
_PRIVATE = ("path", "pack")  # of a track: they say where files are on this computer


class Messages:
    """Choose events by their names, and convert them.

    Parameters
    ----------
    setting : name of the setting with the names, for errors
    names : of `EVENTS`
    leaves : whether the messages leave this computer; then they contain no paths

    Raises
    ------
    SettingsError
        If a name is unknown.
    """

    def __init__(self, setting: str, names: Sequence[str], leaves: bool = False) -> None:
        for name in names:
            if name not in EVENTS:
                raise SettingsError(f"{setting}: unknown event {name!r}", f"use {', '.join(EVENTS)}")
        self._names = frozenset(names)
        self._leaves = leaves
        self._recent: collections.deque[_Known] = collections.deque(maxlen=_MAX_RECENT)

    def make(self, event: Event, started: float) -> tuple[str, dict[str, Any]] | None:
        """Return the key and the message of an event; None if it is not wanted."""
        key = self._key(event, started)
        if isinstance(event, PlayUpdated) or key is None:
            return None
        message = to_json(event, started)
        if message["event"] not in self._names:
            return None
        if self._leaves and "play" in message:
            remove_paths(message["play"])
        message = {"id": key, **message}
        return delivery_key(message), message

    def _key(self, event: Event, started: float) -> str | None:
        if isinstance(event, MusicUnknown):
            return _hash(f"unknown {started + event.start_s:.3f}{_of_room(event.room)}")
        if not isinstance(event, PlayStarted | PlayUpdated | PlayEnded):
            return None
        starts_at, tracks = started + event.play.start_s, _tracks(event.play)
        for known in self._recent:
            if known.room != event.room:
                continue
            if abs(known.starts_at - starts_at) <= _SAME_START_S and known.tracks & tracks:
                known.tracks |= tracks
                return known.key
        key = play_hash(event.play.track, starts_at, event.room)
        self._recent.append(_Known(starts_at, tracks, key, event.room))
        return self._recent[-1].key


@dataclasses.dataclass
class _Known:
    """A play that was seen before: it may settle on another track, and go on after it ended."""

    starts_at: float  # Unix time
    tracks: set[str]
    key: str
    room: str


def _tracks(play: Play) -> set[str]:
    return {play.track.id, *(other.track.id for other in play.alternatives)}


def delivery_key(message: dict[str, Any]) -> str:
    """Return the key of a message. A play that goes on after a pause ends again, with another key."""
    end = f"-{message.get('ended_at', '')}" if message.get("event") == "play_ended" else ""
    return f"{message.get('id', '')}-{message.get('event', '')}{end}"


def play_hash(track: Track, started_at: float, room: str = "") -> str:
    """Return a key of a play, from its track, the Unix time at which it started, and its room."""
    return _hash(f"{started_at:.3f} {track.id}{_of_room(room)}")


def _of_room(room: str) -> str:
    return f" {room}" if room else ""


def remove_paths(play: dict[str, Any]) -> None:
    """Remove from a play in JSON types what says where files are."""
    for track in (play["track"], *(other["track"] for other in play["alternatives"])):
        for name in _PRIVATE:
            track.pop(name, None)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:24]
