"""The API about what is heard now: status, pause, and covers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from starlette.responses import Response

from overheard.history.pages import Wanted, find_plays
from overheard.live.client import LiveClient, NotRunning
from overheard.web.operation import ApiError, Call, Operation
from overheard.web.schemas import DONE, STATUS, TRACK_ID, flag, integer, many, maybe, number, record

_SMALL, _LARGE = 160, 800  # pixels
_COVER_AGE_S = 86400


def get_status(call: Call) -> Any:
    """Return what `listen` does; and how many streams show it."""
    hub = call.context.hub
    return {
        "running": hub.connected,
        "status": hub.status,
        "rooms": list(hub.statuses.values()) if hub.rooms else [],
        "streams": hub.n_streams,
    }


def pause(call: Call) -> Any:
    """Pause `listen`."""
    return _request(call.context.live_path, {"do": "pause", "for_s": call.body.get("for_s")})


def resume(call: Call) -> Any:
    """Let `listen` go on."""
    return _request(call.context.live_path, {"do": "resume"})


def _request(path: Path, request: dict[str, Any]) -> Any:
    try:
        with LiveClient(path) as client:
            client.request(request)
    except NotRunning as error:
        raise ApiError(409, error.problem, error.remedy) from error
    return {"done": True}


def get_cover(call: Call) -> Response:
    """Return the cover of a track that plays or is in the history."""
    context, track_id = call.context, call.path["track_id"]
    path = _path_of(call, track_id)
    size = _SMALL if call.query["small"] else _LARGE
    cover = context.covers.get(path, size) if path else None
    if cover is None:
        raise ApiError(404, "this track has no cover")
    tag = f'"{hashlib.sha256(cover).hexdigest()[:24]}"'
    headers = {"etag": tag, "cache-control": f"private, max-age={_COVER_AGE_S}"}
    if call.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(cover, media_type="image/jpeg", headers=headers)


def _path_of(call: Call, track_id: str) -> str:
    """Return the path of a track's file. Clients only ever give the id."""
    for status in list(call.context.hub.statuses.values()):
        if status["playing"] is not None and status["playing"]["track"]["id"] == track_id:
            return str(status["playing"]["track"]["path"])
    rows, _ = find_plays(call.context.settings.history_path, Wanted(None, track_id=track_id), 1)
    return rows[0].path if rows else ""


_FOR_S = maybe(
    number("seconds; null or absent: until it is resumed", exclusiveMinimum=0, maximum=366 * 86400)
)
OPERATIONS = (
    Operation(
        *("GET", "/api/v1/status", "What is heard now", get_status),
        answer=record(
            {
                "running": flag("whether `overheard listen` runs"),
                "status": maybe(STATUS),
                "rooms": many(STATUS),
                "streams": integer("open event streams"),
            }
        ),
    ),
    Operation(
        *("POST", "/api/v1/pause", "Pause listening", pause),
        body=record({"for_s": _FOR_S}, ()),
        answer=DONE,
        errors=(409,),
    ),
    Operation(
        *("POST", "/api/v1/resume", "Listen again", resume), body=record({}), answer=DONE, errors=(409,)
    ),
    Operation(
        *("GET", "/api/v1/covers/{track_id}", "Cover from the tags of a track's file", get_cover),
        path_values={"track_id": TRACK_ID},
        query={"small": flag("160 instead of 800 pixels", default=False)},
        media="image/jpeg",
        errors=(404, 503),
    ),
)
