"""Merge a run of peers.py into earlier results, and read the results of overheard to compare with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overheard_bench.peers import PEERS
from overheard_bench.peers.base import Features

Result = Mapping[str, Any]
OVERHEARD = "overheard"
OVERHEARD_FEATURES = Features(offline=True, own_music=True, always_on=True)
ORDER = tuple(setting.name for peer in PEERS for setting in peer.settings)


def read(path: Path) -> dict[str, Any] | None:
    """Read a result, None if the file does not exist.

    Raises
    ------
    RuntimeError
        The file does not contain a JSON object.
    """
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RuntimeError(f"{path} is not a result ({error}); delete it") from error
    if not isinstance(result, dict):
        raise RuntimeError(f"{path} is not a result: it does not contain an object; delete it")
    return result


def merge(earlier: Result | None, result: Result) -> dict[str, Any]:
    """Add the settings that only an earlier run measured, if it measured the same queries and tracks.

    So you can install and run one peer at a time. `environment` in each setting says where it was measured.
    """
    settings = {setting["name"]: setting for setting in result["settings"]}
    if earlier is not None and _queries(earlier) == _queries(result):
        settings = {setting["name"]: setting for setting in earlier["settings"]} | settings
    ordered = sorted(settings.values(), key=lambda setting: ORDER.index(setting["name"]))
    measured = {peer.name for peer in PEERS for setting in peer.settings if setting.name in settings}
    absent = {name: reason for name, reason in result["not_installed"].items() if name not in measured}
    return {**result, "settings": ordered, "not_installed": absent}


def _queries(result: Result) -> tuple[Any, dict[str, Any]]:
    """Return what determines queries and tracks. Versions of the protocol differ in rounding only."""
    return result["catalogue"], {key: v for key, v in result["protocol"].items() if key != "version"}


def of_overheard(accuracy: Result | None, result: Result) -> dict[str, Any] | None:
    """Return the results of overheard in the form of a peer's setting.

    None if `accuracy` (accuracy.json) has other queries or tracks than `result`, or does not exist.
    """
    if accuracy is None or accuracy["protocol"]["part"] != "report":
        return None
    keys = ("seed", "n_per_length", "quick")
    if any(accuracy["protocol"][key] != result["protocol"][key] for key in keys):
        return None
    if accuracy["catalogue"]["tracks"] != result["catalogue"]["tracks"]:
        return None
    counted = ("by_condition", "by_length", "overall", "at_one_percent")
    return {
        "name": OVERHEARD,
        "features": dataclasses.asdict(OVERHEARD_FEATURES),
        "database": {"bytes_per_min": accuracy["catalogue"]["bytes_per_min"]},
        **{key: accuracy[key] for key in counted},
    }
