"""The API about unknown music: list it, and give it its name."""

from __future__ import annotations

from typing import Any

from overheard.history.marks import UnknownRow, label_unknown, labelled_track, read_unknown
from overheard.text import clean
from overheard.web.operation import ApiError, Call, Operation
from overheard.web.schemas import UNKNOWN, flag, integer, many, record, text


def list_unknown(call: Call) -> Any:
    """Return the unknown music that has no name yet, the latest first."""
    rows = reversed(read_unknown(call.context.settings.history_path))
    return {"unknown": [{"id": row.unknown_id, **_heard(row)} for row in rows]}


def _heard(row: UnknownRow) -> dict[str, Any]:
    return {"times": row.times, "first_at": row.first_at, "last_at": row.last_at}


def name_unknown(call: Call) -> Any:
    """Name unknown music in all plays of it, and move its fingerprint to the catalogue.

    The same as `overheard history name`.
    """
    from overheard.catalogue.labelled import label
    from overheard.catalogue.names import LABELLED
    from overheard.catalogue.searching_model import open_model
    from overheard.recognize.unknown_store import UnknownStore

    settings, number = call.context.settings, call.path["id"]
    title, artist = clean(call.body["title"]), clean(call.body.get("artist", ""))
    if not title:
        raise ApiError(409, "the title has no printable characters")
    if not settings.unknown_path.exists() and not settings.history_path.exists():
        raise ApiError(404, "no unknown music has this id")
    with call.context.writing:
        model = open_model(settings)
        store = UnknownStore(settings.unknown_path, model, settings.unknown.max_pieces)
        known = labelled_track(settings.history_path, number, LABELLED)
        entry = store.entry(number)
        track = label(settings.packs_dir, model, entry, known, artist, title, store.networks)
        place = ("", "") if track is None else (track.id, track.pack)
        count = 0
        if settings.history_path.exists():
            count = label_unknown(settings.history_path, number, artist, title, *place)
        if track is None and not count:
            raise ApiError(404, "no unknown music has this id")
        store.remove([number])
    return {"plays": count, "recognized": track is not None}


OPERATIONS = (
    Operation(
        *("GET", "/api/v1/unknown", "Unknown music without a name, the latest first", list_unknown),
        answer=record({"unknown": many(UNKNOWN)}),
        errors=(503,),
    ),
    Operation(
        *("PATCH", "/api/v1/unknown/{id}", "Give unknown music its name", name_unknown),
        path_values={"id": integer("id of the unknown music")},
        body=record({"title": text("", 300, minLength=1), "artist": text("", 300)}, ("title",)),
        answer=record(
            {
                "plays": integer("plays that have the name now"),
                "recognized": flag("whether it is recognized from now on; its fingerprint is still stored"),
            }
        ),
        errors=(404, 409, 503),
    ),
)
