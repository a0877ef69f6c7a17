"""What the entities of Home Assistant show, as a text for each topic."""

from __future__ import annotations

import json
from typing import Any

from overheard.event_json import iso_utc
from overheard.events import (
    Event,
    MusicUnknown,
    Play,
    PlayEnded,
    PlayStarted,
    PlayUpdated,
    Silence,
    Status,
    Track,
)

ONLINE, OFFLINE = "online", "offline"
UNKNOWN = "None"  # what Home Assistant takes for an unknown state
EVENT_TYPES = ("play_started", "play_ended", "music_unknown")
_MAX_STATE = 255  # characters; Home Assistant accepts no longer state
_MUSIC = ("playing", "unknown music")


def short_state(text: str) -> str:
    """Return a text as a state of Home Assistant: at most 255 characters, and not taken for an unknown state.

    Examples
    --------
    >>> short_state(""), short_state("None"), len(short_state("x" * 300))
    ('None', 'None ', 255)
    """
    if not text.strip():
        return UNKNOWN
    if len(text) > _MAX_STATE:
        return f"{text[: _MAX_STATE - 1]}\u2026"
    return f"{text} " if text == UNKNOWN else text


class HomeState:
    """Follow events and statuses; `topics` has the state of each entity."""

    def __init__(self) -> None:
        self._play: Play | None = None
        self._started = 0.0
        self._music = False

    @property
    def track(self) -> Track | None:
        """The track that plays now."""
        return self._play.track if self._play else None

    def follow(self, event: Event, started: float) -> str | None:
        """Take an event; return the message of the event entity, if there is one."""
        kind = None
        if isinstance(event, PlayStarted | PlayUpdated):
            new = self._play is None or self._play.start_s != event.play.start_s
            if new or _tracks(event.play) != _tracks(self._play):
                self._play, self._started = event.play, started
            self._music = True
            kind = "play_started" if isinstance(event, PlayStarted) else None
        elif isinstance(event, PlayEnded):
            self._play, self._music, kind = None, False, "play_ended"
        elif isinstance(event, MusicUnknown):
            self._music, kind = True, "music_unknown"
        elif isinstance(event, Silence):
            self._music = False
        if kind is None:
            return None
        if isinstance(event, MusicUnknown):
            about = {"unknown_id": event.unknown_id, "times_heard": event.times_heard}
        else:
            about = _attributes(event.play if isinstance(event, PlayStarted | PlayEnded) else None, started)
        return json.dumps({"event_type": kind, **about})

    def update(self, status: Status) -> None:
        """Take the newest status, which knows better whether there is music."""
        self._music = status.state in _MUSIC or (self._music and status.state == "searching")

    def topics(self, paused: bool) -> dict[str, str]:
        """Return the state of each entity by the last part of its topic."""
        track = self.track
        return {
            "title": short_state(track.title if track else ""),
            "artist": short_state(track.artist if track else ""),
            "album": short_state(track.album if track else ""),
            "attributes": json.dumps(_attributes(self._play, self._started)),
            "music": "ON" if self._music and not paused else "OFF",
            "pause": "ON" if paused else "OFF",
        }


def _tracks(play: Play | None) -> list[str]:
    return [play.track.id, *(other.track.id for other in play.alternatives)] if play else []


def _attributes(play: Play | None, started: float) -> dict[str, Any]:
    """Return everything about a play that does not change all the time; no paths."""
    if play is None:
        return {}
    return {
        "title": play.track.title,
        "artist": play.track.artist,
        "album": play.track.album,
        "track_id": play.track.id,
        "duration_s": round(play.track.duration_s, 1),
        "started_at": iso_utc(started + play.start_s),
        "offset_s": round(play.offset_s, 1),
        "confidence": round(play.confidence, 2),
        "speed": round(play.speed, 4),
        "alternatives": [other.track.name for other in play.alternatives],
    }
