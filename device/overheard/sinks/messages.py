"""Convert events to messages for other programs, each with a key that stays the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from overheard.errors import SettingsError
from overheard.events import Event, MusicUnknown, PlayEnded, PlayStarted, PlayUpdated, Track
from overheard.sinks.jsonl import to_json

EVENTS = ("play_started", "play_ended", "music_unknown")
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
        self._open: tuple[float, str] | None = None  # start and key of the play that is heard now

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
        return f"{key}-{message['event']}", {"id": key, **message}

    def _key(self, event: Event, started: float) -> str | None:
        if isinstance(event, MusicUnknown):
            return _hash(f"unknown {started + event.start_s:.3f}")
        if not isinstance(event, PlayStarted | PlayUpdated | PlayEnded):
            return None
        play = event.play
        if self._open is None or isinstance(event, PlayStarted) or self._open[0] != play.start_s:
            self._open = play.start_s, play_hash(play.track, started + play.start_s)
        key = self._open[1]
        if isinstance(event, PlayEnded):
            self._open = None
        return key


def play_hash(track: Track, started_at: float) -> str:
    """Return a key of a play, from its track and the Unix time at which it started."""
    return _hash(f"{started_at:.3f} {track.id}")


def remove_paths(play: dict[str, Any]) -> None:
    """Remove from a play in JSON types what says where files are."""
    for track in (play["track"], *(other["track"] for other in play["alternatives"])):
        for name in _PRIVATE:
            track.pop(name, None)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:24]
