"""The messages on the live socket: one JSON object per line, in both directions.

From `listen`: ``hello``, the events of `overheard listen --json`, ``status`` about once a second, ``mel`` for
clients that asked for it, and ``reply``. Their kind is in ``event``. To `listen`: requests, whose kind is in
``do``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

from overheard.event_json import iso_utc, play_json
from overheard.events import Play, Status

VERSION = 1
MAX_REQUEST_BYTES = 1024
MAX_MESSAGE_BYTES = 1 << 20
MAX_PAUSE_S = 366 * 86400.0
_MAX_UNCONFIRMED_S = 300.0  # a play is confirmed more often, unless the clock was set
_MIN_DB = -120.0  # stands for digital silence, whose level JSON cannot express


@dataclasses.dataclass(frozen=True)
class Pause:
    """Stop listening for some seconds; None: until `Resume`."""

    for_s: float | None


@dataclasses.dataclass(frozen=True)
class Resume:
    """Listen again."""


@dataclasses.dataclass(frozen=True)
class Watch:
    """Which messages the client wants besides events and statuses."""

    mel: bool


Request = Pause | Resume | Watch


class BadRequest(ValueError):
    """A request is malformed. Its message is for the client."""


def encode(message: dict[str, Any]) -> bytes:
    """Return the line of a message."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """Return the message of a line.

    Raises
    ------
    BadRequest
        If the line is not a JSON object.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest("not JSON") from error
    if not isinstance(message, dict):
        raise BadRequest("not a JSON object")
    return message


def parse_request(line: bytes) -> Request:
    """Return the request of a line.

    Raises
    ------
    BadRequest
        If the line is not a request, or has other names than the request takes.
    """
    message = decode(line)
    do = message.pop("do", None)
    if do == "pause" and message.keys() <= {"for_s"}:
        return Pause(_pause_length(message.get("for_s")))
    if do == "resume" and not message:
        return Resume()
    if do == "watch" and message.keys() == {"mel"} and isinstance(message["mel"], bool):
        return Watch(message["mel"])
    raise BadRequest("unknown request; known are pause, resume and watch")


def _pause_length(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_PAUSE_S:
        raise BadRequest(f"for_s must be null, or seconds above 0 and at most {MAX_PAUSE_S:.0f}")
    return float(value)


def hello(version: str, rooms: Sequence[str] = ()) -> dict[str, Any]:
    """Return the first message to each client."""
    return {"event": "hello", "protocol": VERSION, "version": version, "rooms": list(rooms)}


def reply(error: str | None = None) -> dict[str, Any]:
    """Return the answer to a request."""
    return {"event": "reply", "ok": error is None, "error": error}


def mel_json(columns: Sequence[Sequence[int]], columns_per_s: float, room: str = "") -> dict[str, Any]:
    """Return the message of new columns of the log-mel picture, in dB, the lowest band first."""
    return {"event": "mel", "room": room, "columns_per_s": columns_per_s, "columns": columns}


def status_json(status: Status, started: float | None, now: float = 0.0) -> dict[str, Any]:
    """Return the message of a status.

    Parameters
    ----------
    status : Status
    started : Unix time at which the source's clock was 0, if it is known
    now : Unix time
    """
    return {
        "event": "status",
        "room": status.room,
        "state": status.state,
        "level_db": _db(status.level_db),
        "floor_db": _db(status.floor_db),
        "gate_open": bool(status.gate_open),
        "music": round(float(status.music), 3),
        "playing": None if status.playing is None else playing_json(status.playing, started, now),
        "cpu_s": {name: round(float(seconds), 3) for name, seconds in status.cpu_s.items()},
        "audio_s": round(status.audio_s, 1),
        "lost_s": round(status.lost_s, 1),
        "pause": None,
        "next_check_s": None if status.next_check_s is None else round(max(0.0, status.next_check_s), 1),
    }


def pause_json(reason: str, until: float | None) -> dict[str, Any]:
    """Return why listening is paused, and until when, in UTC."""
    return {"reason": reason, "until": None if until is None else iso_utc(until)}


def playing_json(play: Play, started: float | None, now: float) -> dict[str, Any]:
    """Return a play with what a display needs: its start in UTC, the position now, and the track's length.

    The play was confirmed at its end, which may be a while ago. A file may be read faster than the clock.
    """
    now_s = play.end_s if started is None else now - started
    heard_s = min(max(play.end_s, now_s), play.end_s + _MAX_UNCONFIRMED_S)
    return {
        **play_json(play),
        "started_at": None if started is None else iso_utc(started + play.start_s),
        "position_s": round(play.position_s(heard_s), 3),
        "duration_s": round(play.track.duration_s, 3),
        "speed": round(play.speed, 4),
    }


def _db(level: float) -> float:
    return round(max(_MIN_DB, float(level)), 1) if math.isfinite(level) else _MIN_DB
