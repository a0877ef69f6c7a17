"""The API about packs: list them, and choose which are searched.

What reads packs is imported on use: NumPy and what comes with it take as much memory as the rest of the page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overheard.errors import ModelError, PackError
from overheard.settings import Settings
from overheard.web.operation import ApiError, Call, Operation
from overheard.web.schemas import DONE, NAME, PACK, flag, many, record, text


def list_packs(call: Call) -> Any:
    """Return all packs, and which of them are searched."""
    from overheard.catalogue.selection import enabled_packs, pack_paths

    settings = call.context.settings
    paths = pack_paths(settings)
    enabled = settings.packs or enabled_packs(settings, paths)
    digest = _digest_in_use(settings)
    packs = [{**_facts(path, digest, settings), "enabled": name in enabled} for name, path in paths.items()]
    return {"packs": packs, "selected": list(settings.packs)}


def _digest_in_use(settings: Settings) -> str | None:
    """Return the digest of the packs that can be searched; None if the model cannot be used."""
    from overheard.catalogue.pack_model import digest_of_model
    from overheard.catalogue.searching_model import model_path

    try:
        return digest_of_model(model_path(settings))
    except ModelError:  # `overheard doctor` reports it
        return None


def _facts(path: Path, digest: str | None, settings: Settings) -> dict[str, Any]:
    from overheard.catalogue.pack import open_pack
    from overheard.catalogue.selection import waits

    facts: dict[str, Any] = {
        **{"name": path.stem, "path": str(path), "usable": True, "problem": None},
        **dict.fromkeys(("tracks", "hours", "bytes", "created")),
    }
    try:
        pack = open_pack(path, digest)
    except PackError as error:
        problem = (digest and waits(path, digest, settings)) or error
        return {**facts, "usable": False, "problem": str(problem).removeprefix(f"{path}: ")}
    measures = {"tracks": pack.n_tracks, "hours": round(pack.hours, 3), "bytes": pack.bytes}
    return {**facts, **measures, "created": pack.created}


def change_pack(call: Call) -> Any:
    """Enable or disable a pack, also in a running `overheard listen`."""
    from overheard.catalogue.pack_state import change_state
    from overheard.catalogue.selection import pack_paths

    settings, name = call.context.settings, call.path["name"]
    if name not in pack_paths(settings):
        raise ApiError(404, "no pack has this name")
    with call.context.writing:
        change_state(settings.packs_dir, lambda state: state.changed(name, call.body["enabled"]))
    return {"done": True}


OPERATIONS = (
    Operation(
        *("GET", "/api/v1/packs", "All packs, and which are searched", list_packs),
        answer=record(
            {
                "packs": many(PACK),
                "selected": many(text("names in the setting packs, which override `enabled`")),
            }
        ),
        errors=(409,),
    ),
    Operation(
        *("PATCH", "/api/v1/packs/{name}", "Enable or disable a pack", change_pack),
        path_values={"name": NAME},
        body=record({"enabled": flag("whether to search it")}),
        answer=DONE,
        errors=(404, 409),
    ),
)
