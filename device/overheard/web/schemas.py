"""The JSON schemas of the API: of parameters, bodies and answers."""

from __future__ import annotations

from typing import Any

from overheard.web.values import Schema

MAX_ID = 2**63 - 1


def text(about: str = "", longest: int | None = None, **more: Any) -> dict[str, Any]:
    """Return the schema of a text; one of limited length is sent by a client, and must not contain NUL."""
    limit = {} if longest is None else {"maxLength": longest, "pattern": r"^[^\u0000]*$"}
    return {"type": "string", **limit, **({"description": about} if about else {}), **more}


def number(about: str = "", **more: Any) -> dict[str, Any]:
    """Return the schema of a number."""
    return {"type": "number", **({"description": about} if about else {}), **more}


def integer(about: str = "", low: int = 0, high: int = MAX_ID, **more: Any) -> dict[str, Any]:
    """Return the schema of a whole number."""
    return {"type": "integer", "minimum": low, "maximum": high, "description": about, **more}


def flag(about: str = "", **more: Any) -> dict[str, Any]:
    """Return the schema of a truth value."""
    return {"type": "boolean", **({"description": about} if about else {}), **more}


def record(properties: dict[str, Schema], required: tuple[str, ...] | None = None, **more: Any) -> Schema:
    """Return the schema of an object with these names and no others; all are required by default."""
    names = list(properties) if required is None else list(required)
    schema = {"type": "object", "properties": properties, "additionalProperties": False, **more}
    return {**schema, **({"required": names} if names else {})}


def many(items: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {**schema, "type": [schema["type"], "null"]}


PLAY_ID = integer("id of the play", 1)
TRACK_ID = text("id of the track", 64, pattern="^[0-9A-Za-z._:-]{1,64}$")
NAME = text("name of the pack", 200, minLength=1)
TIME = text(
    "time in UTC, such as 2026-11-28T21:14:03Z",
    40,
    pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?Z$",
)

ERROR = record({"error": record({"problem": text(), "remedy": maybe(text())})})
DONE = record({"done": flag()})

TRACK = record({name: text() for name in ("id", "title", "artist", "album", "path", "pack")})
ALTERNATIVES = many(record({"offset_s": number(), "track": TRACK}))
PLAYING = record(
    {
        "track": TRACK,
        "started_at": maybe(text("UTC, ISO 8601")),
        "start_s": number("seconds of the source"),
        "end_s": number("seconds of the source at which it was last confirmed"),
        "offset_s": number("position in the track at the start of the play"),
        "position_s": number("position in the track now"),
        "duration_s": number("length of the track; 0 if unknown"),
        "score": number(),
        "confidence": number("0 to 1, calibrated"),
        "speed": number("of the playback; 1.0 is the track's own"),
        "alternatives": ALTERNATIVES,
    }
)
STATUS = record(
    {
        "room": text("name of the room; empty if there are no rooms"),
        "state": text("silence, no music, searching, playing, unknown music, paused, or disconnected"),
        "level_db": number("level of the sound in dB of full scale"),
        "floor_db": number("level of the noise in dB of full scale"),
        "gate_open": flag("whether the sound is loud enough to be analysed"),
        "music": number("probability of music"),
        "playing": maybe(PLAYING),
        "pause": maybe(record({"reason": text(), "until": maybe(text("UTC, ISO 8601"))})),
        "cpu_s": {
            "type": "object",
            "additionalProperties": number(),
            "description": "processor time by stage",
        },
        "audio_s": number("seconds of sound so far"),
        "lost_s": number("seconds of sound that were lost"),
        "next_check_s": maybe(number("seconds until the next search or verification")),
    }
)
PLAY = record(
    {
        "id": integer(low=1),
        "track": TRACK,
        "started_at": text("UTC, ISO 8601"),
        "ended_at": text("UTC, ISO 8601"),
        "offset_s": number("position in the track at the start of the play"),
        "score": number(),
        "confidence": number("0 to 1, calibrated"),
        "source": text("where it was heard"),
        "alternatives": ALTERNATIVES,
        "speed": number("of the playback; 1.0 is the track's own"),
        "favourite": flag(),
        "wrong": flag("the user says that this did not play"),
        "unknown_id": maybe(integer("of unknown music, also after it has a name")),
        "label": maybe(text("name that the user gave to unknown music")),
    }
)
EVIDENCE_POINT = record(
    {
        "after_s": number("seconds after the start of the play"),
        "position_s": number("position in the track"),
        "score": number(),
        "threshold": number("lowest accepted score"),
        "similarity": number("to the track, at most 1"),
        "margin": number("how much more similar than the next track"),
        "check": flag("only this track was compared; score and margin say nothing"),
    }
)
COUNT = record(
    {
        "artist": text("empty if albums or tracks have none"),
        "title": text("empty unless tracks are counted"),
        "album": text("empty unless albums are counted"),
        "plays": integer("how often it was played", 1),
        "heard_s": number("how long in all, in seconds"),
        "last_at": text("start of the last play, UTC, ISO 8601"),
        "track_id": text("of the last play"),
    }
)
UNKNOWN = record(
    {
        "id": integer(),
        "times": integer("how often it was heard"),
        "first_at": text("UTC"),
        "last_at": text("UTC"),
    }
)
PACK = record(
    {
        "name": text(),
        "path": text(),
        "enabled": flag(),
        "usable": flag(),
        "problem": maybe(text("why it cannot be used")),
        "tracks": maybe(integer()),
        "hours": maybe(number()),
        "bytes": maybe(integer()),
        "created": maybe(text()),
    }
)
SETTING = record(
    {
        "name": text(),
        "value": {"description": "a text, a number, true or false, or a list of texts"},
        "default": {"description": "as value"},
        "about": text(),
        "origin": text("default, or the file, variable or flag that sets it"),
        "low": maybe(number("lowest value")),
        "high": maybe(number("highest value")),
        "editable": flag("whether it can be changed here"),
    }
)
