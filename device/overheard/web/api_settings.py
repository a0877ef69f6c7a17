"""The API about settings: show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from overheard import settings as settings_module
from overheard.settings import Settings
from overheard.web.operation import Call, Operation
from overheard.web.schemas import SETTING, many, record, text


def list_settings(call: Call) -> Any:
    """Return the settings as the file and the environment have them now."""
    settings, origins = call.context.load()
    defaults = {name: value for name, value, _ in settings_module.fields(Settings())}
    listed = [
        {
            **{"name": name, "value": _plain(value), "default": _plain(defaults[name])},
            **{key: field.metadata[key] for key in ("about", "low", "high")},
            "origin": origins[name],
        }
        for name, value, field in settings_module.fields(settings)
    ]
    return {"file": str(call.context.config_path), "settings": listed}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


OPERATIONS = (
    Operation(
        *("GET", "/api/v1/settings", "The settings and where each one comes from", list_settings),
        answer=record({"file": text("path of the configuration file"), "settings": many(SETTING)}),
        errors=(409,),
    ),
)
