"""The API about the history: find, show, change and delete plays."""

from __future__ import annotations

import dataclasses
from typing import Any

from overheard.history.counts import BY, count_plays
from overheard.history.evidence import StoredPoint, stored_evidence
from overheard.history.forget import forget
from overheard.history.marks import mark_favourite, mark_wrong, read_evidence
from overheard.history.pages import SHOWN, Wanted, find_play, find_plays
from overheard.history.play_rows import PlayRow
from overheard.web.operation import ApiError, Call, Operation
from overheard.web.schemas import (
    COUNT,
    DONE,
    EVIDENCE_POINT,
    PLAY,
    PLAY_ID,
    TIME,
    flag,
    integer,
    many,
    maybe,
    record,
    text,
)

_MAX_WORDS = 10
_CURSOR = text("`next` of the page before", 60, pattern=r"^[0-9T:.Z-]{16,40}~[1-9][0-9]{0,17}$")


def list_plays(call: Call) -> Any:
    """Return a page of the history, the latest first."""
    query = call.query
    before = None
    if "before" in query:
        start, _, number = query["before"].partition("~")
        before = (start, int(number))
    words = tuple(query["q"].split())[:_MAX_WORDS]
    wanted = Wanted(query["show"], words, _utc(query.get("since")), _utc(query.get("until")), before)
    rows, more = find_plays(call.context.settings.history_path, wanted, query["limit"])
    following = f"{rows[-1].started_at}~{rows[-1].id}" if more and rows else None
    return {"plays": [play_json(row) for row in rows], "next": following}


def list_top(call: Call) -> Any:
    """Return what was played most often."""
    query, path = call.query, call.context.settings.history_path
    times = (_utc(query.get("since")), _utc(query.get("until")))
    counts = count_plays(path, query["by"], *times, limit=query["limit"])
    return {"top": [dataclasses.asdict(count) for count in counts]}


def _utc(time: str | None) -> str | None:
    """Return a time in the form of the history, whose times are compared as text."""
    if time is None:
        return None
    whole, _, fraction = time.removesuffix("Z").partition(".")
    return f"{whole if len(whole) == 19 else whole + ':00'}.{fraction[:3]:0<3}Z"


def get_play(call: Call) -> Any:
    """Return one play."""
    return play_json(_row(call))


def change_play(call: Call) -> Any:
    """Mark a play as a favourite or as wrong, or take the mark back."""
    path, number = call.context.settings.history_path, call.path["id"]
    _row(call)
    if "favourite" in call.body:
        mark_favourite(path, number, call.body["favourite"])
    if "wrong" in call.body:
        mark_wrong(path, [number], call.body["wrong"])
    return play_json(_row(call))


def explain_play(call: Call) -> Any:
    """Return what the recognition of a play was based on: its searches and verifications."""
    _row(call)
    evidence = read_evidence(call.context.settings.history_path, call.path["id"])
    return {"looks": [_look_json(point) for point in stored_evidence(evidence)]}  # names of version 1


def _look_json(point: StoredPoint) -> dict[str, Any]:
    values = dataclasses.asdict(point)
    values["check"] = values.pop("verification")
    return values


def delete_play(call: Call) -> Any:
    """Delete a play, and overwrite it in the file."""
    if not forget(call.context.settings.history_path, [call.path["id"]]):
        raise ApiError(404, "no play has this id")
    return {"done": True}


def _row(call: Call) -> PlayRow:
    row = find_play(call.context.settings.history_path, call.path["id"])
    if row is None:
        raise ApiError(404, "no play has this id")
    return row


def play_json(row: PlayRow) -> dict[str, Any]:
    """Convert a row of the history to JSON types."""
    return {
        "id": row.id,
        "track": {
            "id": row.track_id,
            **{name: getattr(row, name) for name in ("title", "artist", "album", "path", "pack")},
        },
        **{
            name: getattr(row, name) for name in ("started_at", "ended_at", "offset_s", "score", "confidence")
        },
        "source": row.source,
        "alternatives": row.alternatives,
        **{name: getattr(row, name) for name in ("speed", "favourite", "wrong", "unknown_id", "label")},
    }


_TIMES = {
    "since": {**TIME, "description": f"only plays that ended after this {TIME['description']}"},
    "until": {**TIME, "description": f"only plays that started before this {TIME['description']}"},
}
OPERATIONS = (
    Operation(
        *("GET", "/api/v1/plays", "The history, the latest plays first", list_plays),
        query={
            "show": text(
                "plays; favourites; unknown music without a name; wrong plays; everything else",
                enum=list(SHOWN),
                default="plays",
            ),
            "q": text("words that must occur in title, artist or album", 200, default=""),
            **_TIMES,
            "before": _CURSOR,
            "limit": integer("plays at most", 1, 500, default=50),
        },
        answer=record({"plays": many(PLAY), "next": maybe(text("value of `before` for the next page"))}),
        errors=(503,),
    ),
    Operation(
        *("GET", "/api/v1/top", "How often each track, artist or album was played", list_top),
        query={
            "by": text("what is counted", enum=list(BY), default="tracks"),
            **_TIMES,
            "limit": integer("counts at most", 1, 500, default=50),
        },
        answer=record({"top": many(COUNT)}),
        errors=(503,),
    ),
    Operation(
        *("GET", "/api/v1/plays/{id}", "One play", get_play),
        path_values={"id": PLAY_ID},
        answer=PLAY,
        errors=(404, 503),
    ),
    Operation(
        *("PATCH", "/api/v1/plays/{id}", "Mark a play as a favourite, or as wrong", change_play),
        path_values={"id": PLAY_ID},
        body=record({"favourite": flag(), "wrong": flag("this did not play")}, (), minProperties=1),
        answer=PLAY,
        errors=(404, 503),
    ),
    Operation(
        *("GET", "/api/v1/plays/{id}/explanation", "Why a play was recognized", explain_play),
        path_values={"id": PLAY_ID},
        answer=record({"looks": many(EVIDENCE_POINT)}),
        errors=(404, 503),
    ),
    Operation(
        *("DELETE", "/api/v1/plays/{id}", "Delete a play, and overwrite it in the file", delete_play),
        path_values={"id": PLAY_ID},
        answer=DONE,
        errors=(404, 503),
    ),
)
