"""Change one value in the configuration file, and leave everything else in it as the user wrote it."""

from __future__ import annotations

import json
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

from overheard.errors import SettingsError
from overheard.files import atomic_write
from overheard.settings.load import flatten, load, read_toml

Value = bool | int | float | str
_BY_HAND = "edit the file yourself"
_TABLE = re.compile(r"\s*\[\s*([A-Za-z0-9_.\s-]+?)\s*\]\s*(#.*)?")


def change_setting(path: Path, name: str, value: Value | None) -> None:
    """Write a value into the configuration file, or remove it, so that the default is used.

    Parameters
    ----------
    path : of the file, which may be missing
    name : dotted name of the setting
    value : None removes it

    Raises
    ------
    SettingsError
        If the value is invalid, the file is not one that a change of a line can change, or it cannot be
        written.
    """
    path = path.resolve()  # a link stays one
    before = flatten(read_toml(path))
    text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    changed = _changed(text, name, None if value is None else f"{name.rpartition('.')[2]} = {_toml(value)}")
    wanted = {key: old for key, old in before.items() if key != name}
    if value is not None:
        wanted[name] = value
    if _values(changed) != wanted:
        raise SettingsError(f"{path}: {name} has a form that cannot be changed here", _BY_HAND)
    try:
        private = not path.exists() or not stat.S_IMODE(path.stat().st_mode) & 0o077
        with atomic_write(path, private) as file:
            file.write(changed.encode())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror or error})", _BY_HAND) from error


def _values(text: str) -> dict[str, Any]:
    """Return the values of a configuration; raise SettingsError if one of them is invalid."""
    with tempfile.TemporaryDirectory(prefix="overheard-") as folder:
        path = Path(folder, "config.toml")
        path.write_text(text, encoding="utf-8")
        try:
            load(path, env={})
            return flatten(read_toml(path))
        except SettingsError as error:
            problem = error.problem.replace(f"file {path}: ", "").replace(f"{path}: ", "")
            raise SettingsError(problem, error.remedy) from error


def _changed(text: str, name: str, line: str | None) -> str:
    """Replace, add or remove the line of a setting."""
    table, _, key = name.rpartition(".")
    lines = text.splitlines()
    current, end_of_table = "", None if table else 0
    for number, old in enumerate(lines):
        found = _TABLE.fullmatch(old)
        if found:
            current = re.sub(r"\s", "", found[1])
        if current != table:
            continue
        if re.match(rf"\s*{re.escape(key)}\s*=", old):
            lines[number : number + 1] = [] if line is None else [line]
            return _joined(lines)
        if found:
            end_of_table = number + 1
    if line is not None:
        if end_of_table is None:
            lines += [*([""] if lines else []), f"[{table}]"]
            end_of_table = len(lines)
        lines.insert(end_of_table, line)
    return _joined(lines)


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n" if lines else ""


def _toml(value: Value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)
