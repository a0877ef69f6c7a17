"""Convert events, plays and tracks to JSON types, in one form for all files, sinks and programs."""

from __future__ import annotations

import datetime
from typing import Any

from overheard.events import (
    Event,
    Match,
    MusicUnknown,
    Play,
    PlayEnded,
    PlayStarted,
    PlayUpdated,
    Silence,
    SourceChanged,
    Track,
)

_NAMES = {
    PlayStarted: "play_started",
    PlayUpdated: "play_updated",
    PlayEnded: "play_ended",
    MusicUnknown: "music_unknown",
    Silence: "silence",
    SourceChanged: "source_changed",
}


def to_json(event: Event, started: float) -> dict[str, Any]:
    """Convert an event to JSON types; `started` is the Unix time at which the source's clock was 0."""
    values: dict[str, Any] = {"event": _NAMES[type(event)]}
    if event.room:
        values["room"] = event.room
    if isinstance(event, PlayStarted | PlayUpdated | PlayEnded):
        values["started_at"] = iso_utc(started + event.play.start_s)
        values["ended_at"] = iso_utc(started + event.play.end_s)
        values["play"] = play_json(event.play)
        return values
    values["started_at"] = iso_utc(started + event.start_s)
    if isinstance(event, MusicUnknown):
        values["ended_at"] = iso_utc(started + event.end_s)
    values["start_s"] = round(event.start_s, 3)
    if isinstance(event, MusicUnknown):
        values["end_s"] = round(event.end_s, 3)
        first_heard = None if event.first_heard is None else iso_utc(event.first_heard)
        values |= {"unknown_id": event.unknown_id, "times_heard": event.times_heard}
        values["first_heard_at"] = first_heard
    if isinstance(event, SourceChanged):
        values |= {"source": event.source, "before": event.before, "reason": event.reason}
    return values


def play_json(play: Play) -> dict[str, Any]:
    """Convert a play and its track to JSON types."""
    return {
        "start_s": round(play.start_s, 3),
        "end_s": round(play.end_s, 3),
        "offset_s": round(play.offset_s, 3),
        "score": round(play.score, 6),
        "confidence": round(play.confidence, 4),
        "speed": round(play.speed, 4),
        "track": track_json(play.track),
        "alternatives": alternatives_json(play),
    }


def alternatives_json(found: Play | Match) -> list[dict[str, Any]]:
    """Convert the other recordings that a play or match may be to JSON types; empty if it is certain."""
    return [
        {"offset_s": round(other.offset_s, 3), "track": track_json(other.track)}
        for other in found.alternatives
    ]


def track_json(track: Track) -> dict[str, str]:
    """Convert a track to JSON types, without its duration."""
    return {name: getattr(track, name) for name in ("id", "title", "artist", "album", "path", "pack")}


def iso_utc(unix_time: float) -> str:
    """Format a Unix time as ISO 8601 in UTC, with a fixed width so that text sorts by time."""
    when = datetime.datetime.fromtimestamp(unix_time, datetime.timezone.utc)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def local_time(when: str) -> datetime.datetime:
    """Return the local time of a result of `iso_utc`. Raises ValueError or OverflowError if it is none."""
    return datetime.datetime.fromisoformat(when.replace("Z", "+00:00")).astimezone()  # 3.10 knows no Z
