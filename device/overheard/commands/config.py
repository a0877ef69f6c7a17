"""`overheard config`: the settings in force and where each comes from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from overheard import settings as settings_module
from overheard.settings import Settings


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "config",
        help="show the settings in force and where each comes from",
        description="Shows the settings in force and where each comes from, as a configuration file: "
        "`overheard config --defaults > FILE` makes one to edit.",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="one JSON object")
    shown.add_argument("--defaults", action="store_true", help="a commented file of all defaults instead")
    shown.add_argument("--path", action="store_true", help="only where the configuration file belongs")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the settings."""
    path = args.config or settings_module.default_config_path()
    if args.path:
        print(path)
    elif args.defaults:
        print("\n".join(template()))
    else:
        # Loaded once more, since only the loader knows the origins.
        settings, origins = settings_module.load(args.config, overrides={"data_dir": args.data_dir})
        if args.json:
            print(json.dumps(as_json(settings, origins, path)))
        else:
            state = "" if path.exists() else " (does not exist: defaults are in force)"
            print("\n".join([f"# configuration file: {path}{state}", *as_toml(settings, origins)]))
    return 0


def as_json(settings: Settings, origins: dict[str, str], path: Path) -> dict[str, Any]:
    """Return each setting's value and origin by its dotted name."""
    values = {
        name: {"value": str(value) if isinstance(value, Path) else value, "origin": origins[name]}
        for name, value, _ in settings_module.fields(settings)
    }
    return {"config_file": str(path), "exists": path.exists(), "settings": values}


def as_toml(settings: Settings, origins: dict[str, str]) -> list[str]:
    """Write the settings as TOML, each with its origin as a comment."""
    lines: list[str] = []
    table = ""
    for name, value, _ in settings_module.fields(settings):
        group, _, key = name.rpartition(".")
        if group != table:
            lines += ["", f"[{group}]"]
            table = group
        lines.append(f"{f'{key} = {toml_value(value)}':<44}  # {origins[name]}")
    return lines


def template() -> list[str]:
    """Write a configuration file that sets nothing yet and explains everything."""
    lines = ["# overheard's configuration. What is commented out has the value shown."]
    table = ""
    for name, value, field in settings_module.fields(Settings()):
        group, _, key = name.rpartition(".")
        if group != table:
            lines += ["", f"[{group}]"]
            table = group
        shown = '"/where/packs/and/history/lie"' if name == "data_dir" else toml_value(value)
        lines += ["", f"# {field.metadata['about']}", f"# {key} = {shown}"]
    return lines


def toml_value(value: Any) -> str:
    """Write one value as TOML; JSON's strings, numbers and lists of strings are valid TOML."""
    if isinstance(value, Path):
        return json.dumps(str(value))
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
