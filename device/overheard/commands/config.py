"""`overheard config`: show the settings and where each one comes from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from overheard import settings as settings_module
from overheard.settings import Settings
from overheard.text import one_line


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "config",
        help="show the settings and where each one comes from",
        description="Show each setting with its value and its origin: default, file, environment or flag. "
        "The output is a valid configuration file. `overheard config --defaults > FILE` creates one to edit.",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print one JSON object")
    shown.add_argument("--defaults", action="store_true", help="print a commented file of all defaults")
    shown.add_argument("--path", action="store_true", help="print only the path of the configuration file")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the settings."""
    path = args.config or settings_module.default_config_path()
    if args.path:
        print(path)
    elif args.defaults:
        print("\n".join(template()))
    else:
        # Load again, because only the loader knows the origins.
        settings, origins = settings_module.load(args.config, overrides={"data_dir": args.data_dir})
        if args.json:
            print(json.dumps(as_json(settings, origins, path)))
        else:
            state = "" if path.exists() else " (does not exist)"
            print(
                "\n".join(
                    [f"# configuration file: {one_line(str(path))}{state}", *as_toml(settings, origins)]
                )
            )
    return 0


def as_json(settings: Settings, origins: dict[str, str], path: Path) -> dict[str, Any]:
    """Return the value and the origin of each setting by its dotted name."""
    values = {
        name: {"value": str(value) if isinstance(value, Path) else value, "origin": origins[name]}
        for name, value, _ in settings_module.fields(settings)
    }
    return {"config_file": str(path), "exists": path.exists(), "settings": values}


def as_toml(settings: Settings, origins: dict[str, str]) -> list[str]:
    """Format the settings as TOML, each with its origin as a comment."""
    lines: list[str] = []
    table = ""
    for name, value, _ in settings_module.fields(settings):
        group, _, key = name.rpartition(".")
        if group != table:
            lines += ["", f"[{group}]"]
            table = group
        lines.append(f"{f'{key} = {toml_value(value)}':<44}  # {one_line(origins[name])}")
    return lines


def template() -> list[str]:
    """Return a configuration file in which every setting is explained and commented out."""
    lines = ["# Configuration of overheard. Each comment shows a default; remove the # to change the value."]
    table = ""
    for name, value, field in settings_module.fields(Settings()):
        group, _, key = name.rpartition(".")
        if group != table:
            lines += ["", f"[{group}]"]
            table = group
        shown = '"/path/to/folder"' if name == "data_dir" else toml_value(value)
        lines += ["", f"# {field.metadata['about']}", f"# {key} = {shown}"]
    return lines


def toml_value(value: Any) -> str:
    """Format one value as TOML; strings, numbers and lists of strings look the same in JSON."""
    plain = str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
    text = json.dumps(plain, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)
