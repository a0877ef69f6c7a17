"""Load the user's settings, with the origin of each: defaults, a TOML file, the environment and flags.

A later source overrides an earlier one.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from overheard.errors import SettingsError
from overheard.files import expand_user, read_regular
from overheard.settings.quiet_hours import QuietHours
from overheard.settings.rooms import CHANNELS, parse_rooms
from overheard.settings.schema import LOWEST_RATE, Settings
from overheard.text import shorten

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MAX_CONFIG_BYTES = 1 << 16
_MAX_DOTS = 400  # in a line: tomllib needs two minutes for a name of 30,000 parts


def default_config_path(env: Mapping[str, str] | None = None) -> Path:
    """Return the path of the configuration file: ``OVERHEARD_CONFIG``, or the platform's default."""
    chosen = (os.environ if env is None else env).get("OVERHEARD_CONFIG")
    if chosen:
        return expand_user(chosen)
    return expand_user(_user_folder("config")) / "config.toml"


def _user_folder(kind: str) -> str:
    """Return the platform's folder for configuration or data; with ``~`` if the home folder is unknown."""
    import platformdirs

    find = {"config": platformdirs.user_config_dir, "data": platformdirs.user_data_dir}[kind]
    try:
        return find("overheard")
    except RuntimeError:
        return f"~/overheard/{kind}"


def load(
    path: Path | None = None,
    env: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Load the settings.

    Parameters
    ----------
    path : Path or None
        Configuration file, which must exist; None: :func:`default_config_path`, which may be missing.
    env : mapping or None
        Environment variables; None: those of the process.
    overrides : mapping or None
        Dotted name to value, such as flags; they override every other source. A value of None is ignored.

    Returns
    -------
    tuple of Settings and dict
        The settings, and the origin of each by its dotted name.

    Raises
    ------
    SettingsError
        If a file is missing or not valid TOML, a name is unknown, or a value is invalid.
    """
    env = os.environ if env is None else env
    values: dict[str, Any] = {"data_dir": _user_folder("data")}
    origins = {name: "default" for name, _, _ in fields(Settings())}
    for origin, source in _sources(path, env, overrides or {}):
        for name, value in source.items():
            values[name] = _check(name, value, origin)
            origins[name] = origin
    settings = _build(Settings, "", values)
    if settings.gate.close_db > settings.gate.open_db:
        raise SettingsError("gate.close_db must not be above gate.open_db")
    _check_listen(settings)
    return settings, origins


def _check_listen(settings: Settings) -> None:
    """Raise SettingsError if a setting of `listen` has a form that it may not have."""
    listen = settings.listen
    QuietHours.parse(listen.quiet_hours)
    parse_rooms(listen.rooms)
    if listen.channel not in CHANNELS:
        problem = f"listen.channel must be one of {', '.join(CHANNELS)}, not {shorten(listen.channel)!r}"
        raise SettingsError(problem)
    if 0 < listen.sample_rate < LOWEST_RATE:
        raise SettingsError(
            f"listen.sample_rate must be 0 or at least {LOWEST_RATE}, not {listen.sample_rate}"
        )


def _sources(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each source's origin and its values by dotted name; a later source overrides an earlier one."""
    config = default_config_path(env) if path is None else path
    required = path is not None or bool(env.get("OVERHEARD_CONFIG"))
    from_file = flatten(read_toml(config, required))
    if isinstance(from_file.get("data_dir"), str) and from_file["data_dir"]:
        from_file["data_dir"] = config.parent / expand_user(from_file["data_dir"])
    model = from_file.get("model")
    if isinstance(model, str) and (model.endswith(".json") or os.sep in model):  # a path, not a name
        from_file["model"] = str(config.parent / expand_user(model))
    yield f"file {config}", from_file
    if env.get("OVERHEARD_DATA_DIR"):
        yield "environment OVERHEARD_DATA_DIR", {"data_dir": env["OVERHEARD_DATA_DIR"]}
    if env.get("OVERHEARD_MODEL"):
        yield "environment OVERHEARD_MODEL", {"model": env["OVERHEARD_MODEL"]}
    yield "flag", {name: value for name, value in overrides.items() if value is not None}


def read_toml(path: Path, required: bool = False) -> dict[str, Any]:
    """Parse a TOML file; a missing file is empty, unless it is required."""
    try:
        # Editors on Windows begin a file with a byte order mark.
        text = read_regular(path, _MAX_CONFIG_BYTES).decode("utf-8-sig")
        if any(line.count(".") > _MAX_DOTS for line in text.splitlines()):
            raise SettingsError(f"{path}: a line contains more than {_MAX_DOTS} dots")
        return tomllib.loads(text)
    except FileNotFoundError:
        if required:
            raise SettingsError(f"{path}: no such configuration file") from None
        return {}
    except RecursionError:
        raise SettingsError(f"{path}: invalid TOML: arrays or tables are nested too deep") from None
    except ValueError as error:  # not TOML, not UTF-8, a NUL in the path, or a number of too many digits
        raise SettingsError(f"{path}: invalid TOML: {shorten(str(error))}") from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of nested tables by dotted name."""
    flat: dict[str, Any] = {}
    tables: list[tuple[str, Mapping[str, Any]]] = [("", values)]
    while tables:  # without recursion: a dotted name can have thousands of parts
        prefix, table = tables.pop()
        for name, value in table.items():
            if not isinstance(value, Mapping):
                flat[prefix + name] = value
            elif len(prefix) > 100:  # longer than any setting
                raise SettingsError(f"unknown setting {shorten(prefix + name)}")
            else:
                tables.append((f"{prefix}{name}.", value))
    return flat


def fields(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    """Yield the dotted name, the value and the field of each setting."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value, field


_DEFAULTS = {name: (value, field.metadata) for name, value, field in fields(Settings())}


def _shown(value: Any) -> str:
    """Return a value for an error message; a value of any size or depth has a short form."""
    if isinstance(value, str | Path):
        return repr(shorten(str(value)))
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 64:  # Python refuses to print thousands of digits
        return "a number of many digits"
    return repr(value)


def _check(name: str, value: Any, origin: str) -> Any:
    """Return the value if the setting exists and may have it; otherwise raise SettingsError."""
    if name not in _DEFAULTS:
        near = difflib.get_close_matches(name[:100], _DEFAULTS, n=1)
        remedy = f"did you mean {near[0]}?" if near else "`overheard config` lists all settings"
        raise SettingsError(f"{origin}: unknown setting {shorten(name)}", remedy)
    default, meta = _DEFAULTS[name]
    expected, valid = _type_of(default, value)
    if not valid:
        raise SettingsError(f"{origin}: {name} must be {expected}, not {_shown(value)}")
    texts = value if isinstance(value, list | tuple) else [value]
    if any("\0" in str(text) for text in texts if isinstance(text, str | Path)):
        raise SettingsError(f"{origin}: {name} must not contain the character NUL")
    if name == "data_dir" and not str(value):
        raise SettingsError(f"{origin}: data_dir must not be empty")
    low, high = meta["low"], meta["high"]
    if low is not None and not low <= value <= high:
        raise SettingsError(f"{origin}: {name} must be between {low} and {high}, not {_shown(value)}")
    return value


def _type_of(default: Any, value: Any) -> tuple[str, bool]:
    """Return the name of the default's type, and whether the value has that type."""
    if isinstance(default, bool):
        return "true or false", isinstance(value, bool)
    if isinstance(default, int):
        return "a whole number", isinstance(value, int) and not isinstance(value, bool)
    if isinstance(default, float):
        return "a number", isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, tuple):
        strings = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
        return "a list of names", strings
    return "text", isinstance(value, str | Path)


def _build(cls: type[Any], prefix: str, values: Mapping[str, Any]) -> Any:
    """Create a settings object from values by dotted name; missing values keep their defaults."""
    given: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        default = field.default
        if dataclasses.is_dataclass(default):
            given[field.name] = _build(type(default), f"{prefix}{field.name}.", values)
        elif prefix + field.name in values:
            given[field.name] = _convert(default, values[prefix + field.name])
    return cls(**given)


def _convert(default: Any, value: Any) -> Any:
    if isinstance(default, Path):
        # Path.resolve would also follow links, and Path.absolute would keep "..".
        return Path(os.path.abspath(expand_user(value)))  # noqa: PTH100
    if isinstance(default, bool | int):
        return value
    return type(default)(value)
