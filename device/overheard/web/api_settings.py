"""The API about settings: show them, and change a few that can do no harm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from overheard import settings as settings_module
from overheard.settings import Settings
from overheard.settings.edit import change_setting
from overheard.web.operation import ApiError, Call, Operation
from overheard.web.schemas import SETTING, flag, many, record, text

# None of these names a file, a program, an address or a device.
EDITABLE = (
    *("listen.history", "listen.quiet_hours", "listen.schedule"),
    *("gate.open_db", "gate.close_db", "track.gap_s", "track.unknown_s", "unknown.remember"),
)
# May contain a secret, although there is a safer place for it.
_SECRET = ("sinks.lastfm.api_key", "sinks.webhook.url", "sinks.command.command")
_VALUE = {
    "type": ["boolean", "number", "string", "null"],
    "maxLength": 200,
    "description": "null: the default",
}


def list_settings(call: Call) -> Any:
    """Return the settings as the file and the environment have them now."""
    path = call.context.config_path
    return {"file": str(path), "writable": _is_writable(path), "settings": _settings(call)}


def _is_writable(path: Path) -> bool:
    """Return whether a change can be written: beside the file, and then over it."""
    folder = path.resolve().parent
    while not folder.exists() and folder != folder.parent:  # it would be created
        folder = folder.parent
    return os.access(folder, os.W_OK)


def _settings(call: Call) -> list[dict[str, Any]]:
    settings, origins = call.context.load()
    writable = _is_writable(call.context.config_path)
    defaults = {name: value for name, value, _ in settings_module.fields(Settings())}
    return [
        {
            **{"name": name, "value": _shown(name, value), "default": _plain(defaults[name])},
            **{key: field.metadata[key] for key in ("about", "low", "high")},
            **{"origin": origins[name], "editable": writable and name in EDITABLE},
        }
        for name, value, field in settings_module.fields(settings)
    ]


def _shown(name: str, value: Any) -> Any:
    return "not shown" if name in _SECRET and value else _plain(value)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def edit_setting(call: Call) -> Any:
    """Change a setting in the configuration file; a running `overheard listen` keeps the old value."""
    name = call.path["name"]
    if name not in EDITABLE:
        raise ApiError(404, "no setting of this name can be changed here", "edit the configuration file")
    with call.context.writing:
        change_setting(call.context.config_path, name, call.body["value"])
        return next(one for one in _settings(call) if one["name"] == name)


OPERATIONS = (
    Operation(
        *("GET", "/api/v1/settings", "The settings and where each one comes from", list_settings),
        answer=record(
            {
                "file": text("path of the configuration file"),
                "writable": flag("whether it can be changed here"),
                "settings": many(SETTING),
            }
        ),
        errors=(409,),
    ),
    Operation(
        *("PATCH", "/api/v1/settings/{name}", "Change a setting in the configuration file", edit_setting),
        path_values={"name": text("one that is `editable`", 60, minLength=1)},
        body=record({"value": _VALUE}),
        answer=SETTING,
        errors=(404, 409),
    ),
)
